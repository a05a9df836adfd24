package artifact

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ErrEdited is wrapped by an [EditedError].
var ErrEdited = errors.New("files that were changed since the last pull would be replaced")

// An EditedError lists what would be lost by unpacking: files that came from an
// artifact, were changed since, and would be replaced by others or removed.
// [UnpackOptions] can allow it with Force.
type EditedError struct {
	Dir   string
	Files []string // paths below Dir, sorted
}

func (e *EditedError) Error() string {
	const most = 10
	names := make([]string, min(len(e.Files), most))
	for i := range names {
		names[i] = printable(e.Files[i])
	}
	what := strings.Join(names, ", ")
	if n := len(e.Files) - most; n > 0 {
		what += fmt.Sprintf(" and %d more", n)
	}
	return fmt.Sprintf("%s: %v: %s", e.Dir, ErrEdited, what)
}

// Unwrap returns [ErrEdited].
func (e *EditedError) Unwrap() error { return ErrEdited }

// checkEdited refuses, before anything is fetched, to replace what the user has
// made of the earlier artifact's files. What is damaged looks the same.
func (u *unpacker) checkEdited() error {
	if u.opts.Force {
		return nil
	}
	return u.refuseEdited(u.edited())
}

func (u *unpacker) refuseEdited(files []string) error {
	if len(files) == 0 {
		return nil
	}
	u.kept = u.before || u.fetched.Load() > 0 // with Force the next run goes on
	slices.Sort(files)
	return &EditedError{Dir: u.target.dir, Files: files}
}

// edited lists files of the earlier artifact that are no longer what they were
// when they came, and are about to be replaced or removed. It looks at what is
// known without reading more: sizes, and digests of files that were hashed; see
// [unpacker.wantedSizes].
func (u *unpacker) edited() []string {
	came := u.target.recorded()
	if len(came) == 0 {
		return nil
	}
	comes := make(map[string]digest.Digest, len(u.a.Files))
	for _, f := range u.a.Files {
		if !f.Archive {
			comes[f.Path] = f.Digest
		}
	}
	var out []string
	for _, e := range u.target.tree {
		f, ours := came[e.path]
		if !ours || e.info.IsDir() {
			continue
		}
		now, hashed := u.locals.paths[e.path]
		if next, ok := comes[e.path]; ok && hashed && now == next {
			continue // it already is what it will be
		}
		changed := hashed && now != f.Digest && now.Algorithm() == algorithm(f.Digest)
		if changed || !e.info.Mode().IsRegular() || e.info.Size() != f.Size {
			out = append(out, e.path)
		}
	}
	return out
}

// stillUnedited looks once more, before the swap, at the files of the earlier
// artifact: hours may have passed.
func (u *unpacker) stillUnedited() error {
	if u.opts.Force {
		return nil
	}
	came := u.target.recorded()
	var out []string
	for _, e := range u.target.tree {
		if _, ours := came[e.path]; !ours || e.info.IsDir() {
			continue
		}
		now, err := u.target.parent.Lstat(u.target.base + "/" + e.path)
		if err == nil && !sameFile(now, e.info) {
			out = append(out, e.path)
		}
	}
	return u.refuseEdited(out)
}

// algorithm is that of a digest which nobody has checked.
func algorithm(d digest.Digest) digest.Algorithm {
	name, _, _ := strings.Cut(string(d), ":")
	return digest.Algorithm(name)
}

// recorded are the files of the earlier artifact, by path.
func (t *target) recorded() map[string]recordedFile {
	if t.old == nil {
		return nil
	}
	came := make(map[string]recordedFile, len(t.old.Files))
	for _, f := range t.old.Files {
		came[f.Path] = f
	}
	return came
}
