package oms

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
)

const (
	statementType   = "https://in-toto.io/Statement/v1"
	predicateOld    = "https://model_signing/Digests/v0.1" // of releases before 1.0
	methodFiles     = "files"
	hashSHA256      = "sha256"
	hashBLAKE2b     = "blake2b"
	maxNameBytes    = 4096 // PATH_MAX of Linux
	maxIgnorePaths  = 10_000
	maxComplaintLen = 80 // of text from a signature in an error
)

// A Resource is a file of a model.
type Resource struct {
	// Name is the file's path below the model's directory, with slashes.
	Name string

	// Digest is the SHA-256 of its bytes, but in a statement that is
	// [Statement.BLAKE2b].
	Digest digest.Digest
}

// A Statement says which files a model has. Only [New] and [Parse] make one.
type Statement struct {
	// Name is what the signer called the model: for people only.
	Name string

	// Resources are the files, in the order of the statement.
	Resources []Resource

	// ShardSize is not zero if the statement lists parts of files, each of so many
	// bytes but a file's last: Shards. The digest of a file with more than one is
	// [Sharded] then. [New] makes no such statement.
	ShardSize int64
	Shards    []Resource

	// BLAKE2b says that the digests of files are by BLAKE2b-512. [New] makes no
	// such statement.
	BLAKE2b bool

	// IgnorePaths are the files and directories that the signer left out.
	IgnorePaths []string

	// AllowSymlinks says that links were taken for what they point to.
	AllowSymlinks bool
}

// defaultIgnored are left out of every model, at its top, as the specification
// has it.
var defaultIgnored = []string{".git", ".gitattributes", ".github", ".gitignore"}

// New makes a statement about files. To what the specification leaves out by
// itself, and the signature's own [FileName], it adds the paths in ignore. The
// same files give the same statement in whatever order they are named.
func New(name string, files []Resource, ignore []string) (*Statement, error) {
	st := &Statement{Name: name, Resources: slices.Clone(files)}
	ignore = slices.Concat(defaultIgnored, []string{FileName}, ignore)
	slices.Sort(ignore)
	st.IgnorePaths = slices.Compact(ignore)
	// UTF-8 sorts bytewise as its code points do.
	slices.SortFunc(st.Resources, func(a, b Resource) int { return strings.Compare(a.Name, b.Name) })
	if !utf8.ValidString(name) {
		return nil, fmt.Errorf("make statement: name %+q is not UTF-8", name)
	}
	if err := st.check(); err != nil {
		return nil, fmt.Errorf("make statement: %w", err)
	}
	return st, nil
}

func (st *Statement) check() error {
	if len(st.Resources) == 0 {
		return fmt.Errorf("no files in it")
	}
	if len(st.Resources) > MaxResources {
		return fmt.Errorf("%d files, more than %d", len(st.Resources), MaxResources)
	}
	seen := make(map[string]bool, len(st.Resources))
	for _, r := range st.Resources {
		if err := checkName(r.Name); err != nil {
			return err
		}
		if seen[r.Name] {
			return fmt.Errorf("file %+q is listed twice", r.Name)
		}
		seen[r.Name] = true
		switch {
		case st.BLAKE2b && !isBLAKE2b(r.Digest):
			return fmt.Errorf("file %+q: %.80q is no BLAKE2b-512", r.Name, r.Digest)
		case !st.BLAKE2b && (r.Digest.Algorithm() != digest.SHA256 || r.Digest.Validate() != nil):
			return fmt.Errorf("file %+q: %.80q is no SHA-256", r.Name, r.Digest)
		}
	}
	return nil
}

// checkName takes what the specification allows: a relative path with slashes,
// and nothing in it that would have to be resolved.
func checkName(name string) error {
	switch {
	case name == ".":
		return fmt.Errorf("it is about a single file, not about a directory")
	case len(name) > maxNameBytes:
		return fmt.Errorf("file name of %d bytes, more than %d", len(name), maxNameBytes)
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return fmt.Errorf("file name %+q is not text", name)
	case !fs.ValidPath(name):
		return fmt.Errorf("file name %+q is not a plain relative path", name)
	}
	return nil
}

// Root is the digest that stands for all files: that of their digests, in the
// order of the statement.
func (st *Statement) Root() digest.Digest {
	h := sha256.New()
	listed := st.Resources
	if st.ShardSize > 0 {
		listed = st.Shards
	}
	for _, r := range listed {
		raw, err := hex.DecodeString(r.Digest.Encoded())
		if err != nil { // check has seen that it is none
			return ""
		}
		h.Write(raw)
	}
	return digest.NewDigest(digest.SHA256, h)
}

// The wire form. Members are in the order in which other implementations write
// them; the predicate has no others.
type (
	wireStatement struct {
		Type          string         `json:"_type"`
		Subject       []wireSubject  `json:"subject"`
		PredicateType string         `json:"predicateType"`
		Predicate     jsontext.Value `json:"predicate"`
	}
	wireSubject struct {
		Name   string            `json:"name"`
		Digest map[string]string `json:"digest"`
	}
	wirePredicate struct {
		Serialization wireSerialization `json:"serialization"`
		Resources     []wireResource    `json:"resources"`
	}
	wireSerialization struct {
		Method        string         `json:"method"`
		HashType      string         `json:"hash_type"`
		AllowSymlinks *bool          `json:"allow_symlinks"`
		IgnorePaths   []string       `json:"ignore_paths,omitempty"`
		ShardSize     jsontext.Value `json:"shard_size,omitempty"` // a float of some writers
	}
	wireResource struct {
		Algorithm string `json:"algorithm"`
		Digest    string `json:"digest"`
		Name      string `json:"name"`
	}
)

func (st *Statement) hashType() string {
	if st.BLAKE2b {
		return hashBLAKE2b
	}
	return hashSHA256
}

// Encode returns the statement as it is signed, the same bytes each time.
func (st *Statement) Encode() ([]byte, error) {
	if st.ShardSize > 0 {
		return nil, fmt.Errorf("encode statement: it lists shards of files")
	}
	p := wirePredicate{
		Serialization: wireSerialization{
			Method: methodFiles, HashType: st.hashType(), AllowSymlinks: &st.AllowSymlinks, IgnorePaths: st.IgnorePaths,
		},
		Resources: make([]wireResource, len(st.Resources)),
	}
	for i, r := range st.Resources {
		p.Resources[i] = wireResource{Algorithm: st.hashType(), Digest: r.Digest.Encoded(), Name: r.Name}
	}
	predicate, err := json.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	root := st.Root()
	raw, err := json.Marshal(wireStatement{
		Type: statementType, PredicateType: PredicateType, Predicate: predicate,
		Subject: []wireSubject{{Name: st.Name, Digest: map[string]string{hashSHA256: root.Encoded()}}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode statement: %w", err)
	}
	return raw, nil
}

// Parse reads a statement. It refuses what it does not know to the last member
// of the predicate: a part that is passed over could be the one that says what
// the files are.
func Parse(raw []byte) (*Statement, error) {
	st, err := parse(raw)
	if err != nil {
		return nil, fmt.Errorf("read statement: %w", err)
	}
	return st, nil
}

func parse(raw []byte) (*Statement, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), MaxBytes)
	}
	var w wireStatement
	if err := json.Unmarshal(raw, &w); err != nil {
		return nil, fmt.Errorf("not an in-toto statement: %w", err)
	}
	switch {
	case w.Type != statementType:
		return nil, fmt.Errorf("statement of type %s, not %s", quoted(w.Type), statementType)
	case w.PredicateType == predicateOld:
		return nil, fmt.Errorf("made before version 1.0 of OpenSSF Model Signing (%s): sign the model again", predicateOld)
	case w.PredicateType != PredicateType:
		return nil, fmt.Errorf("about %s, not %s", quoted(w.PredicateType), PredicateType)
	case len(w.Subject) != 1:
		return nil, fmt.Errorf("%d subjects instead of one", len(w.Subject))
	}
	var p wirePredicate
	if err := json.Unmarshal(w.Predicate, &p, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("predicate: %w", err)
	}
	if err := p.Serialization.check(); err != nil {
		return nil, err
	}
	st := &Statement{
		Name: w.Subject[0].Name, IgnorePaths: p.Serialization.IgnorePaths, AllowSymlinks: *p.Serialization.AllowSymlinks,
		BLAKE2b:   p.Serialization.HashType == hashBLAKE2b,
		Resources: make([]Resource, 0, min(len(p.Resources), MaxResources)),
	}
	if err := p.list(st); err != nil {
		return nil, err
	}
	return st, checkRoot(st, w.Subject[0].Digest)
}

// list reads the files that a predicate is about.
func (p wirePredicate) list(st *Statement) error {
	if p.Serialization.Method == methodShards {
		if n := len(p.Resources); n == 0 || n > MaxResources {
			return fmt.Errorf("%d shards, not of 1 to %d", n, MaxResources)
		}
		return p.shards(st)
	}
	for i, r := range p.Resources[:min(len(p.Resources), MaxResources+1)] {
		if r.Algorithm != st.hashType() {
			return fmt.Errorf("file %d of the list: digest by %s, not %s", i+1, quoted(r.Algorithm), st.hashType())
		}
		st.Resources = append(st.Resources, Resource{Name: r.Name, Digest: digest.NewDigestFromEncoded(digest.Algorithm(r.Algorithm), r.Digest)})
	}
	return st.check()
}

// checkRoot makes sure that the digest that people and policies know a model by
// is that of the files listed.
func checkRoot(st *Statement, subject map[string]string) error {
	if algorithms := slices.Sorted(maps.Keys(subject)); len(algorithms) != 1 || algorithms[0] != hashSHA256 {
		return fmt.Errorf("subject without a digest by %s alone", hashSHA256)
	}
	if got := st.Root().Encoded(); got != subject[hashSHA256] {
		return fmt.Errorf("subject is %s, and the files are %s", quoted(subject[hashSHA256]), got)
	}
	return nil
}

func (s wireSerialization) check() error {
	switch {
	case s.Method != methodFiles && s.Method != methodShards:
		return fmt.Errorf("files are listed by the method %s, not %q or %q", quoted(s.Method), methodFiles, methodShards)
	case s.HashType != hashSHA256 && (s.HashType != hashBLAKE2b || s.Method != methodFiles):
		return fmt.Errorf("files are hashed by %s, not %s: sign with %[2]s", quoted(s.HashType), hashSHA256)
	case s.AllowSymlinks == nil:
		return fmt.Errorf("does not say whether links were followed")
	case s.Method == methodFiles && len(s.ShardSize) > 0:
		return fmt.Errorf("has a size of shards, and lists files")
	case len(s.IgnorePaths) > maxIgnorePaths:
		return fmt.Errorf("%d paths to ignore, more than %d", len(s.IgnorePaths), maxIgnorePaths)
	}
	return nil
}

// quoted shows text from a signature.
func quoted(s string) string {
	return fmt.Sprintf("%+q", s[:min(len(s), maxComplaintLen)])
}

// Names are those of the files.
func (st *Statement) Names() map[string]bool {
	names := make(map[string]bool, len(st.Resources))
	for _, r := range st.Resources {
		names[r.Name] = true
	}
	return names
}

// Ignores returns a function that tells whether the statement leaves out a path
// below the model's directory.
func (st *Statement) Ignores() func(name string) bool { return Ignores(st.IgnorePaths) }

// Ignores returns a function that tells whether a path below a model's directory
// is left out when paths are, besides what the specification leaves out by
// itself: because it, or a directory that it is in, is one of them. What would
// leave out everything, or is not below the model, is none.
func Ignores(paths []string) func(name string) bool {
	set := make(map[string]bool, len(paths)+len(defaultIgnored))
	for _, p := range slices.Concat(defaultIgnored, paths) {
		if p = path.Clean(p); p != "." && fs.ValidPath(p) {
			set[p] = true
		}
	}
	return func(name string) bool {
		for i := range len(name) {
			if name[i] == '/' && set[name[:i]] {
				return true
			}
		}
		return set[name]
	}
}

// A Difference is how files differ from a statement: names, sorted.
type Difference struct {
	Changed, Missing, Extra []string
}

// None tells whether there is no difference.
func (d Difference) None() bool { return len(d.Changed)+len(d.Missing)+len(d.Extra) == 0 }

// Compare tells how the files that are there, by name, differ from what st says.
// Those that st ignores must not be among them. An empty digest is that of
// something that is no file.
func (st *Statement) Compare(files map[string]digest.Digest) Difference {
	var d Difference
	listed := make(map[string]bool, len(st.Resources))
	for _, r := range st.Resources {
		listed[r.Name] = true
		switch got, ok := files[r.Name]; {
		case !ok:
			d.Missing = append(d.Missing, r.Name)
		case got != r.Digest:
			d.Changed = append(d.Changed, r.Name)
		}
	}
	for name := range files {
		if !listed[name] {
			d.Extra = append(d.Extra, name)
		}
	}
	for _, list := range [][]string{d.Changed, d.Missing, d.Extra} {
		slices.Sort(list)
	}
	return d
}
