package hub

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// A Scanner is another program that looks at files.
type Scanner struct {
	Name string // before the rules of its findings

	// Run asks it about files, and returns a SARIF document.
	Run func(ctx context.Context, files []ScannerFile) ([]byte, error)
}

// A ScannerFile is a file that a [Scanner] is asked about.
type ScannerFile struct {
	Path string `json:"path"` // in the model, with slashes
	File string `json:"file"` // on this machine, absolute
	Size int64  `json:"size"` // bytes
}

// ruleScanner is what it is called that a scanner did not give an answer.
const ruleScanner = "scanner-failed"

// ask returns what the scanner found. That it failed is a finding: what was not
// looked at is not safe.
func (s Scanner) ask(ctx context.Context, files []localScanFile) (scan.Verdict, []scan.Finding) {
	asked := make([]ScannerFile, len(files))
	paths := make(map[string]string, 2*len(files))
	for i, f := range files {
		asked[i] = ScannerFile{Path: f.Path, File: f.Name, Size: f.Size}
		paths[f.Path], paths[f.Name] = f.Path, f.Path
		if real, err := filepath.EvalSymlinks(f.Name); err == nil {
			paths[real] = f.Path
		}
	}
	raw, err := s.Run(ctx, asked)
	var findings []scan.Finding
	if err == nil {
		findings, err = scan.ParseSARIF(raw, s.Name, func(uri string) (string, bool) { return fileOf(uri, paths) })
	}
	if err != nil {
		f := scan.Finding{Rule: ruleScanner, Severity: scan.High, Message: fmt.Sprintf("%s did not say what it found: %s", s.Name, oneLine(err))}
		return scan.Unscannable, []scan.Finding{f}
	}
	verdict := scan.Safe
	for _, f := range findings {
		verdict = verdict.Worse(f.Severity.Verdict())
	}
	return verdict, findings
}

// fileOf finds the file that a URI stands for: file:///…, a path on this
// machine, or a path in the model. What follows an exclamation mark or a colon
// after a file's name is a place in it.
func fileOf(uri string, paths map[string]string) (string, bool) {
	name := uri
	if u, err := url.Parse(uri); err == nil && (u.Scheme == "file" || u.Scheme == "") {
		name = u.Path
	}
	for _, candidate := range []string{name, uri, strings.TrimPrefix(name, "./"), filepath.FromSlash(strings.TrimPrefix(name, "/"))} {
		if p, ok := paths[candidate]; ok {
			return p, true
		}
		for i, c := range candidate {
			if c != '!' && c != ':' {
				continue
			}
			if p, ok := paths[candidate[:i]]; ok {
				return p + "!" + candidate[i+1:], true
			}
		}
	}
	return "", false
}

// oneLine is an error for a finding: a few words, without those that wrap it.
func oneLine(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return "it took too long"
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
