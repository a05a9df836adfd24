package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mount"
	"github.com/modelreg/modelreg/pkg/ref"
)

type mountFlags struct {
	hub.ViewOptions
	verify bool
	trust  trustFlags
	locked bool
	lockAt string
}

// A mountResult is what is printed when the files are there.
type mountResult struct {
	Reference string        `json:"reference"`
	Digest    string        `json:"digest"`
	Directory string        `json:"directory"` // the whole path
	Files     int           `json:"files"`
	Size      int64         `json:"size"`
	Verified  *hub.Verified `json:"verified"` // null when nothing was asked for, or it was skipped

	// VerificationSkipped says that policies were told to let it pass.
	VerificationSkipped bool               `json:"verificationSkipped,omitempty"`
	Variant             *hub.ChosenVariant `json:"variant,omitempty"`
}

func newMount(a *app) *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount REF DIR | mount --locked [NAME|REF] DIR",
		Short: "Show the files of a version in a directory, and fetch what is read",
		Long: `Show the files of a version in DIR, an empty directory, at once, and fetch what is
read of them when it is read. It goes on until it is interrupted (Ctrl-C, SIGTERM) or
DIR is unmounted. The files can be read and mapped, and not written to.

REF is resolved once; with --locked it is the version that modelreg.lock has, and no
other. What decides whether a pull may go on decides here too, on the
digest that is then shown. Bytes are given out only if they are right: parts of large
weights by the index of their chunks, small files by their own digest. A large file
without an index is fetched whole, into the local store, when it is first read. Wrong
bytes are an I/O error for whoever reads them, and a warning here.

Reading on from a file fetches ahead, several parts at once; in all 22 MiB of files
are held in memory. Whoever will read everything anyway, and more than once, is better off
with a pull.

Linux needs /dev/fuse and, unless you are root, fusermount3 (package fuse3); macOS needs
macFUSE. What was killed with SIGKILL leaves a mount behind that "umount DIR" removes.`,
		Example: `  mkdir model && modelreg mount ghcr.io/acme/support:v1 model
  modelreg mount ghcr.io/acme/support:v1 /mnt/model --verify --key cosign.pub
  modelreg mount --locked support /mnt/model`,
		Args: func(cmd *cobra.Command, args []string) error {
			if f.locked {
				return rangeArgs(1, 2)(cmd, args)
			}
			return exactArgs(2)(cmd, args)
		},
		ValidArgsFunction: positions(a.references, directories),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if f.Trust, err = a.trust(cmd.Context(), f.verify, f.trust); err != nil {
				return err
			}
			if err := f.check(a); err != nil {
				return err
			}
			return a.mount(cmd.Context(), args, f)
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

func (f *mountFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.verify, "verify", false, "refuse a version that is not signed by --key or --certificate-identity")
	f.trust.add(fl)
	f.trust.addAuthorities(fl)
	fl.BoolVar(&f.AllowDowngrade, "allow-downgrade", false, downgradeUsage)
	fl.BoolVar(&f.AllowDotfiles, "allow-dotfiles", false, dotfilesUsage)
	fl.BoolVar(&f.locked, "locked", false, lockedUsage)
	fl.StringVar(&f.lockAt, "lock-file", "", lockFileUsage)
}

// check refuses flags of which one would do nothing.
func (f *mountFlags) check(a *app) error {
	switch {
	case f.locked && a.variant.given():
		return usagef(lockedVariant)
	case f.lockAt != "" && !f.locked:
		return usagef("--lock-file goes with --locked")
	case f.AllowDowngrade && !f.verify && !a.hasPolicy():
		return usagef("--allow-downgrade goes with --verify --key FILE, or a policy")
	}
	return nil
}

// openMounted opens what is to be mounted: the reference, or what the lock file has
// for it.
func (a *app) openMounted(args []string, f *mountFlags) (*hub.Hub, ref.Reference, error) {
	if !f.locked {
		return a.open(args[0])
	}
	l, err := a.locked(f.lockAt, args, f.Trust)
	if err == nil {
		err = a.checkAs(l.Pinned())
	}
	if err != nil {
		return nil, ref.Reference{}, err
	}
	f.Locked = l
	h, err := a.hub(nil)
	return h, l.Pinned(), err
}

// mountGarbage is how much garbage there may be before it is collected, in percent
// of what is in use: half of the usual, as a mount is beside the programs that the
// memory is for. It costs no time that can be measured.
const mountGarbage = 50

func (a *app) mount(ctx context.Context, args []string, f mountFlags) error {
	defer debug.SetGCPercent(debug.SetGCPercent(mountGarbage))
	at := args[len(args)-1]
	if err := mount.CheckDir(at); err != nil {
		return err
	}
	h, r, err := a.openMounted(args[:len(args)-1], &f)
	if err != nil {
		return err
	}
	v, err := h.View(ctx, r, f.ViewOptions)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(at)
	if err != nil {
		return err
	}
	a.noteSigners(v.Verified)
	// Whoever reads when it is interrupted is told by Serve.
	shown, err := mount.New(context.WithoutCancel(ctx), mountFiles(v.Files), mount.Options{
		Name: spoken(v.Reference), Time: v.Made,
		Warn: func(m string) { a.printer.Warn("%s", spoken(m)) },
	})
	if err != nil {
		return err
	}
	defer shown.Close() //nolint:errcheck // only read
	res := mountResult{
		Reference: v.Reference, Digest: v.Digest, Directory: dir, Files: len(v.Files), Size: v.Size,
		Verified: v.Verified, VerificationSkipped: v.VerificationSkipped, Variant: v.Variant,
	}
	failed := error(nil)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	err = shown.Serve(ctx, at, func() {
		failed = a.printer.Result(res, func(w io.Writer) {
			fmt.Fprintf(w, "mounted %s, %s, of %s on %s; Ctrl-C unmounts\n", ui.Files(res.Files), ui.Bytes(res.Size), spoken(res.Reference), ui.Clean(dir))
		})
		if failed != nil {
			stop() // nobody would know that it is there
		}
	})
	if err == nil {
		err = failed
	}
	return err
}

// mountFiles are the files of a version as those of a mount.
func mountFiles(files []hub.ViewFile) []mount.File {
	shown := make([]mount.File, len(files))
	for i, f := range files {
		shown[i] = mount.File{Path: f.Path, Size: f.Size, Same: f.Content(), Open: func(ctx context.Context) (mount.Content, error) {
			r, err := f.Open(ctx)
			if err != nil {
				return nil, err
			}
			return r, nil
		}}
	}
	return shown
}
