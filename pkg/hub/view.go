package hub

import (
	"context"
	"fmt"
	"time"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// ViewOptions adjusts [Hub.View]. The zero value checks digests, and no
// signatures.
type ViewOptions struct {
	// Trust, if not nil, must have signed the version.
	Trust *signing.Trust

	// AllowDowngrade accepts, with Trust or policies, a tag that went back to
	// an older version.
	AllowDowngrade bool

	// AllowDotfiles lets names through that begin with a dot and are not known
	// to be harmless. Otherwise the error wraps [artifact.ErrDotfile].
	AllowDotfiles bool

	// Locked, if not nil, is what the version must be: anything else is a
	// [lock.DriftError]. It is opened by the locked digest, whatever the
	// reference says.
	Locked *Locked
}

// A View is the files of one version, to be read where they lie.
type View struct {
	Reference string
	Digest    string
	Size      int64      // of all files, in bytes
	Verified  *Verified  // nil when nothing was asked for, or it was skipped
	Files     []ViewFile // sorted by path

	// Made is when the version says it was made; zero if it does not.
	Made time.Time

	// VerificationSkipped says that [Rules] were told to let it pass.
	VerificationSkipped bool

	// Variant is what was taken of a version that has several; nil for others.
	Variant *ChosenVariant
}

// A ViewFile is one file of a [View]. Its path has passed [artifact.CheckPath] and,
// unless it was told otherwise, [artifact.CheckDots].
type ViewFile struct {
	Path string
	Size int64 // bytes

	view *viewed
	file artifact.File
}

// Content names the bytes of the file: files of one view with the same name and
// size have the same.
func (f ViewFile) Content() string {
	l := f.file.Layer
	return fmt.Sprintf("%s %d %s %d+%d", l.Digest, l.Size, l.MediaType, f.file.Offset, f.Size)
}

// View opens the version that r resolves to for reading parts of its files, if it
// may be used: what decides is what decides for [Hub.Pull], on the digest that is
// then read. No file is fetched before it is read.
//
// A version whose archives say nowhere what is in them cannot be read so; the
// error wraps [ErrUsage].
func (h *Hub) View(ctx context.Context, r ref.Reference, opts ViewOptions) (*View, error) {
	t, a, verified, err := h.openAdmitted(ctx, r, admitOptions{trust: opts.Trust, downgrade: opts.AllowDowngrade}, opts.Locked)
	if err != nil {
		return nil, err
	}
	admission, err := h.admission(ctx, verified)
	if err != nil {
		return nil, err
	}
	view := &viewed{hub: h, artifact: a, name: t.ref.String(), src: &nearSource{store: h.opts.Store, repo: t.repo}}
	v := &View{
		Reference: t.source().String(), Digest: t.desc.Digest.String(), Verified: verified,
		Files: make([]ViewFile, len(a.Files)), Made: t.made, Variant: t.chosen(), VerificationSkipped: admission.Skipped,
	}
	for i, f := range a.Files {
		if f.Archive {
			return nil, fmt.Errorf("%w: read %s in parts: what is in the archive %s is told nowhere but in it: pull the version", ErrUsage, t.ref, f.Layer.Digest)
		}
		if err := artifact.CheckDots(f.Path); err != nil && !opts.AllowDotfiles {
			return nil, fmt.Errorf("open %s: %w", t.ref, err)
		}
		v.Files[i] = ViewFile{Path: f.Path, Size: f.Size, view: view, file: f}
		v.Size += f.Size
	}
	return v, nil
}
