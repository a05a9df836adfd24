package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/store"
)

// A ScanRunner looks at files, as [scan.Scan] does.
type ScanRunner func(ctx context.Context, files iter.Seq2[scan.File, error], opts scan.Options) (*scan.Report, error)

// ScanOptions adjusts [Hub.Scan] and [LocalScan]. The zero value looks at the
// files in this process, and in a registry at no more of them than it needs.
type ScanOptions struct {
	// Run, if not nil, looks at the files in place of [scan.Scan], such as in
	// a process with limits of its own.
	Run ScanRunner

	// Scanners are asked too. They need whole files on this machine.
	Scanners []Scanner

	// Whole fetches the version, to look at every byte of it and to know that
	// it is the version's.
	Whole bool

	// Scratch is a directory to fetch it into. It is made, and removed in the
	// end. Empty means one for temporary files.
	Scratch string

	// Signer, if not nil, signs what was found and attaches it to the version.
	// What is not verified is not signed: the version is fetched then.
	Signer *signing.Signer

	// Version is that of this program, for what is signed.
	Version string

	// Store, if not nil, is where [LocalScan] remembers what it has found in
	// which files, so that those that have not changed are not read again.
	// [Hub.Scan] remembers in the store of the hub what it has verified, but for
	// versions that it fetches.
	Store *store.Store

	// Rescan reads files again although the store knows what was found in them.
	Rescan bool
}

// A ScanResult says what [Hub.Scan] or [LocalScan] found.
type ScanResult struct {
	Reference string `json:"reference"` // with its digest; the path for local files
	Digest    string `json:"digest"`    // of the version; "" for local files
	scan.Report

	// Verified tells whether the version's digest covers all that was read. It
	// is false for local files.
	Verified bool `json:"verified"`

	// Remembered is how many files were not read, since the store knows what was
	// found in the same bytes.
	Remembered int `json:"remembered"`

	// Scanners are the names of those asked besides modelreg itself.
	Scanners []string `json:"scanners"`

	// Attestation is the digest of the manifest that holds the signed report;
	// "" if there is none.
	Attestation string `json:"attestation"`
}

// A ScanError says that what was found is not acceptable to whoever asked.
type ScanError struct {
	Op       string // "scan", "push" or "import"
	Name     string // of what was looked at
	Verdict  scan.Verdict
	Findings []scan.Finding // that are the reason, the worst first
}

func (e *ScanError) Error() string {
	s := fmt.Sprintf("%s %s: unsafe: verdict %s", e.Op, e.Name, e.Verdict)
	if len(e.Findings) == 0 {
		return s
	}
	f := e.Findings[0]
	s += fmt.Sprintf(": %q %s (%s)", f.Path, f.Message, f.Rule)
	if more := len(e.Findings) - 1; more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}

// Unwrap returns [artifact.ErrUnsafe].
func (e *ScanError) Unwrap() error { return artifact.ErrUnsafe }

// Scan looks at the files of the version that r resolves to for what they could
// do to whoever loads them. Of files in the registry it reads headers, what is
// code or could be, and small files; weights are not fetched. Where the version
// has an index of a file's chunks, or the file is small, what was read is
// verified.
//
// No policy is asked: it may be waiting for the report. That something was found
// is no error: the result says what.
func (h *Hub) Scan(ctx context.Context, r ref.Reference, opts ScanOptions) (*ScanResult, error) {
	started := time.Now()
	t, err := h.named(ctx, r)
	if err != nil {
		return nil, err
	}
	a, err := artifact.Open(ctx, t.repo, t.desc)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.ref, err)
	}
	res := &ScanResult{Reference: t.ref.String(), Digest: t.desc.Digest.String()}
	// What is read in parts is what the index that the version names says of the
	// file, and whoever made both may have lied, where the registry helps him.
	// Nobody is to sign for that.
	whole := opts.Whole || len(opts.Scanners) > 0 || opts.Signer != nil
	if !whole {
		if err := h.scanParts(ctx, t, a, res, opts); err != nil {
			return nil, fmt.Errorf("scan %s: %w", t.ref, err)
		}
	}
	if whole {
		if err := h.scanWhole(ctx, t, a, res, opts); err != nil {
			return nil, fmt.Errorf("scan %s: %w", t.ref, err)
		}
	}
	res.finish(opts)
	if opts.Signer != nil {
		err = h.attestScan(ctx, t, res, scanned{opts: opts, started: started})
	}
	return res, err
}

// LocalScan is [Hub.Scan] for a directory, or a single file, on this machine.
// Hidden files and directories are looked at too, but for what git keeps;
// symbolic links to files are followed, for that is what caches of models are
// made of. Those to directories are not, and are findings.
func LocalScan(ctx context.Context, name string, opts ScanOptions) (*ScanResult, error) {
	files, err := scanFiles(name)
	if err != nil {
		return nil, err
	}
	res := &ScanResult{Reference: name}
	so := scan.Options{Timeout: timeFor(files)}
	m := remember(scanScope{opts.Store, dirScope(name), opts.Rescan}, &so)
	err = scanLocal(ctx, files, res, localLook{ScanOptions: opts, how: so, memory: m})
	res.Remembered = m.end()
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", name, err)
	}
	res.finish(opts)
	return res, nil
}

// finish fills in what is the same for all results.
func (res *ScanResult) finish(opts ScanOptions) {
	res.Scanners = []string{}
	for _, s := range opts.Scanners {
		res.Scanners = append(res.Scanners, s.Name)
	}
}

// Unacceptable returns a [ScanError] if one of the findings has at least the
// severity, or the verdict is one of those given, and nil otherwise.
func (res *ScanResult) Unacceptable(least scan.Severity, verdicts ...scan.Verdict) error {
	var bad []scan.Finding
	for _, f := range res.Findings {
		if f.Severity.AtLeast(least) {
			bad = append(bad, f)
		}
	}
	if !slices.Contains(verdicts, res.Verdict) && (least == "" || len(bad) == 0) {
		return nil
	}
	if least == "" || len(bad) == 0 {
		bad = slices.Clone(res.Findings)
	}
	worstFirst(bad)
	return &ScanError{Op: "scan", Name: res.Reference, Verdict: res.Verdict, Findings: bad}
}

func worstFirst(findings []scan.Finding) {
	slices.SortStableFunc(findings, func(a, b scan.Finding) int {
		switch {
		case a.Severity == b.Severity:
			return 0
		case a.Severity.AtLeast(b.Severity):
			return -1
		}
		return 1
	})
}

func (o ScanOptions) run(ctx context.Context, files iter.Seq2[scan.File, error], so scan.Options) (*scan.Report, error) {
	if o.Run != nil {
		return o.Run(ctx, files, so)
	}
	return scan.Scan(ctx, files, so)
}

// remoteTimeout is how long one file in a registry may take: each part of it is
// a request.
const remoteTimeout = 10 * time.Minute

// scanParts looks at a version in the registry, without fetching it.
func (h *Hub) scanParts(ctx context.Context, t *target, a *artifact.Artifact, res *ScanResult, opts ScanOptions) error {
	// A mirror is not asked for what nobody can check.
	parts, err := a.Parts(ctx, t.repo.Origin(), artifact.ReaderOptions{Indexes: h.chunkIndexes()})
	if err != nil {
		return err
	}
	doubtful := slices.ContainsFunc(parts, func(p artifact.Part) bool { return p.Open == nil })
	var closed []artifact.Part
	parts = slices.DeleteFunc(parts, func(p artifact.Part) bool {
		if p.Open == nil {
			closed = append(closed, p)
		}
		return p.Open == nil
	})
	so := scan.Options{Sparse: true, Timeout: remoteTimeout}
	m := remember(scanScope{h.opts.Store, "repository:" + t.ref.Name(), opts.Rescan}, &so)
	ahead := openAhead(ctx, parts, m, func(r *artifact.Reader) { doubtful = doubtful || !r.Verified() })
	report, err := opts.run(ctx, ahead, so)
	res.Remembered = m.end()
	if err != nil {
		return err
	}
	for _, p := range closed {
		report.Verdict = report.Verdict.Worse(scan.Unscannable)
		report.Findings = append(report.Findings, scan.Finding{
			Path: p.Path, Rule: "archive-closed", Severity: scan.Medium,
			Message: "a compressed layer, which cannot be read in parts: fetch it to look inside (--whole)",
		})
	}
	res.Report, res.Verified = *report, !doubtful
	return nil
}

// scanWhole fetches a version and looks at what has come.
func (h *Hub) scanWhole(ctx context.Context, t *target, a *artifact.Artifact, res *ScanResult, opts ScanOptions) (err error) {
	dir, err := os.MkdirTemp(opts.Scratch, "scan-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	uo := artifact.UnpackOptions{Force: true, AllowDotfiles: true, Store: h.opts.Store, Observe: h.opts.Observe}
	if _, err := artifact.Unpack(ctx, a, t.repo, dir, uo); err != nil {
		return err
	}
	files, err := scanFiles(dir)
	if err != nil {
		return err
	}
	// What Unpack has written besides is not the version's.
	files = slices.DeleteFunc(files, func(f localScanFile) bool {
		return strings.HasPrefix(f.Path, path.Dir(artifact.ManifestFile)+"/")
	})
	look := localLook{ScanOptions: opts, how: scan.Options{Timeout: timeFor(files)}}
	if err := scanLocal(ctx, files, res, look); err != nil {
		return err
	}
	res.Verified = true
	return nil
}
