package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

// noteSnapshot is a note in an index that was pulled: of what.
const noteSnapshot = "snapshot"

// indexPushFlags are those of "index push".
type indexPushFlags struct {
	index            string
	include, exclude []string
	sign             signerFlags
}

func newIndexPush(a *app) *cobra.Command {
	var f indexPushFlags
	cmd := &cobra.Command{
		Use:   "push REF",
		Short: "Publish the index in a registry, for others to search",
		Long: `Push what the index has to REF as one artifact, signed with --key or --keyless. Others
search it with "modelreg search --index oci://REF", or take it with "modelreg index pull".
What is the same as before is the same artifact, and not pushed again.

Whoever can read REF reads all that is in it: the names and cards of every repository that
who built the index may see. Push one for each group of people who may see the same, built
as one of them, or chosen with --include and --exclude.`,
		Example: `  modelreg index push registry.example.com/public/models-index:latest --key team.key
  modelreg index push ghcr.io/acme/models-index:latest --include 'ghcr.io/acme/*' --exclude '*-internal'`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pushIndex(cmd.Context(), args[0], f)
		},
	}
	fl := cmd.Flags()
	addIndexFlag(fl, &f.index)
	fl.StringArrayVar(&f.include, "include", nil, "take only repositories, HOST/ORG/MODEL, that match `GLOB` (repeatable: one of them must match)")
	fl.StringArrayVar(&f.exclude, "exclude", nil, "leave out repositories that match `GLOB` (repeatable)")
	f.sign.add(cmd)
	return cmd
}

func (a *app) pushIndex(ctx context.Context, arg string, f indexPushFlags) (err error) {
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	var opts hub.SnapshotOptions
	if opts.Keep, err = glob.Matcher(f.include, f.exclude); err != nil {
		return err
	}
	if f.sign.given() {
		if opts.Signer, err = a.signerOf(ctx, f.sign); err != nil {
			return err
		}
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	ix, _, err := a.openIndex(ctx, f.index)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ix.Close()) }()
	res, err := h.PushSnapshot(ctx, ix, r, opts)
	if err != nil {
		return err
	}
	a.printer.Note("%d versions in %d repositories, %s", res.Versions, res.Repositories, ui.Bytes(res.Size))
	if opts.Signer == nil {
		a.printer.Note("not signed: what it says of signatures is not believed by others")
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res.Reference) })
}

// snapshotFlags say whose snapshots count.
type snapshotFlags struct {
	verify    bool
	downgrade bool
	trust     trustFlags
}

func (f *snapshotFlags) add(fl *pflag.FlagSet) {
	fl.BoolVar(&f.verify, "verify", false, "refuse a snapshot that is not signed by --key or --certificate-identity")
	fl.BoolVar(&f.downgrade, "allow-downgrade", false, downgradeUsage)
	f.trust.add(fl)
}

// options are what to find a snapshot with.
func (f *snapshotFlags) options(ctx context.Context, a *app) (opts hub.FindSnapshotOptions, err error) {
	if f.downgrade && !f.verify {
		return opts, usagef("--allow-downgrade goes with --verify")
	}
	opts.AllowDowngrade = f.downgrade
	opts.Trust, err = a.trust(ctx, f.verify, f.trust)
	return opts, err
}

func newIndexPull(a *app) *cobra.Command {
	var f snapshotFlags
	var file string
	var force bool
	cmd := &cobra.Command{
		Use:   "pull REF",
		Short: "Take an index that was published in a registry",
		Long: `Make the index anew of a snapshot that "modelreg index push" has published. The old index
is replaced only when all was read.

With --verify the snapshot must be signed, which is checked before any of it is fetched, and
what it says of signatures and measurements is taken for true. Without, that is left out:
no version is verified:yes by the word of somebody unknown.`,
		Example: `  modelreg index pull registry.example.com/public/models-index --verify --key team.pub
  modelreg index pull ghcr.io/acme/models-index:latest --index acme.db`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pullIndex(cmd.Context(), args[0], file, f, force)
		},
	}
	fl := cmd.Flags()
	addIndexFlag(fl, &file)
	fl.BoolVar(&force, "force", false, "replace an index that was built here, or a file that is none")
	f.add(fl)
	return cmd
}

// pulledIndex is what "index pull" prints.
type pulledIndex struct {
	Index string `json:"index"`
	*hub.Snapshot
	Repositories int `json:"repositories"`
	Versions     int `json:"versions"`
}

func (a *app) pullIndex(ctx context.Context, arg, given string, f snapshotFlags, force bool) error {
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	file, err := a.indexFile(given)
	if err != nil {
		return err
	}
	if !force {
		if err := replaceable(ctx, file); err != nil {
			return err
		}
	}
	opts, err := f.options(ctx, a)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	s, err := h.FindSnapshot(ctx, r, opts)
	if err != nil {
		return err
	}
	stats, err := takeSnapshot(ctx, s, file)
	if errors.Is(err, index.ErrLayout) {
		return usagef("%q is no index, and is not replaced: name another file, or remove it yourself", file)
	}
	if err != nil {
		return err
	}
	if !s.Verified {
		a.printer.Note("not verified: what it says of signatures was left out")
	}
	return a.printer.Result(pulledIndex{file, s, stats.Repositories, stats.Versions}, func(w io.Writer) {
		fmt.Fprintf(w, "%d versions in %d repositories of %s\n", stats.Versions, stats.Repositories, s.Reference)
	})
}

// replaceable refuses to replace what cannot be pulled again.
func replaceable(ctx context.Context, file string) error {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	const hint = "--index FILE makes another index, --force replaces this one"
	ix, err := index.Open(ctx, file, index.OpenOptions{ReadOnly: true})
	if errors.Is(err, index.ErrLayout) {
		return usageError{fmt.Errorf("%s is no index, and is not replaced", file), hint}
	}
	if err != nil {
		return err
	}
	places, err := ix.Note(ctx, notePlaces)
	if err = errors.Join(err, ix.Close()); err == nil && places != "" {
		return usageError{fmt.Errorf("%s was built here of %s, and is not replaced", file, ui.Line(strings.ReplaceAll(places, "\n", ", "))), hint}
	}
	return err
}

// takeSnapshot makes an index of a snapshot, and gives it its name when it is whole.
func takeSnapshot(ctx context.Context, s *hub.Snapshot, file string) (stats index.SnapshotStats, err error) {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return stats, err
	}
	err = index.Replace(ctx, file, func(ix *index.Index) (err error) {
		if stats, err = s.Into(ctx, ix, dir); err != nil {
			return err
		}
		if err := ix.SetNote(ctx, noteSnapshot, s.Reference); err != nil {
			return err
		}
		return ix.SetNote(ctx, noteUpdated, time.Now().UTC().Format(time.RFC3339))
	})
	return stats, err
}

// A shelf keeps the indexes that searches have made of snapshots. What was made
// under one trust is not there under another.
type shelf struct {
	dir string
	who string // stands for the trust
}

func (a *app) shelf(f snapshotFlags, trust *signing.Trust) (shelf, error) {
	dir, err := a.cacheDir()
	s := shelf{dir: filepath.Join(dir, "snapshots"), who: "unverified"}
	if trust != nil {
		var b strings.Builder
		for _, k := range trust.Keys {
			fmt.Fprintf(&b, "key %q\n", k.Fingerprint())
		}
		for _, id := range trust.Identities {
			fmt.Fprintf(&b, "identity %q\n", []string{id.Subject, id.SubjectRegexp, id.Issuer, id.IssuerRegexp})
		}
		fmt.Fprintf(&b, "%q %q %t %t %t %t", f.trust.root, a.config.TrustedRoot, trust.RequireLog, trust.RequireTimestamp, trust.IgnoreLog, trust.IgnoreSCT)
		s.who = fileName(b.String())
	}
	return s, err
}

// fileName stands for a text in the name of a file.
func fileName(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// file is where the index of a digest is kept, and pointer where it says which
// digest a tag led to.
func (s shelf) file(digest string) string {
	return filepath.Join(s.dir, fileName(digest)+"-"+s.who+".db")
}

func (s shelf) pointer(r ref.Reference) string {
	return filepath.Join(s.dir, fileName(r.String())+"-"+s.who+".ref")
}

// kept returns the index that r led to last, and when that was.
func (s shelf) kept(r ref.Reference) (file string, at time.Time, err error) {
	digest := r.Digest.String()
	if digest == "" {
		raw, err := readSmall(s.pointer(r), 1024)
		if err != nil {
			return "", at, err
		}
		digest = strings.TrimSpace(string(raw))
		if info, err := os.Stat(s.pointer(r)); err == nil {
			at = info.ModTime()
		}
	}
	_, err = os.Stat(s.file(digest))
	return s.file(digest), at, err
}

// keep notes that r leads to a digest, and drops the index that it led to before.
func (s shelf) keep(r ref.Reference, digest string) error {
	if r.Digest != "" {
		return nil
	}
	before, _, err := s.kept(r)
	if err == nil && before != s.file(digest) {
		for _, name := range []string{before, before + "-wal", before + "-shm"} {
			_ = os.Remove(name) // it takes room, no more
		}
	}
	f, err := os.CreateTemp(s.dir, ".ref-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(digest + "\n")
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), s.pointer(r))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// isSnapshot tells whether --index names a snapshot in a registry.
func isSnapshot(given string) bool { return strings.HasPrefix(given, "oci://") }

// snapshotIndex returns the file of an index that is made of the snapshot, once for
// each digest.
func (a *app) snapshotIndex(ctx context.Context, f searchFlags) (string, error) {
	r, err := a.parse(f.index)
	if err != nil {
		return "", err
	}
	opts, err := f.snapshot.options(ctx, a)
	if err != nil {
		return "", err
	}
	s, err := a.shelf(f.snapshot, opts.Trust)
	if err != nil {
		return "", err
	}
	file, at, known := s.kept(r)
	if known == nil && (f.offline || r.Digest != "") {
		return file, nil
	}
	if f.offline {
		return "", fmt.Errorf("%w of %s on this machine", errNoIndex, r)
	}
	h, err := a.hub(nil)
	if err != nil {
		return "", err
	}
	found, err := h.FindSnapshot(ctx, r, opts)
	if errors.Is(err, remote.ErrUnreachable) && known == nil {
		a.printer.Warn("the registry cannot be reached: this is of the snapshot of %s", at.UTC().Format(time.RFC3339))
		return file, nil
	}
	if err != nil {
		return "", err
	}
	file = s.file(found.Digest)
	if _, err := os.Stat(file); err != nil {
		if _, err := takeSnapshot(ctx, found, file); err != nil {
			return "", err
		}
	}
	return file, s.keep(r, found.Digest)
}
