package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// A stateCommand is one of the commands that say what became of a version.
type stateCommand struct {
	state              record.State
	name, short, about string
	example            string
}

func newYank(a *app) *cobra.Command {
	return newStateCommand(a, stateCommand{
		record.Yanked, "yank", "Withdraw a version",
		`Say that the version that REF resolves to must not be used any more. "pull", "cat",
"resolve" and "lock" refuse it then (exit 11), and ranges pass it over. Nothing is
removed: whoever names its digest gets it still, with a loud warning.`,
		`  modelreg yank ghcr.io/acme/support:v1.2.0 --reason "trained on leaked data" --replacement ghcr.io/acme/support:v1.2.1 --key release.key`,
	})
}

func newDeprecate(a *app) *cobra.Command {
	return newStateCommand(a, stateCommand{
		record.Deprecated, "deprecate", "Say that a version, or a whole repository, should no longer be used",
		`Say that there is something better than the version that REF resolves to, or, where REF
names neither a tag nor a digest, than the whole repository. Those who use it are warned,
and those who are --strict about it are refused (exit 10).`,
		`  modelreg deprecate ghcr.io/acme/support:v1.2.0 --reason "v2 is faster" --replacement ghcr.io/acme/support:v2.0.0 --key release.key
  modelreg deprecate ghcr.io/acme/support --reason "no longer maintained" --replacement ghcr.io/acme/helpdesk`,
	})
}

func newRestore(a *app) *cobra.Command {
	return newStateCommand(a, stateCommand{
		record.Active, "restore", "Take back that a version or a repository was withdrawn",
		`Say that the version that REF resolves to can be used again, or, where REF names neither a
tag nor a digest, the repository, which was deprecated or retired. What was said of single
versions stays as it is.`,
		`  modelreg restore ghcr.io/acme/support@sha256:… --reason "the report was wrong" --key release.key
  modelreg restore ghcr.io/acme/support`,
	})
}

// argument is what the command is about.
func (c stateCommand) argument() string {
	if c.state == record.Retired {
		return "REPOSITORY"
	}
	return "REF"
}

// how tells what the command writes.
func (c stateCommand) how() string {
	const version = `

Of a version it is a signed statement (https://modelreg.dev/status/v1) that is attached to
it, and the newest counts: of the publishers that the record of the repository names
("modelreg repo publishers"), or of anybody who may push there where it names none.`
	const repository = `

Of a repository it is written into its record ("modelreg repo show"), which is signed if a
key is given: that of one of its publishers, where it names some.`
	switch c.state {
	case record.Yanked:
		return version
	case record.Retired:
		return repository
	}
	return version + repository
}

func newStateCommand(a *app, c stateCommand) *cobra.Command {
	var f signerFlags
	change := hub.StateChange{State: c.state}
	cmd := &cobra.Command{
		Use:               c.name + " " + c.argument() + " --reason TEXT",
		Short:             c.short,
		Long:              c.about + c.how(),
		Example:           c.example,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			if change.Reason == "" && c.state != record.Active {
				return usagef("%s needs --reason TEXT: those who use it are told", c.name)
			}
			return a.setState(cmd, args[0], f, change, c)
		},
	}
	cmd.Flags().StringVar(&change.Reason, "reason", "", "why: `TEXT`")
	if c.state != record.Active {
		cmd.Flags().StringVar(&change.Replacement, "replacement", "", "what to use in its place: `REF`")
	}
	f.add(cmd)
	return cmd
}

func (a *app) setState(cmd *cobra.Command, arg string, f signerFlags, change hub.StateChange, c stateCommand) error {
	if change.Replacement != "" {
		r, err := a.parse(change.Replacement)
		if err != nil {
			return err
		}
		change.Replacement = r.String()
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	whole := c.state == record.Retired || namesRepository(r)
	switch {
	case c.state == record.Retired && !namesRepository(r):
		return usagef("%s %s: name the repository alone: single versions are withdrawn by \"modelreg yank\"", c.name, arg)
	case whole && c.state == record.Yanked:
		return usagef("yank %s: which version? Name its tag or digest; \"modelreg repo retire\" withdraws the whole repository", arg)
	}
	var signer *signing.Signer
	if !whole || f.given() {
		if signer, err = a.signerOf(cmd.Context(), f); err != nil {
			return err
		}
	}
	set := h.SetState
	if whole {
		set = h.SetRepositoryState
	}
	res, err := set(cmd.Context(), r, signer, change)
	if err != nil {
		return err
	}
	name := spoken(res.Reference)
	if whole {
		name = res.Reference
	}
	already := ""
	if !res.Changed {
		already = " already"
	}
	a.printer.Note("%s is %s%s", name, res.State.State, already)
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, name) })
}

// namesRepository tells whether a reference names no version.
func namesRepository(r ref.Reference) bool {
	return r.Tag == "" && r.Digest == "" && r.Prefix == "" && r.Range == "" && r.Revision == ""
}

func newRepoRetire(a *app) *cobra.Command {
	return newStateCommand(a, stateCommand{
		record.Retired, "retire", "Say that the name of a repository is not used any more",
		`Say that the name of a repository is not used any more. Nothing is pushed to it by mistake
then, and its tags lead nowhere (exit 12): who asks is told why, and what took its place.
Nothing is removed: whoever names a digest gets it still, with a loud warning. "modelreg
restore REPOSITORY" takes it back.`,
		`  modelreg repo retire ghcr.io/acme/helpdesk --reason "one model for all of support" --replacement ghcr.io/acme/support`,
	})
}

// statusLine tells in words what became of a version.
func statusLine(s *hub.State) string {
	line := string(s.State)
	if s.State != record.Active || s.Reason != "" {
		line += " since " + s.Since.Format(time.RFC3339)
	}
	if s.Reason != "" {
		line += ": " + s.Reason
	}
	if s.Replacement != "" {
		line += "; use " + s.Replacement
	}
	if s.Signer != nil {
		line += " (" + signedBy(*s.Signer) + ")"
	} else if s.State != record.Active {
		line += " (by whom is not verified)"
	}
	if s.Ignored > 0 {
		line += fmt.Sprintf("; %d statements by others do not count", s.Ignored)
	}
	return ui.Line(line)
}
