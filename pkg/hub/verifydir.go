package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// VerifyDirOptions adjusts [Hub.VerifyDir]. The zero value reads every file.
type VerifyDirOptions struct {
	// Signature is a file with a signature as OpenSSF Model Signing has it.
	// Then it alone counts. Empty means model.sig in the directory, and what a
	// pull that verified a signature keeps there.
	Signature string

	// Fast does not read files that this user's modelreg has hashed before and
	// whose inode, size and times are what they were then.
	Fast bool

	// AllowExtra lets files be there that nobody signed. They are listed.
	AllowExtra bool

	// Complete counts files as missing that the pull is said to have left out.
	// Nobody has signed what a pull was asked for.
	Complete bool

	// Policies asks policies too. They are asked in any case, and decide alone,
	// where trust names nobody.
	Policies bool

	// As is the repository that policies are asked about; the zero value is the
	// one that the pull has noted, which nobody has signed.
	As ref.Reference

	// Workers bounds the files read at once. Zero means one per CPU.
	Workers int
}

// VerifyDirResult says what [Hub.VerifyDir] found. Lists are of paths, sorted.
type VerifyDirResult struct {
	Directory    string          `json:"directory"`
	Reference    string          `json:"reference"` // of the version that was pulled; empty without one
	Digest       string          `json:"digest"`    // of that version; empty without one
	Verified     bool            `json:"verified"`
	Policy       string          `json:"policy"`
	Repository   string          `json:"repository,omitempty"` // that policies were asked about
	Signers      []Signer        `json:"signers"`
	Attestations []string        `json:"attestations"`
	Records      []DirRecord     `json:"records"` // what there is that says which files there should be
	Files        int             `json:"files"`   // that are as they were signed
	Size         int64           `json:"size"`    // of those, in bytes
	ReadFiles    int             `json:"readFiles"`
	LeftOut      int             `json:"skippedFiles"` // of the version, that the pull is said not to have selected
	Changed      []string        `json:"changed"`
	Missing      []string        `json:"missing"`
	Extra        []string        `json:"extra"`
	Ignored      []string        `json:"ignored"` // there, and left out by the signer
	Failures     []VerifyFailure `json:"failures"`
}

// The kinds of records.
const (
	recordManifest = "manifest" // of the version that was pulled
	recordOMS      = "oms"      // a signature as of OpenSSF Model Signing
)

// A DirRecord is a list of the files of a directory, and who signed it.
type DirRecord struct {
	Kind     string   `json:"kind"` // recordManifest or recordOMS
	File     string   `json:"file"`
	Digest   string   `json:"digest"` // of the manifest, or of all files; empty if it could not be read
	Verified bool     `json:"verified"`
	Signers  []Signer `json:"signers"`
}

// A FilesError says that the files of a directory are not those that were
// signed. It wraps content.ErrMismatchedDigest.
type FilesError struct {
	Directory               string
	Changed, Missing, Extra []string
}

func (e *FilesError) Error() string {
	var parts []string
	for _, p := range []struct {
		what  string
		names []string
	}{{"changed", e.Changed}, {"missing", e.Missing}, {"not signed", e.Extra}} {
		if len(p.names) == 0 {
			continue
		}
		part := fmt.Sprintf("%d %s (%+q", len(p.names), p.what, p.names[0])
		if len(p.names) > 1 {
			part += " …"
		}
		parts = append(parts, part+")")
	}
	return "verify " + e.Directory + ": the files are not those that were signed: " + strings.Join(parts, ", ")
}

// Unwrap returns content.ErrMismatchedDigest.
func (e *FilesError) Unwrap() error { return content.ErrMismatchedDigest }

// VerifyDir checks that trust signed the files that are in a directory: that
// each is what was signed, that none is missing, and that there is no other. Where
// trust names nobody, policies must allow the version that was pulled into the
// directory, with the signatures and attestations that the pull has kept. It needs
// no network. The result is complete also when the error says that it is not
// verified.
func (h *Hub) VerifyDir(ctx context.Context, dir string, trust signing.Trust, opts VerifyDirOptions) (*VerifyDirResult, error) {
	at, err := placeSignature(dir, opts.Signature)
	if err != nil {
		return nil, err
	}
	res := &VerifyDirResult{
		Directory: dir, Policy: "key", Signers: []Signer{}, Attestations: []string{}, Records: []DirRecord{},
		Changed: []string{}, Missing: []string{}, Extra: []string{}, Ignored: []string{}, Failures: []VerifyFailure{},
	}
	v := dirVerification{hub: h, dir: dir, trust: trust, opts: opts, res: res, own: at.inside}
	if opts.Signature == "" {
		if err := v.readPulled(ctx); err != nil {
			return nil, err
		}
	}
	if err := v.readOMS(ctx, at.file); err != nil {
		return nil, err
	}
	if err := v.untrusted(); err != nil {
		return res, fmt.Errorf("verify %s: %w", dir, err)
	}
	unasked := v.judge(ctx)
	if unasked != nil && !isAboutFiles(unasked) {
		return res, unasked
	}
	if err := v.compare(ctx); err != nil {
		return res, err
	}
	if unasked != nil {
		return res, fmt.Errorf("verify %s: %w: a policy goes by a file that the pull left out: %w", dir, signing.ErrUntrusted, unasked)
	}
	res.Verified = true
	return res, nil
}

// dirVerification is one call of VerifyDir.
type dirVerification struct {
	hub   *Hub
	dir   string
	trust signing.Trust
	opts  VerifyDirOptions
	res   *VerifyDirResult

	own      string         // the signature's own path below dir
	model    *oms.Statement // nil unless signed by a trusted party
	version  *pulledVersion // nil unless signed by a trusted party, or that is for policies to say
	kept     *keptVersion   // where version is from
	problems []error        // why records do not count
}

// readOMS reads the signature in file, if there is one.
func (v *dirVerification) readOMS(ctx context.Context, file string) error {
	if !v.named() && v.opts.Signature == "" {
		return nil // policies are about versions
	}
	raw, err := readSignature(file)
	if errors.Is(err, fs.ErrNotExist) && v.opts.Signature == "" {
		return nil
	}
	if err != nil && !errors.Is(err, signing.ErrUntrusted) {
		return err
	}
	rec := DirRecord{Kind: recordOMS, File: file, Signers: []Signer{}}
	var found *oms.Verified
	if err == nil {
		found, err = oms.Verify(ctx, raw, v.trust)
	}
	if err != nil && !errors.Is(err, signing.ErrUntrusted) {
		return err
	}
	if err != nil {
		v.reject(file, err)
	} else {
		v.model = found.Statement
		rec.Verified, rec.Digest = true, found.Statement.Root().String()
		rec.Signers = v.signed(found.Signer)
	}
	v.res.Records = append(v.res.Records, rec)
	return nil
}

func (v *dirVerification) reject(file string, err error) {
	v.problems = append(v.problems, fmt.Errorf("%s: %w", file, err))
	v.res.Failures = append(v.res.Failures, VerifyFailure{Rule: "signature", Reason: file + ": " + err.Error()})
}

// signed adds those who signed a record to the result, each once.
func (v *dirVerification) signed(by ...signing.Signatory) []Signer {
	list := signers(&signing.Report{Signers: by})
	for _, s := range list {
		if !slices.Contains(v.res.Signers, s) {
			v.res.Signers = append(v.res.Signers, s)
		}
	}
	return list
}

// untrusted is the error when there is nothing that a trusted party signed.
func (v *dirVerification) untrusted() error {
	if v.model != nil || v.version != nil {
		return nil
	}
	if len(v.problems) > 0 {
		return errors.Join(v.problems...)
	}
	err := fmt.Errorf("%w: neither %s nor what \"pull --verify\" keeps is there", signing.ErrNoSignature, oms.FileName)
	v.res.Failures = append(v.res.Failures, VerifyFailure{Rule: "signature", Reason: err.Error()})
	return err
}

// compare hashes the files and compares them with what was signed. What is as
// all records say is as it should be.
func (v *dirVerification) compare(ctx context.Context) error {
	found, err := v.hash(ctx)
	if err != nil {
		return err
	}
	wrong := make(map[string]bool)
	note := func(d oms.Difference) {
		for _, l := range []struct {
			to    *[]string
			names []string
		}{{&v.res.Changed, d.Changed}, {&v.res.Missing, d.Missing}, {&v.res.Extra, d.Extra}} {
			*l.to = append(*l.to, l.names...)
			slices.Sort(*l.to)
			*l.to = slices.Compact(*l.to)
			for _, name := range l.names {
				wrong[name] = true
			}
		}
	}
	if v.model != nil {
		note(v.model.Compare(v.modelFiles(found)))
	}
	if v.version != nil {
		if v.opts.Complete {
			v.version.wanted = func(string) bool { return true }
		}
		d, leftOut := v.version.compare(found)
		note(d)
		v.res.LeftOut = leftOut
	}
	for _, f := range found {
		if f.Digest != "" && !f.Known {
			v.res.ReadFiles++
		}
		if !wrong[f.Path] {
			v.res.Files++
			v.res.Size += f.Size
		}
	}
	return v.verdict()
}

// modelFiles are the files that the statement is about. A version may have some
// that the statement leaves out.
func (v *dirVerification) modelFiles(found []artifact.DirFile) map[string]digest.Digest {
	listed := v.model.Names()
	ignores := v.model.Ignores()
	there := make(map[string]digest.Digest, len(found))
	for _, f := range found {
		if v.model.ShardSize > 0 && f.Size == 0 && f.Other == "" && !listed[f.Path] {
			v.res.Ignored = append(v.res.Ignored, f.Path) // it has no shard that could be listed
			continue
		}
		if listed[f.Path] || !ignores(f.Path) && f.Path != v.own {
			there[f.Path] = f.Digest
			if f.Shards != "" {
				there[f.Path] = oms.Sharded(f.Shards)
			}
			if v.model.BLAKE2b && f.Also != nil {
				there[f.Path] = oms.BLAKE2b(f.Also)
			}
		}
	}
	return there
}

// verdict is the error about the files.
func (v *dirVerification) verdict() error {
	extra := v.res.Extra
	if v.opts.AllowExtra {
		extra = nil
	}
	if len(v.res.Changed)+len(v.res.Missing)+len(extra) == 0 {
		return nil
	}
	for rule, names := range map[string][]string{"changed": v.res.Changed, "missing": v.res.Missing, "extra": extra} {
		for _, name := range names {
			v.res.Failures = append(v.res.Failures, VerifyFailure{Rule: rule, Reason: name})
		}
	}
	slices.SortStableFunc(v.res.Failures, func(a, b VerifyFailure) int { return strings.Compare(a.Rule, b.Rule) })
	return &FilesError{Directory: v.dir, Changed: v.res.Changed, Missing: v.res.Missing, Extra: extra}
}

// hash finds the files and reads those that somebody signed.
func (v *dirVerification) hash(ctx context.Context) ([]artifact.DirFile, error) {
	opts := dirOptions{fast: v.opts.Fast, HashOptions: artifact.HashOptions{Workers: v.opts.Workers}}
	listed, ignores := map[string]bool{}, func(string) bool { return false }
	if v.model != nil {
		listed = v.model.Names()
		opts.ShardSize = v.model.ShardSize
		if v.model.BLAKE2b {
			opts.Also = v.model.NewHash
		}
		opts.Links = v.model.AllowSymlinks && v.version == nil
		if v.version == nil { // else a file that nobody vouches for is one too many
			ignores = v.model.Ignores()
		}
	}
	above := parents(listed)
	opts.Skip = func(name string, dir bool) bool {
		switch {
		case v.version.has(name), listed[name], dir && (above[name] || name == controlDir):
			return false
		case name == v.own || isControl(name):
			return true
		case !ignores(name):
			return false
		}
		v.res.Ignored = append(v.res.Ignored, name)
		return true
	}
	opts.Want = func(name string, size int64) bool {
		return listed[name] || v.version.wants(name, size)
	}
	return v.hub.hashDir(ctx, v.dir, opts)
}

// parents are the directories that files are in.
func parents(files map[string]bool) map[string]bool {
	above := make(map[string]bool)
	for name := range files {
		for i := range len(name) {
			if name[i] == '/' {
				above[name[:i]] = true
			}
		}
	}
	return above
}
