package scan

import "slices"

// Analysis is the number of what this package finds in which bytes. It rises
// whenever the same bytes may come to another [Result], so that none is taken
// for what is found today that an older program found.
const Analysis = 5

// A Result is what a look at one file has come to. It may be kept if it is
// [Result.Lasting]: another look at the same bytes, under the same path, with
// the same options and [Analysis], comes to the same.
type Result struct {
	Verdict  Verdict   `json:"verdict"`
	Findings []Finding `json:"findings,omitempty"`

	// What the files of a model are compared by.

	Licence  string   `json:"licence,omitempty"`  // that the text is of, "" for none
	Declared []string `json:"declared,omitempty"` // licences, by a card
}

// The rules of looks that did not come to the end. The first two are about the
// machine rather than the bytes; the last may hide them.
const (
	ruleTime    = "limit-time"
	ruleProcess = "limit-process"
	ruleMany    = "limit-findings"
)

// Lasting tells whether the result is all about the bytes. It is not where time
// or memory ran out: another machine may come to the end.
func (r Result) Lasting() bool {
	return !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Rule == ruleTime || f.Rule == ruleProcess || f.Rule == ruleMany
	})
}

// Valid tells whether the result is one that a look can come to, as far as that
// can be told of one that was kept elsewhere.
func (r Result) Valid() bool {
	return r.Verdict.rank() >= 0 && (r.Verdict == Safe || len(r.Findings) > 0)
}

// A Summary makes a [Report] of what single files have come to. The zero value
// is one of no files.
type Summary struct {
	verdict  Verdict
	files    int
	findings []Finding
	whole    collection
}

// Add takes the result of the next file.
func (s *Summary) Add(path string, r Result) {
	s.files++
	s.verdict = s.verdict.Worse(r.Verdict)
	s.findings = append(s.findings, r.Findings...)
	s.whole.add(path, r)
}

// Report returns what all files have come to, and what only all together show.
func (s *Summary) Report() *Report {
	return &Report{
		Verdict: Safe.Worse(s.verdict), Files: s.files,
		Findings: slices.Concat([]Finding{}, s.findings, s.whole.compare()),
	}
}
