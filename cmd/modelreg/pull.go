package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

type pullFlags struct {
	hub.PullOptions
	verify bool
	trust  trustFlags
	dryRun bool
	locked bool
	lockAt string
	layout string
	link   string
	repoID string
}

const pullLong = `Resolve REF to a digest once, check its signature if asked to, fetch what is not
there yet, and put the files into DIR (default: the model's name).

DIR appears, or changes, only when everything has been checked. A pull that was
interrupted goes on where it stopped when the same command is run again. In a
directory of an earlier pull, unchanged files are not fetched again, and of changed
weights only what neither the old files nor those of other pulls have. Files of yours
that are beside them stay. Files of the earlier pull that were changed since, and would
become others or disappear, are named and left alone (exit 4): --force replaces them.

--include and --exclude choose files by patterns, as allow_patterns and
ignore_patterns of huggingface_hub do: a pattern matches the whole path, * is any
text with its slashes, ? one letter, [abc] one of these, and a pattern that ends in
a slash takes all that is below. DIR then holds those files of the version and no
others; a later pull without them completes it and fetches only what is missing.

Of a version that has several variants, one is taken: REF#NAME or --variant names it,
--for and --fit say what is to run it; otherwise it is the best that this machine can
hold. --explain tells why, and --dry-run --explain fetches nothing. docs/variants.md has
the rules.

--layout hf adds the version to a Hugging Face cache, DIR or the one that
huggingface_hub would use (HF_HUB_CACHE, HF_HOME, ~/.cache/huggingface/hub), so that
loaders with HF_HUB_OFFLINE=1 find it as ORG/MODEL, the end of the repository's name,
or as --repo-id says. Tags are its revisions; "latest" is also main, which loaders ask
for, and so is the first tag that is pulled. Nothing in the cache is removed, and a ref
that another program wrote moves with --force only.`

const pullExample = `  modelreg pull ghcr.io/acme/support:v1 ./model
  modelreg pull ghcr.io/acme/support@sha256:… ./model --verify --key cosign.pub
  modelreg pull ghcr.io/acme/support:v1 --include '*.safetensors' --include '*.json' --exclude 'onnx/'
  modelreg pull ghcr.io/acme/support:v1#q4_k_m
  modelreg pull ghcr.io/acme/support:v1 --for llama.cpp --fit 24GiB --explain
  modelreg pull ghcr.io/acme/support:v1 --dry-run --format json
  modelreg pull ghcr.io/acme/support:v1 --layout hf && HF_HUB_OFFLINE=1 python serve.py`

func newPull(a *app) *cobra.Command {
	var f pullFlags
	cmd := &cobra.Command{
		Use:     "pull REF [DIR] | pull --locked [NAME|REF] [DIR]",
		Short:   "Fetch a version, check it, and put its files into a directory",
		Long:    pullLong,
		Example: pullExample,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.locked {
				return rangeArgs(0, 2)(cmd, args)
			}
			return rangeArgs(1, 2)(cmd, args)
		},
		ValidArgsFunction: positions(a.references, directories),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if f.Trust, err = a.pullTrust(cmd.Context(), f); err != nil {
				return err
			}
			if f.locked && a.variant.given() {
				return usagef(lockedVariant)
			}
			if err := f.check(a.hasPolicy()); err != nil {
				return err
			}
			if f.link != "auto" {
				f.Link = artifact.Link(f.link)
			}
			f.MaxWait = time.Duration(a.maxWait)
			return a.pull(cmd, args, f)
		},
	}
	f.add(cmd)
	a.addVariantFlags(cmd)
	a.addPolicyFlags(cmd)
	a.addAsFlag(cmd, "layout://DIR")
	a.addStrictFlag(cmd)
	a.addWaitFlag(cmd)
	return cmd
}

// What describes flags of pull and of mount.
const (
	dotfilesUsage = "take dot files that are not known to be harmless, such as .bashrc"
	lockedUsage   = "take the version that modelreg.lock has for REF, or by that name, and no other"
	lockFileUsage = "with --locked: lock `FILE` (default: modelreg.lock here, or above in the repository)"
	lockedVariant = "--locked takes the variant that is locked: it does not go with --variant, --for and --fit"
)

func (f *pullFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.verify, "verify", false, "refuse a version that is not signed by --key or --certificate-identity")
	f.trust.add(fl)
	f.trust.addAuthorities(fl)
	fl.BoolVar(&f.AllowDowngrade, "allow-downgrade", false, downgradeUsage)
	fl.BoolVar(&f.locked, "locked", false, lockedUsage)
	fl.StringVar(&f.lockAt, "lock-file", "", lockFileUsage)
	fl.BoolVar(&f.Force, "force", false, "replace DIR even if it is not an earlier pull, and files that were changed since")
	fl.StringArrayVar(&f.Select.Include, "include", nil, "take only files that match `GLOB` (repeatable: one of them must match)")
	fl.StringArrayVar(&f.Select.Exclude, "exclude", nil, "leave out files that match `GLOB` (repeatable)")
	choose(cmd, choiceFlag{value: &f.layout, name: "layout", usage: "put the files into DIR itself, or into a Hugging Face cache there: `dir|hf`"}, "dir", "hf")
	fl.StringVar(&f.repoID, "repo-id", "", "with --layout hf: what loaders call the model, `ORG/NAME`")
	choose(cmd, choiceFlag{value: &f.link, name: "link", usage: "how files of the local store come into DIR: `auto|reflink|copy|hardlink`; auto shares bytes where that is safe, a hard link is read-only and one with the store's"}, "auto", "reflink", "copy", "hardlink")
	fl.BoolVar(&f.dryRun, "dry-run", false, "tell what would be fetched, and fetch nothing")
	fl.IntVarP(&f.Workers, "jobs", "j", 0, "fetch `N` blobs at once (default 4)")
	fl.IntVar(&f.Connections, "concurrency", 0, "have at most `N` requests under way, of all blobs (default 32)")
	fl.Var(rateValue{&f.Bandwidth}, "bandwidth", "fetch at most `RATE` bytes per second, such as 200M or 50MiB")
	fl.BoolVar(&f.PageCache, "page-cache", false, "leave large files in memory, for who loads them at once; writing past it is faster, and leaves room")
	fl.BoolVar(&f.Raw, "raw", false, "take any artifact, such as a chart or a signature, as it is: manifest, config and layers")
	fl.BoolVar(&f.OMS, "oms", false, "put the signature of OpenSSF Model Signing that is attached to the version into DIR/model.sig")
	fl.BoolVar(&f.AllowDotfiles, "allow-dotfiles", false, dotfilesUsage)
	fl.BoolVar(&f.AllowCollisions, "allow-collisions", false, "take names that differ only in case, if the file system keeps them apart")
	fl.BoolVar(&f.NoDelta, "no-delta", false, "fetch changed weights whole, not by their differences from files on this machine")
	fl.BoolVar(&f.Variants, "variants", false, "fetch weights in fewer bytes where the version has codings of them (push --variants), and decode them")
	fl.BoolVar(&f.NoStore, "no-cache", false, "neither use nor fill the local store")
	_ = fl.MarkHidden("no-delta") // of use to those who look for a fault; there is such a flag
}

// pullTrust reads whose signatures count.
func (a *app) pullTrust(ctx context.Context, f pullFlags) (*signing.Trust, error) {
	if f.trust.caRoots != "" && f.verify && f.OMS {
		return a.trustedByAuthorities(ctx, f.trust, certifiedFiles)
	}
	return a.trust(ctx, f.verify, f.trust)
}

// check refuses flags of which one would do nothing.
func (f *pullFlags) check(policy bool) error {
	switch {
	case f.AllowDowngrade && !f.verify && !policy:
		return usagef("--allow-downgrade goes with --verify --key FILE, or a policy")
	case f.lockAt != "" && !f.locked:
		return usagef("--lock-file goes with --locked")
	case f.Raw && f.locked:
		return usagef("--raw and --locked do not go together: what is locked are the files of a model")
	case f.Variants && f.link == string(artifact.LinkHard):
		return usagef("--variants and --link hardlink do not go together: what is decoded is not in the store")
	case f.OMS && (f.Raw || f.layout == "hf" || f.dryRun || !f.Select.IsAll()):
		return usagef("--oms is about all files in a directory: it does not go with --raw, --layout hf, --dry-run, --include and --exclude")
	case f.Raw && f.Variants:
		return usagef("--raw and --variants do not go together: --raw takes the blobs as they are")
	case f.Raw && f.AllowCollisions:
		return usagef("--raw and --allow-collisions do not go together: --raw gives one of two such names another")
	}
	return nil
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

func (a *app) pull(cmd *cobra.Command, args []string, f pullFlags) error {
	r, err := a.wanted(args, &f)
	if err == nil {
		err = a.checkAs(r)
	}
	if err != nil {
		return err
	}
	dir, err := f.place(r, args[min(1, len(args)):])
	if err != nil {
		return err
	}
	if f.dryRun {
		return a.planPull(cmd, r, dir, f.PullOptions)
	}
	progress := a.printer.Progress("pull")
	h, err := a.hub(progress.Observe)
	if err != nil {
		progress.Close()
		return err
	}
	started := time.Now()
	res, err := h.Pull(cmd.Context(), r, dir, f.PullOptions)
	progress.Close()
	if err != nil {
		return err
	}
	for _, n := range res.Notes {
		a.printer.Note("note: %s", n)
	}
	a.noteSigners(res.Verified)
	a.printer.Note("%s", pullSummary(res, time.Since(started)))
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

// wanted is what is to be pulled: the reference, or what the lock file has for it.
func (a *app) wanted(args []string, f *pullFlags) (ref.Reference, error) {
	if !f.locked {
		return a.parse(args[0])
	}
	l, err := a.locked(f.lockAt, args, f.Trust)
	if err != nil {
		return ref.Reference{}, err
	}
	f.Locked = l
	return l.Pinned(), nil
}

// place is where the files go: DIR or the default for the layout.
func (f *pullFlags) place(r ref.Reference, dir []string) (string, error) {
	if f.layout == "hf" {
		if f.Raw {
			return "", usagef("--raw and --layout hf do not go together")
		}
		f.HF = &artifact.HFOptions{RepoID: f.repoID}
		if len(dir) > 0 {
			return dir[0], nil
		}
		return hfCacheDir()
	}
	if f.repoID != "" {
		return "", usagef("--repo-id goes with --layout hf")
	}
	name := path.Base(r.Repository)
	if f.Locked != nil {
		name = f.Locked.Name
	}
	if len(dir) > 0 {
		name = dir[0]
	}
	return name, checkHome(name)
}

func (a *app) noteSigners(v *hub.Verified) {
	if v == nil {
		return
	}
	if v.Policy != "key" {
		a.printer.Note("allowed by policy %s", v.Policy)
	}
	for _, s := range v.Signers {
		a.printer.Note("verified: signed by %s", signedBy(s))
	}
}

// planPull prints what a pull would do.
func (a *app) planPull(cmd *cobra.Command, r ref.Reference, dir string, opts hub.PullOptions) error {
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	plan, err := h.PlanPull(cmd.Context(), r, dir, opts)
	if err != nil {
		return err
	}
	a.noteSigners(plan.Verified)
	return a.printer.Result(plan, func(w io.Writer) {
		tw := ui.Table(w)
		fmt.Fprintf(tw, "reference\t%s\n", spoken(plan.Reference))
		fmt.Fprintf(tw, "directory\t%s\n", ui.Clean(plan.Directory))
		fmt.Fprintf(tw, "files\t%s\n", chosenFiles(plan.Files, plan.SkippedFiles)+", "+ui.Bytes(plan.Size))
		fmt.Fprintf(tw, "to fetch\t%s\n", fetchSummary(plan))
		fmt.Fprintf(tw, "on this machine\t%s\n", ui.Bytes(plan.ReuseBytes))
		if plan.Seconds != nil && plan.Blobs > 0 {
			took := time.Duration(*plan.Seconds * float64(time.Second))
			fmt.Fprintf(tw, "time\t%s at %s/s\n", ui.Duration(took), ui.Bytes(*plan.BytesPerSecond))
		}
		_ = tw.Flush()
	})
}

func fetchSummary(plan *hub.PullPlan) string {
	switch plan.Blobs {
	case 0:
		return "nothing"
	case 1:
		return ui.Bytes(plan.FetchBytes) + " in 1 blob"
	}
	return fmt.Sprintf("%s in %d blobs", ui.Bytes(plan.FetchBytes), plan.Blobs)
}

// chosenFiles counts files, and those that were left out.
func chosenFiles(n, leftOut int) string {
	if leftOut == 0 {
		return ui.Files(n)
	}
	return fmt.Sprintf("%d of %s", n, ui.Files(n+leftOut))
}

func pullSummary(res *hub.PullResult, took time.Duration) string {
	size := chosenFiles(res.Files, res.SkippedFiles) + ", " + ui.Bytes(res.Size)
	if res.RepoID != "" {
		size += ", as " + res.RepoID
	}
	if res.FetchedBytes == 0 {
		return fmt.Sprintf("nothing to fetch: %s, in %s", size, res.Directory)
	}
	fetched := ui.Bytes(res.FetchedBytes)
	if res.FetchedBytes < res.Size {
		fetched += " of " + ui.Bytes(res.Size)
	}
	var s strings.Builder
	s.WriteString(fmt.Sprintf("pulled %s, into %s in %s: %s fetched", size, res.Directory, ui.Duration(took), fetched))
	for _, host := range slices.Sorted(maps.Keys(res.Mirrors)) {
		s.WriteString(fmt.Sprintf("; %s came from mirror %s", ui.Bytes(res.Mirrors[host]), host))
	}
	return s.String()
}
