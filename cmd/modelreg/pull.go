package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newPull(a *app) *cobra.Command {
	var opts hub.PullOptions
	var verify bool
	var keys []string
	cmd := &cobra.Command{
		Use:   "pull REF [DIR]",
		Short: "Fetch a version, check it, and put its files into a directory",
		Long: `Resolve REF to a digest once, check its signature if asked to, fetch what is not
there yet, and put the files into DIR (default: the model's name).

DIR appears, or changes, only when everything has been checked. A pull that was
interrupted goes on where it stopped when the same command is run again. In a
directory of an earlier pull, unchanged files are not fetched again, and of changed
weights only what neither the old files nor those of other pulls have.`,
		Example: `  modelreg pull ghcr.io/acme/support:v1 ./model
  modelreg pull ghcr.io/acme/support@sha256:… ./model --verify --key cosign.pub`,
		Args:              rangeArgs(1, 2),
		ValidArgsFunction: positions(a.references, directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			trust, err := a.trust(verify, keys)
			if err != nil {
				return err
			}
			opts.Trust = trust
			return a.pull(cmd, args, opts)
		},
	}
	fl := cmd.Flags()
	fl.BoolVar(&verify, "verify", false, "refuse a version that is not signed by --key")
	fl.StringArrayVar(&keys, "key", nil, "public key `FILE` to trust (repeatable: one of them must have signed)")
	fl.BoolVar(&opts.AllowDowngrade, "allow-downgrade", false, downgradeUsage)
	fl.BoolVar(&opts.Force, "force", false, "replace DIR even if it is not an earlier pull")
	fl.IntVarP(&opts.Workers, "jobs", "j", 0, "fetch `N` blobs at once (default 4)")
	fl.BoolVar(&opts.Raw, "raw", false, "take any artifact, such as a chart or a signature, as it is: manifest, config and layers")
	fl.BoolVar(&opts.AllowDotfiles, "allow-dotfiles", false, "take dot files that are not known to be harmless, such as .bashrc")
	fl.BoolVar(&opts.AllowCollisions, "allow-collisions", false, "take names that differ only in case, if the file system keeps them apart")
	fl.BoolVar(&opts.NoDelta, "no-delta", false, "fetch changed weights whole, not by their differences from files on this machine")
	fl.BoolVar(&opts.Variants, "variants", false, "fetch weights in fewer bytes where the version has codings of them (push --variants), and decode them")
	fl.BoolVar(&opts.NoStore, "no-cache", false, "neither use nor fill the local store")
	_ = fl.MarkHidden("no-delta") // of use to those who look for a fault; there is such a flag
	return cmd
}

// checkHome refuses to replace the user's home directory, or one above it, which
// the packages below cannot know.
func checkHome(dir string) error {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil // there is none to lose
	}
	if real, err := filepath.EvalSymlinks(home); err == nil {
		home = real
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	if rel, err := filepath.Rel(abs, home); err == nil && filepath.IsLocal(rel) {
		return usagef("pull into %s: it is the home directory, or above it", dir)
	}
	return nil
}

func (a *app) pull(cmd *cobra.Command, args []string, opts hub.PullOptions) error {
	r, err := a.parse(args[0])
	if err != nil {
		return err
	}
	dir := path.Base(r.Repository)
	if len(args) == 2 {
		dir = args[1]
	}
	if err := checkHome(dir); err != nil {
		return err
	}
	progress := a.printer.Progress("pull")
	h, err := a.hub(progress.Observe)
	if err != nil {
		progress.Close()
		return err
	}
	started := time.Now()
	res, err := h.Pull(cmd.Context(), r, dir, opts)
	progress.Close()
	if err != nil {
		return err
	}
	for _, n := range res.Notes {
		a.printer.Note("note: %s", n)
	}
	if res.Verified != nil {
		for _, s := range res.Verified.Signers {
			a.printer.Note("verified: signed by key %s", s.KeyFingerprint)
		}
	}
	a.printer.Note("%s", pullSummary(res, time.Since(started)))
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res.Reference) })
}

func pullSummary(res *hub.PullResult, took time.Duration) string {
	size := ui.Files(res.Files) + ", " + ui.Bytes(res.Size)
	if res.FetchedBytes == 0 {
		return fmt.Sprintf("nothing to fetch: %s, in %s", size, res.Directory)
	}
	fetched := ui.Bytes(res.FetchedBytes)
	if res.FetchedBytes < res.Size {
		fetched += " of " + ui.Bytes(res.Size)
	}
	s := fmt.Sprintf("pulled %s, into %s in %s: %s fetched", size, res.Directory, ui.Duration(took), fetched)
	for _, host := range slices.Sorted(maps.Keys(res.Mirrors)) {
		s += fmt.Sprintf("; %s came from mirror %s", ui.Bytes(res.Mirrors[host]), host)
	}
	return s
}
