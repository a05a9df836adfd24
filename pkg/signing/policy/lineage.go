package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Steps from a version to what it was made of.
const (
	DefaultLineageDepth = 3
	MaxLineageDepth     = 64
)

// Lineage is what is asked of the versions that a version was made of. It can only
// be about those that are named, and looked at in a registry; globs of
// [Model.BaseModels] say which names there may be.
type Lineage struct {
	Signed           bool     // each base in a registry is pinned and signed by an authority
	Checked          bool     // what is claimed of weights is not contradicted, and compared where it can be
	Yanked           Reaction // to something that was withdrawn
	Scan             Reaction // to a newest scan by an authority that is not clean; no scan at all is nothing
	LicenseConflicts Reaction // to a licence that promises more than that of a base
	Depth            int      // how many steps are asked about, 1 to [MaxLineageDepth]
}

// LineageFacts are what is known of what a version was made of.
type LineageFacts struct {
	// Problem tells why it is not known; empty if it is.
	Problem string

	// Cut is the first step, counted from 1, that was not taken since there was
	// too much; zero if all were.
	Cut int

	Ancestors []Ancestor
}

// An Ancestor is something that went into a version, directly or further up.
type Ancestor struct {
	Name  string // for messages
	Steps int    // from the version, at least 1

	// Base says that weights came from it. Others are data and code.
	Base bool

	// InRegistry says that it is named as a version in a registry, so that it
	// can be looked at.
	InRegistry bool

	// Unpinned says that something names it otherwise than by its digest.
	Unpinned bool

	// Problem tells why it could not be looked at; empty if it was.
	Problem string

	// Evidence is what was found of each authority of the documents. It is
	// asked of bases, and of what may be yanked or unsafe.
	Evidence map[Source]Evidence

	// State is "yanked" where the publishers of its repository say so, and
	// Reason is why.
	State, Reason string

	// Claims are what headers of weights say against what is claimed of it, and
	// why they could not be read.
	Claims []string

	// LicenceConflict tells why the licence of the version promises more than
	// that of a base; empty if it does not.
	LicenceConflict string
}

// AsksLineage tells whether [LineageFacts] are needed to decide.
func (m Model) AsksLineage() bool { return m.Lineage != nil }

// asksStatus tells whether it matters what became of an ancestor.
func (l *Lineage) asksStatus() bool { return l.Yanked == Refuse || l.Yanked == Warn }

// AsksStatements tells whether it matters what authorities state of ancestors,
// bases or not.
func (l *Lineage) AsksStatements() bool { return l.asksStatus() || l.asksScans() }

func (l *Lineage) asksScans() bool { return l.Scan == Refuse || l.Scan == Warn }

// fileLineage is the condition as it is written.
type fileLineage struct {
	Signed           bool     `yaml:"signed"`
	Checked          bool     `yaml:"checked"`
	Yanked           Reaction `yaml:"yanked"`
	Scan             Reaction `yaml:"scan"`
	LicenseConflicts Reaction `yaml:"licenseConflicts"`
	Depth            *int     `yaml:"depth"`
}

func (f *fileLineage) lineage() (*Lineage, error) {
	if f == nil {
		return nil, nil
	}
	l := Lineage{Signed: f.Signed, Checked: f.Checked, Yanked: f.Yanked, Scan: f.Scan, LicenseConflicts: f.LicenseConflicts, Depth: DefaultLineageDepth}
	if f.Depth != nil {
		l.Depth = *f.Depth
	}
	if err := f.Yanked.check(); err != nil {
		return nil, fmt.Errorf("yanked: %w", err)
	}
	if err := f.Scan.check(); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	if err := f.LicenseConflicts.check(); err != nil {
		return nil, fmt.Errorf("licenseConflicts: %w", err)
	}
	switch {
	case l.Depth < 1 || l.Depth > MaxLineageDepth:
		return nil, fmt.Errorf("depth: %d is no number from 1 to %d", l.Depth, MaxLineageDepth)
	case !l.Signed && !l.Checked && !l.AsksStatements() && !l.asksLicences():
		return nil, errors.New("it asks nothing: give signed, checked, yanked, scan or licenseConflicts")
	}
	return &l, nil
}

func (l *Lineage) asksLicences() bool {
	return l.LicenseConflicts == Refuse || l.LicenseConflicts == Warn
}

// lineage goes through what is asked of ancestors. What is not known of one fails
// a rule of its own, so that the others tell what was found of the rest.
func (j *judge) lineage(l *Lineage) {
	var f LineageFacts
	if j.facts.Lineage == nil {
		f.Problem = "nobody has looked"
	} else {
		f = *j.facts.Lineage
	}
	near := slices.DeleteFunc(slices.Clone(f.Ancestors), func(a Ancestor) bool { return a.Steps > l.Depth })
	j.lineageKnown(l, f, near)
	bases := slices.DeleteFunc(slices.Clone(near), func(a Ancestor) bool { return !a.Base })
	if l.Signed {
		wanted := "each base in a registry named by its digest, and signed by " + listed(j.authorities())
		j.each(RuleLineageSigned, Refuse, bases, wanted, j.unsigned)
	}
	if l.Checked {
		j.each(RuleLineageChecked, Refuse, bases, "weights that are what is claimed of them, by their headers", func(a Ancestor) string {
			return strings.Join(a.Claims, "; ")
		})
	}
	if l.asksStatus() {
		j.each(RuleLineageYanked, l.Yanked, near, "nothing that was yanked", j.yanked)
	}
	if l.asksScans() {
		j.each(RuleLineageScan, l.Scan, near, "no scan by one of the authorities that is not clean", j.unsafe)
	}
	if l.asksLicences() {
		j.each(RuleLineageLicenses, l.LicenseConflicts, bases, "a licence that promises no more than those of the bases", func(a Ancestor) string {
			return a.LicenceConflict
		})
	}
}

// lineageKnown asks that everything could be looked at.
func (j *judge) lineageKnown(l *Lineage, f LineageFacts, near []Ancestor) {
	reaction := Warn
	if l.Signed || l.Checked || l.Yanked == Refuse || l.Scan == Refuse || l.LicenseConflicts == Refuse {
		reaction = Refuse
	}
	var bad []string
	if f.Problem != "" {
		bad = append(bad, "what it was made of is not known: "+f.Problem)
	}
	if f.Cut > 0 && f.Cut <= l.Depth {
		bad = append(bad, fmt.Sprintf("more than is looked at, at step %d", f.Cut))
	}
	for _, a := range near {
		if a.InRegistry && a.Problem != "" && (a.Base || l.AsksStatements()) {
			bad = append(bad, a.Name+": "+a.Problem)
		}
	}
	j.reactTo(RuleLineage, reaction, bad, plural(len(near), "thing")+" that it was made of",
		"everything in registries that it was made of can be read, up to "+plural(l.Depth, "step"))
}

// each asks something of all ancestors; wrong tells what is wrong with one.
func (j *judge) each(rule string, reaction Reaction, all []Ancestor, wanted string, wrong func(Ancestor) string) {
	var bad []string
	for _, a := range all {
		if why := wrong(a); why != "" {
			bad = append(bad, a.Name+": "+why)
		}
	}
	j.reactTo(rule, reaction, bad, yes(len(all) == 0, "nothing that it was made of", "nothing wrong with "+plural(len(all), "thing")+" that it was made of"), wanted)
}

func (j *judge) reactTo(rule string, reaction Reaction, bad []string, good, wanted string) {
	r := Result{Rule: rule, OK: len(bad) == 0, Effect: effectRefuse, Found: or(listed(bad), good), Wanted: wanted}
	if reaction == Warn || j.doc.Warn {
		r.Effect = effectWarn
	}
	j.note(r)
}

// of is a judge of what authorities said of an ancestor. It counts nobody for
// the version.
func (j *judge) of(a Ancestor) *judge {
	return &judge{doc: j.doc, facts: &Facts{Evidence: a.Evidence, Now: j.facts.Now}}
}

// unsigned tells why a base is not known to be somebody's who is trusted. What is
// in no registry cannot be signed; what could not be read is said elsewhere, and
// here too.
func (j *judge) unsigned(a Ancestor) string {
	switch {
	case !a.InRegistry:
		return ""
	case a.Unpinned:
		return "it is named without its digest"
	case a.Problem != "":
		return "it could not be read"
	}
	about := j.of(a)
	var found []string
	for i := range j.doc.Authorities {
		authority := &j.doc.Authorities[i]
		if authority.Static != "" {
			continue
		}
		ok, why := about.authority(authority)
		if ok {
			return ""
		}
		found = append(found, authority.Name+": "+why)
	}
	return or(strings.Join(found, ", "), "nobody is named who could have signed it")
}

// authorities are those who can have signed something.
func (j *judge) authorities() []string {
	var names []string
	for _, a := range j.doc.Authorities {
		if a.Static == "" {
			names = append(names, a.Name)
		}
	}
	return names
}

// yanked tells why an ancestor is withdrawn: by the word of its publishers, or
// of an authority.
func (j *judge) yanked(a Ancestor) string {
	about := j.of(a)
	s := about.newestStatus(about.stated(TypeStatus))
	if s.State != "yanked" {
		s.State, s.Reason = a.State, a.Reason
	}
	if s.State != "yanked" {
		return ""
	}
	return strings.TrimSuffix("it was yanked: "+s.Reason, ": ")
}

// unsafe tells what the newest scan of an ancestor by an authority has found.
func (j *judge) unsafe(a Ancestor) string {
	if all := j.of(a).stated(TypeScan); len(all) > 0 {
		if r := newestScan(all); r.problem != "" {
			return "it has a report " + r.problem
		}
	}
	return ""
}
