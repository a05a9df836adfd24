package artifact

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

// maxRefBytes bounds what is read of a ref: a revision and a line break.
const maxRefBytes = 256

// validRevision is what a snapshot of ours is called. Those of a hub are too.
var validRevision = regexp.MustCompile(`^[0-9a-f]{40}$`)

// marker is the file that says that a revision came out of an artifact.
func marker(revision string) string { return controlPrefix + "/" + revision }

// mark makes the marker of the revision. It holds the reference that was asked
// for, from which package source tells where the revision is from.
func (h *hfCache) mark() error {
	if err := h.root.MkdirAll(controlPrefix, 0o755); err != nil {
		return err
	}
	from := cmp.Or(h.opts.Reference, h.a.Descriptor.Digest.String())
	return h.replace(marker(h.revision), from+"\n")
}

// setRefs moves the refs to the revision.
func (h *hfCache) setRefs() error {
	refs := []string{h.hf.Ref}
	if _, err := h.root.Lstat(hfRefs + "/" + hfDefaultRef); h.hf.Main || errors.Is(err, fs.ErrNotExist) {
		refs = append(refs, hfDefaultRef)
	}
	for _, name := range refs {
		if name == "" {
			continue
		}
		if err := h.setRef(name); err != nil {
			return err
		}
	}
	var err error
	h.out.Main, err = h.readRef(hfDefaultRef)
	return err
}

// setRef moves one, unless it is another's.
func (h *hfCache) setRef(name string) error {
	if !h.opts.Force {
		switch now, err := h.readRef(name); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case !h.isOurs(now):
			h.out.Kept[name] = now
			return nil
		}
	}
	return h.replace(hfRefs+"/"+name, h.revision)
}

// isOurs tells whether a revision came out of an artifact, or is none.
func (h *hfCache) isOurs(revision string) bool {
	if revision == "" || revision == h.revision {
		return true
	}
	if !validRevision.MatchString(revision) {
		return false
	}
	info, err := h.root.Lstat(marker(revision))
	return err == nil && info.Mode().IsRegular()
}

// readRef returns the revision that a ref points to.
func (h *hfCache) readRef(name string) (string, error) {
	f, err := openRegular(h.root, hfRefs+"/"+name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRefBytes))
	if err != nil {
		return "", fmt.Errorf("read ref %s: %w", name, err)
	}
	return printable(strings.TrimSpace(string(text))), nil
}

// replace makes a file with this text, or puts it in the place of another.
func (h *hfCache) replace(name, text string) error {
	if err := h.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	temp := controlPrefix + "-" + h.revision + ".ref"
	if err := h.root.WriteFile(temp, []byte(text), mode); err != nil {
		return err
	}
	if err := settleFile(h.root, temp); err != nil {
		return err
	}
	if err := h.root.Rename(temp, name); err != nil {
		return errors.Join(err, h.root.Remove(temp))
	}
	return syncRoot(h.root, path.Dir(name))
}
