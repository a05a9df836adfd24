package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
)

// What Unpack writes into a target besides the artifact's files.
const (
	// ManifestFile holds the manifest of what was unpacked, byte for byte.
	ManifestFile = controlPrefix + "/manifest.json"

	// RecordFile says what was unpacked and which files came from it. A
	// directory that has one may be updated by a later Unpack.
	RecordFile = controlPrefix + "/pull.json"

	// EvidenceFile holds what was signed about the artifact, as
	// [UnpackOptions] gave it.
	EvidenceFile = controlPrefix + "/signatures.json"

	// MaxEvidenceBytes bounds that file.
	MaxEvidenceBytes = 96 << 20

	recordVersion  = 1
	maxRecordBytes = 64 << 20
)

// A record is what RecordFile holds.
type record struct {
	Version   int            `json:"version"`
	Reference string         `json:"reference,omitempty"`
	MediaType string         `json:"mediaType"`
	Digest    digest.Digest  `json:"digest"`
	Files     []recordedFile `json:"files"`

	// Selection is what was asked for, if that was not all.
	Selection *Selection `json:"selection,omitempty"`

	// Admission is why it may be used, if somebody said so.
	Admission *Admission `json:"admission,omitempty"`
}

// An Admission tells why an artifact was unpacked, for those who ask later.
type Admission struct {
	Policy  string `json:"policy,omitempty"`  // that allowed it
	Skipped bool   `json:"skipped,omitempty"` // nobody was asked, on purpose
}

// skipped tells whether nobody was asked about what is there.
func (r *record) skipped() bool { return r.Admission != nil && r.Admission.Skipped }

func (r *record) selection() Selection {
	if r.Selection == nil {
		return Selection{}
	}
	return *r.Selection
}

type recordedFile struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"`
}

// parseRecord reads a record. It is only believed about which files may be
// replaced; what they hold is looked at.
func parseRecord(raw []byte) (*record, error) {
	if err := checkJSON(raw, maxJSONDepth); err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(raw, &r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("version %d is not known", r.Version)
	}
	if err := checkDigest(r.Digest); err != nil {
		return nil, err
	}
	return &r, nil
}

// A target is the directory to unpack into.
type target struct {
	dir    string   // absolute, without links
	base   string   // its name in parent
	parent *os.Root // of the directory that it is in
	made   []string // directories above it that were made, deepest first

	exists bool
	old    *record // nil if the target is no unpacked artifact
	tree   []existing
}

// An existing is something in the target before it is replaced.
type existing struct {
	path string // below the target
	info fs.FileInfo
}

// findTarget checks that dir can be a target. It does not look into it yet.
func findTarget(dir string) (*target, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	t := &target{dir: abs, base: filepath.Base(abs)}
	if err := t.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return t, nil
}

// openTarget is findTarget, and makes the directories above it.
func openTarget(dir string) (*target, error) {
	t, err := findTarget(dir)
	if err != nil {
		return nil, err
	}
	above := filepath.Dir(t.dir)
	for d := above; ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); err == nil {
			break
		}
		t.made = append(t.made, d)
	}
	if err := os.MkdirAll(above, 0o755); err != nil {
		return nil, err
	}
	if t.parent, err = os.OpenRoot(above); err != nil {
		return nil, err
	}
	return t, nil
}

// homeMarks are what tells somebody's home directory.
var homeMarks = []string{".ssh", ".gnupg", ".bashrc", ".bash_history", ".zshrc", ".profile", "NTUSER.DAT"}

// check refuses places that must not be swapped for another directory, however
// much the user insists.
func (t *target) check() error {
	above := filepath.Dir(t.dir)
	if above == t.dir {
		return fmt.Errorf("%w: it is the root directory", ErrTarget)
	}
	if t.dir == "/root" || isHomes(above) {
		return fmt.Errorf("%w: it is a home directory", ErrTarget)
	}
	info, err := os.Lstat(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: it is there and is no directory", ErrTarget)
	}
	for _, mark := range homeMarks {
		if _, err := os.Lstat(filepath.Join(t.dir, mark)); err == nil {
			return fmt.Errorf("%w: it looks like a home directory (%s)", ErrTarget, mark)
		}
	}
	if isMountPoint(t.dir) {
		return fmt.Errorf("%w: it is a mount point, which cannot be swapped; name a directory in it", ErrTarget)
	}
	// A shell in the directory would be left in one that is gone.
	if cwd, err := os.Getwd(); err == nil && isWithin(t.dir, cwd) {
		return fmt.Errorf("%w: it is the current directory, or above it", ErrTarget)
	}
	return nil
}

// isHomes tells whether home directories are in dir.
func isHomes(dir string) bool {
	above := filepath.Dir(dir)
	return filepath.Dir(above) == above && slices.Contains([]string{"home", "Users"}, filepath.Base(dir))
}

// isWithin tells whether path p is dir or below it.
func isWithin(dir, p string) bool {
	if real, err := filepath.EvalSymlinks(p); err == nil {
		p = real
	}
	rel, err := filepath.Rel(dir, p)
	return err == nil && filepath.IsLocal(rel)
}

// look reads what is in the target now.
func (t *target) look(force bool) error {
	info, err := t.parent.Lstat(t.base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s: %w: it is no directory", t.dir, ErrTarget)
	}
	t.exists = true
	if err := t.list(); err != nil {
		return err
	}
	if len(t.tree) == 0 {
		return nil
	}
	old, err := t.readRecord()
	if err != nil && !force {
		return fmt.Errorf("%s: %w (%w)", t.dir, ErrNotOurs, err)
	}
	t.old = old
	return nil
}

// stillFree looks once more, before the swap, into a target that was missing or
// empty: hours may have passed, and what somebody put there is not ours.
func (t *target) stillFree(force bool) error {
	if force || len(t.tree) > 0 {
		return nil
	}
	entries, err := fs.ReadDir(t.parent.FS(), t.base)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w: it was filled while the artifact was fetched", t.dir, ErrNotOurs)
}

// list finds everything in the target, without following links.
func (t *target) list() error {
	return fs.WalkDir(t.parent.FS(), t.base, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == t.base {
			return nil
		}
		info, err := t.parent.Lstat(name)
		if err != nil {
			return err
		}
		t.tree = append(t.tree, existing{path: strings.TrimPrefix(name, t.base+"/"), info: info})
		return nil
	})
}

func (t *target) readRecord() (*record, error) { return readRecord(t.parent, t.base+"/"+RecordFile) }

func readRecord(root *os.Root, name string) (*record, error) {
	f, err := openRegular(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it has no " + RecordFile)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxRecordBytes+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxRecordBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes", RecordFile, maxRecordBytes)
	}
	r, err := parseRecord(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RecordFile, err)
	}
	return r, nil
}

// close gives up the target; if nothing came of it, the directories that were
// made for it go again.
func (t *target) close(failed bool) {
	_ = t.parent.Close()
	if failed {
		for _, d := range t.made {
			// Fails, as it should, where something else is in it by now.
			_ = os.Remove(d)
		}
	}
}

// theirs are the entries that did not come from an artifact.
func (t *target) theirs() []existing {
	if t.old == nil {
		return nil
	}
	came := map[string]bool{ManifestFile: true, RecordFile: true, EvidenceFile: true, controlPrefix: true}
	for _, f := range t.old.Files {
		came[f.Path] = true
	}
	var out []existing
	for _, e := range t.tree {
		if !came[e.path] {
			out = append(out, e)
		}
	}
	return out
}
