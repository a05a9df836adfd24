package lock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/ref"
)

// Marshal returns the file's bytes. It refuses what [Parse] would.
func (f *File) Marshal() ([]byte, error) {
	if len(f.Models) > MaxModels {
		return nil, fmt.Errorf("write lock file: %d models, more than %d", len(f.Models), MaxModels)
	}
	var b bytes.Buffer
	b.WriteString("version: 1\nmodels:")
	if len(f.Models) == 0 {
		b.WriteString(" {}")
	}
	b.WriteByte('\n')
	for _, name := range f.Names() {
		e := f.Models[name]
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("write lock file: %s: %w", name, err)
		}
		fmt.Fprintf(&b, "  %s:\n", scalar(name))
		for _, line := range e.lines() {
			if line[1] != "" {
				fmt.Fprintf(&b, "    %s: %s\n", line[0], scalar(line[1]))
			}
		}
		if len(e.Earlier) > 0 {
			b.WriteString("    earlier:\n")
		}
		for _, d := range e.Earlier {
			fmt.Fprintf(&b, "      - %s\n", d)
		}
	}
	if b.Len() > MaxBytes {
		return nil, fmt.Errorf("write lock file: %d bytes, more than %d", b.Len(), MaxBytes)
	}
	return b.Bytes(), nil
}

// lines are keys and values in the order in which they are written: a digest
// follows the reference that it is of.
func (e Entry) lines() [][2]string {
	return [][2]string{
		{"reference", referenceText(e.Reference)},
		{"digest", e.Digest.String()},
		{"variant", e.Variant.String()},
		{"chosen", e.Chosen},
		{"files", e.Files.String()},
		{"tag", e.Tag},
		{"created", timestamp(e.Created)},
		{"signer", e.Signer},
		{"issuer", e.Issuer},
		{"policy", e.Policy.String()},
		{"resolved", timestamp(e.Resolved)},
	}
}

// referenceText writes a range of versions without the quotes that only a shell
// needs, where it reads as the same without them.
func referenceText(r ref.Reference) string {
	s := r.String()
	bare := strings.ReplaceAll(s, `"`, "")
	if again, err := ref.Parse(bare); r.Range != "" && err == nil && again == r {
		return bare
	}
	return s
}

func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// plain finds text that means itself in YAML, in whatever version of it: it
// begins with a letter, or is no number for its slash, and has no space, bracket
// or quote.
var plain = regexp.MustCompile(`^([A-Za-z]|[0-9][0-9A-Za-z.:_-]*/)[A-Za-z0-9_./@:=^~+%&?,-]*$`)

// words are read as something else than text by one version of YAML or another.
var words = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n"}

// scalar writes text as YAML: as it is, or quoted.
func scalar(s string) string {
	if date := strings.HasSuffix(s, "Z") && len(s) == len(time.RFC3339)-5; date {
		if _, err := time.Parse(time.RFC3339, s); err == nil {
			return s
		}
	}
	if plain.MatchString(s) && !strings.HasSuffix(s, ":") && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return strconv.QuoteToASCII(s) // \x, \u, \U, \a … mean in YAML what they mean in Go
}

// check refuses values that could not be read again.
func (e Entry) check() error {
	for _, line := range e.lines() {
		if err := e.checkLine(line[0], line[1]); err != nil {
			return err
		}
	}
	if len(e.Earlier) > MaxEarlier {
		return fmt.Errorf("earlier: %d versions, more than %d", len(e.Earlier), MaxEarlier)
	}
	for _, d := range e.Earlier {
		if err := checkDigest("earlier", d); err != nil {
			return err
		}
	}
	return nil
}

func (e Entry) checkLine(key, value string) error {
	switch {
	case value == "" && slices.Contains([]string{"reference", "digest", "files", "resolved"}, key):
		return fmt.Errorf("%s is missing", key)
	case value == "":
		return nil
	case len(value) > MaxTextBytes:
		return fmt.Errorf("%s is longer than %d bytes", key, MaxTextBytes)
	case strings.ToValidUTF8(value, "") != value || strings.ContainsFunc(value, control):
		return fmt.Errorf("%s %.80q holds control characters", key, value)
	}
	switch key {
	case "reference":
		return e.checkReference()
	case "digest", "variant", "files", "policy":
		return checkDigest(key, digest.Digest(value))
	}
	return nil
}

func (e Entry) checkReference() error {
	switch r := e.Reference; {
	case r.Scheme != "" || r.Host == "":
		return fmt.Errorf("reference %s is in no registry", r)
	case r.Path != "" || r.Prefix != "":
		return fmt.Errorf("reference %s names a file, or abbreviates a digest", r)
	case r.Digest != "" && r.Digest != e.Digest:
		return fmt.Errorf("reference %s has another digest than %s", r, e.Digest)
	}
	return nil
}

func checkDigest(key string, d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%s %.80q: %w", key, d.String(), err)
	}
	return nil
}

func control(r rune) bool {
	return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff
}

// Locate returns the lock file for work in directory dir: dir's own, or that of
// the nearest directory above that has one, as far as the root of the version
// control that dir is in. Outside of any, only dir is looked at: what lies
// further up may be anybody's. The error wraps [ErrNoFile] when there is none.
func Locate(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", Name, err)
	}
	own := filepath.Join(dir, Name)
	if exists(own) {
		return own, nil
	}
	found := ""
	for at := dir; ; at = filepath.Dir(at) {
		if file := filepath.Join(at, Name); found == "" && exists(file) {
			found = file
		}
		if exists(filepath.Join(at, ".git")) {
			break
		}
		if at == filepath.Dir(at) {
			found = ""
			break
		}
	}
	if found == "" {
		return "", fmt.Errorf("find %s in %s, or above it in its repository: %w", Name, dir, ErrNoFile)
	}
	return found, nil
}

func exists(file string) bool {
	_, err := os.Lstat(file)
	return err == nil
}

// Read reads a lock file from disk. The error wraps [fs.ErrNotExist] when there
// is none, and [ErrMalformed] when it is something else.
func Read(file string) (*File, error) {
	raw, err := readAll(file)
	if err != nil {
		return nil, fmt.Errorf("read lock file: %w", err)
	}
	f, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return f, nil
}

func readAll(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, MaxBytes+1))
}

// Write puts f in the place of the file, whole or not at all. It changes nothing
// when the file is as f would write it already, and fails with [ErrChanged] when
// it is no longer as f was read.
func Write(file string, f *File) error {
	raw, err := f.Marshal()
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(file); err == nil {
		file = real
	}
	now, err := readAll(file)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("write lock file: %w", err)
	case err == nil && f.raw == nil, f.raw != nil && !bytes.Equal(now, f.raw):
		return fmt.Errorf("write %s: %w", file, ErrChanged)
	case err == nil && bytes.Equal(now, raw):
		return nil
	}
	if err := replace(file, raw); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	f.raw = raw
	return nil
}

func replace(file string, raw []byte) error {
	mode := fs.FileMode(0o644)
	if info, err := os.Stat(file); err == nil {
		mode = info.Mode().Perm()
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), "."+Name+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already when renamed
	_, err = tmp.Write(raw)
	if err := errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
