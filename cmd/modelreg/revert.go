package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
)

// recommitFlags are those of revert and merge.
type recommitFlags struct {
	hub.RecommitOptions
	created, take string
	push          pushFlags // for --sign
}

func (f *recommitFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.Branch, "branch", "", "the `BRANCH` that gets the version (default: the tag of REF)")
	fl.StringVarP(&f.Message, "message", "m", "", "the version's message is `TEXT`")
	fl.StringVar(&f.Author, "author", "", "the version's author is `NAME`, as in \"Ada <ada@example.com>\"")
	fl.StringVar(&f.IfParent, "if-parent", "", "only if the branch points to `DIGEST`")
	fl.BoolVar(&f.Force, "force", false, "take files of a version that was yanked, too")
	fl.StringVar(&f.created, "created", "", "creation `TIME`, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else none)")
	f.push.signWith(fl)
	f.push.signer.add(cmd)
}

// recommit runs revert or merge.
func (a *app) recommit(cmd *cobra.Command, arg string, f recommitFlags, do func(*hub.Hub, context.Context, ref.Reference, hub.RecommitOptions) (*hub.RecommitResult, error)) (err error) {
	if err := f.push.signFlag(); err != nil {
		return err
	}
	if f.push.sign != f.push.signer.given() {
		return usagef("--sign and %s go together", signerUsage)
	}
	if f.Created, err = createdTime(f.created); err != nil {
		return err
	}
	if f.push.sign {
		if f.Signer, err = a.signerOf(cmd.Context(), f.push.signer); err != nil {
			return err
		}
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	if f.Branch == "" {
		f.Branch = ref.DecodeBranch(r.Tag)
	}
	if f.Branch == "" || f.Branch == ref.Head {
		return usagef("say with --branch which branch gets the version")
	}
	f.TakeBranch = f.take == "branch"
	res, err := do(h, cmd.Context(), r, f.RecommitOptions)
	if err != nil {
		return err
	}
	if res.Created {
		a.printer.Note("%s is %s now: %s", res.Tag, shortRevision(res.Digest), res.Message)
	} else {
		a.printer.Note("everything up-to-date")
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

func newRevert(a *app) *cobra.Command {
	var f recommitFlags
	cmd := &cobra.Command{
		Use:   "revert REF --branch BRANCH",
		Short: "Commit the content of an older version on top of a branch",
		Long: `Make a new version with the files of the one that REF resolves to, whose parent is the tip
of BRANCH, and move BRANCH there. Nothing is uploaded but a manifest, and no history is
lost: what was between stays in the log. If BRANCH has these files already, nothing
changes.

Files of a version that was yanked are refused (exit 11), since nothing would say so of
the new one; --force takes them.`,
		Example: `  modelreg revert ghcr.io/acme/support:main~1
  modelreg revert ghcr.io/acme/support@5be1c0d12345 --branch main -m "back to the version of May"`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.recommit(cmd, args[0], f, (*hub.Hub).Revert)
		},
	}
	f.add(cmd)
	return cmd
}

func newMerge(a *app) *cobra.Command {
	var f recommitFlags
	cmd := &cobra.Command{
		Use:   "merge REF --branch BRANCH",
		Short: "Join a version that lost to another into a branch",
		Long: `Make a new version that has both the tip of BRANCH and the version that REF resolves to as
parents, and move BRANCH there. It has the files of REF, or with --take branch those of
the tip. Nothing is uploaded but a manifest.

It is for a push that ended with 4, since somebody else had moved the branch in the
meantime: both versions are in the registry, and this says which of them the branch goes
on with, and keeps the other in its history. Files of a version that was yanked are refused
(exit 11); --force takes them.`,
		Example: `  modelreg merge ghcr.io/acme/support@5be1c0d12345 --branch main
  modelreg merge ghcr.io/acme/support@5be1c0d12345 --branch main --take branch`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.recommit(cmd, args[0], f, (*hub.Hub).Merge)
		},
	}
	f.add(cmd)
	choose(cmd, choiceFlag{value: &f.take, name: "take", usage: "whose files the version gets: `version|branch`"}, "version", "branch")
	return cmd
}
