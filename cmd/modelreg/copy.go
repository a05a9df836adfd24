package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
)

type copyFlags struct {
	hub.CopyOptions
	conflict string
	trust    trustFlags
}

func newCopy(a *app) *cobra.Command {
	var f copyFlags
	cmd := &cobra.Command{
		Use:   "copy SRC DST",
		Short: "Copy a version with all that is attached to it, and check it where it arrives",
		Long: `Copy the version that SRC stands for to DST, with what belongs to it: the variants
that an index lists, all files, and what is attached: signatures and attestations in
either of cosign's layouts, cards, evaluations, chunk indexes, and what is attached to
those. Bytes go from one registry to the other through memory; what DST has does not
move, and blobs of the same registry are linked.

SRC and DST are references, or on this machine
  layout://DIR[:TAG]   an OCI image layout in a directory
  file://X.tar[:TAG]   one in a tar archive; file:// can be left out of names in .tar

SRC is resolved once. A tag of DST moves last, when DST has been asked again for every
manifest and blob; so a copy that was interrupted leaves no tag for half a version, and
goes on where it stopped when the same command is run again. A tag that stands for
another version already is left alone, and the command fails, unless --on-conflict says
otherwise.

With --history the repository moves as a whole: all tags with all versions before them,
versions that no tag leads to any more and tombstones of those that were removed, the
logs of aliases and the record of the repository, which says who publishes there.

With --key a version that is not signed is not copied, and the signature is verified
at DST too.`,
		Example: `  modelreg copy ghcr.io/acme/support:v1 harbor.corp.io/ml/support:v1
  modelreg copy ghcr.io/acme/support:v1 support.tar --key cosign.pub
  modelreg copy support.tar harbor.corp.io/ml/support:v1 --key cosign.pub
  modelreg copy ghcr.io/acme/support harbor.corp.io/ml/support --all-tags --on-conflict skip
  modelreg copy ghcr.io/acme/support harbor.corp.io/ml/support --history
  modelreg copy ghcr.io/acme/support:v1 layout:///srv/models/support`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(a.references, a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.copy(cmd, args, f) },
	}
	f.add(cmd)
	a.addPolicyFlags(cmd)
	a.addWaitFlag(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.AllTags, "all-tags", false, "copy all tags that people gave, each under its name")
	fl.BoolVar(&f.History, "history", false, "copy the repository as a whole: --all-tags, with all versions that are held, the logs of aliases and the record")
	fl.StringSliceVar(&f.Tags, "tags", nil, "copy these tags, each under its name: `TAG,…`; SRC and DST are repositories then")
	fl.StringArrayVar(&f.MountFrom, "mount-from", nil, "link blobs from `REPOSITORY` of DST's registry instead of uploading (repeatable)")
	return cmd
}

// add registers what copy and bundle have in common.
func (f *copyFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringSliceVar(&f.With, "with", []string{hub.WithAll}, "what of the things attached to take along: `KIND,…` of referrers, signatures, cards, evals; or all, or none")
	fl.BoolVar(&f.WithBases, "with-bases", false, "copy the models that it was made of too, where it names them by digest")
	fl.IntVar(&f.Depth, "depth", 0, "copy `N` of the versions before it too")
	choose(cmd, choiceFlag{value: &f.conflict, name: "on-conflict", usage: "what to do with a tag that stands for another version: `fail|skip|overwrite`"}, "fail", "skip", "overwrite")
	f.trust.add(fl)
	f.trust.addAuthorities(fl)
	fl.IntVarP(&f.Workers, "jobs", "j", 0, "move `N` blobs at once (default 4)")
}

func (a *app) copy(cmd *cobra.Command, args []string, f copyFlags) error {
	src, err := a.place(args[0])
	if err != nil {
		return err
	}
	dst, err := a.place(args[1])
	if err != nil {
		return err
	}
	if err := a.copyOptions(cmd.Context(), &f); err != nil {
		return err
	}
	if (f.AllTags || f.History) && len(f.Tags) > 0 {
		return usagef("--tags goes with neither --all-tags nor --history")
	}
	if f.History && f.Depth > 0 {
		return usagef("--depth and --history do not go together: --history takes all versions")
	}
	progress := a.printer.Progress("copy")
	h, err := a.hub(progress.Observe)
	if err != nil {
		progress.Close()
		return err
	}
	started := time.Now()
	res, err := h.Copy(cmd.Context(), src, dst, f.CopyOptions)
	progress.Close()
	if err != nil {
		return err
	}
	a.noteCopy(res, time.Since(started))
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

// copyOptions reads the flags that are not options as they stand.
func (a *app) copyOptions(ctx context.Context, f *copyFlags) (err error) {
	f.OnConflict, f.MaxWait = hub.Conflict(f.conflict), time.Duration(a.maxWait)
	if f.Depth < 0 {
		return usagef("--depth %d: it is a number of versions", f.Depth)
	}
	if f.trust.used() {
		f.Trust, err = a.trusted(ctx, f.trust)
	}
	return err
}

// noteCopy tells what a copy has done.
func (a *app) noteCopy(res *hub.CopyResult, took time.Duration) {
	for _, n := range res.Notes {
		a.printer.Note("note: %s", n)
	}
	if h := res.History; h != nil {
		a.printer.Note("with the history of the repository: %s that no tag leads to, %s, %s in %s, %s",
			plural(h.Unnamed, "version"), plural(h.Tombstones, "tombstone"), plural(h.Moves, "move"), plural(h.Logs, "alias log"), recordWord(h.Record))
	}
	a.noteSigners(res.Verified)
	a.printer.Note("copied %s in %s: %s moved, %s mounted, %s already there; %d manifests, %d of them attached, and %d blobs checked",
		ui.Bytes(res.Size), ui.Duration(took), ui.Bytes(res.CopiedBytes), ui.Bytes(res.MountedBytes), ui.Bytes(res.SkippedBytes),
		res.Manifests, res.Attached, res.Blobs)
}

func recordWord(there bool) string {
	if there {
		return "its record"
	}
	return "no record"
}

// place reads a reference, or the name of a layout on this machine.
func (a *app) place(s string) (ref.Reference, error) {
	name, isFile := strings.CutPrefix(s, "file://")
	if !isFile && strings.Contains(s, "://") {
		return a.parse(s)
	}
	file, tag, tagged := name, "", false
	if i := strings.LastIndex(name, ".tar:"); i >= 0 {
		file, tag, tagged = name[:i+len(".tar")], name[i+len(".tar:"):], true
	}
	if !isFile && filepath.Ext(file) != ".tar" {
		return a.parse(s)
	}
	r, err := ref.Parse("file://" + file)
	if err == nil && tagged {
		if r.Tag, err = ref.EncodeBranch(tag); err != nil {
			return r, err
		}
	}
	return r, err
}
