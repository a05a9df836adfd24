package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
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
		record.Deprecated, "deprecate", "Say that a version should no longer be used",
		`Say that there is something better than the version that REF resolves to. Those who use
it are warned, and those who are --strict about it are refused (exit 10).`,
		`  modelreg deprecate ghcr.io/acme/support:v1.2.0 --reason "v2 is faster" --replacement ghcr.io/acme/support:v2.0.0 --key release.key`,
	})
}

func newRestore(a *app) *cobra.Command {
	return newStateCommand(a, stateCommand{
		record.Active, "restore", "Take back that a version was deprecated or yanked",
		"Say that the version that REF resolves to can be used again.",
		`  modelreg restore ghcr.io/acme/support@sha256:… --reason "the report was wrong" --key release.key`,
	})
}

func newStateCommand(a *app, c stateCommand) *cobra.Command {
	var f signerFlags
	change := hub.StateChange{State: c.state}
	cmd := &cobra.Command{
		Use:   c.name + " REF --reason TEXT",
		Short: c.short,
		Long: c.about + `

It is a signed statement (https://modelreg.dev/status/v1) that is attached to the version,
and the newest counts: of the publishers that the record of the repository names
("modelreg repo publishers"), or of anybody who may push there where it names none.`,
		Example:           c.example,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			if change.Reason == "" && c.state != record.Active {
				return usagef("%s needs --reason TEXT: those who use the version are told", c.name)
			}
			return a.setState(cmd, args[0], f, change)
		},
	}
	cmd.Flags().StringVar(&change.Reason, "reason", "", "why: `TEXT`")
	if c.state != record.Active {
		cmd.Flags().StringVar(&change.Replacement, "replacement", "", "what to use in its place: `REF`")
	}
	f.add(cmd)
	return cmd
}

func (a *app) setState(cmd *cobra.Command, arg string, f signerFlags, change hub.StateChange) error {
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
	signer, err := a.signerOf(cmd.Context(), f)
	if err != nil {
		return err
	}
	res, err := h.SetState(cmd.Context(), r, signer, change)
	if err != nil {
		return err
	}
	if res.Changed {
		a.printer.Note("%s is %s", spoken(res.Reference), res.State.State)
	} else {
		a.printer.Note("%s is %s already", spoken(res.Reference), res.State.State)
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
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
