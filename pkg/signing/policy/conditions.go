package policy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"go.yaml.in/yaml/v4"
)

// annotationModel holds a document of its own.
const annotationModel = Prefix + "model"

// readers are the annotations that there are.
var readers = map[string]func(c *Conditions, value string) error{
	Prefix + "min-signers":       readCount,
	Prefix + "max-signature-age": func(c *Conditions, v string) (err error) { c.MaxSignatureAge, err = parseAge(v); return err },
	Prefix + "require-digest":    func(c *Conditions, v string) error { return readBool(&c.RequireDigest, v) },
	Prefix + "match-repository":  func(c *Conditions, v string) error { return readBool(&c.MatchRepository, v) },
	Prefix + "require-oms":       readOMS,
	Prefix + "always":            func(c *Conditions, v string) error { return readBool(&c.Always, v) },
	annotationModel:              func(c *Conditions, v string) (err error) { c.Model, err = parseModel(v); return err },
}

// conditions reads the annotations that are modelreg's. Those that only look so
// are refused: a condition with a mistyped key would not be one.
func conditions(annotations map[string]string) (Conditions, error) {
	var c Conditions
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		read, ok := readers[key]
		if !ok {
			if strings.Contains(strings.ToLower(key), "modelreg") {
				return c, fmt.Errorf("%s: no such key: there are %s", key, strings.Join(slices.Sorted(maps.Keys(readers)), ", "))
			}
			continue
		}
		if err := read(&c, annotations[key]); err != nil {
			return c, fmt.Errorf("%s: %w", key, err)
		}
	}
	return c, nil
}

func readBool(to *bool, value string) error {
	switch value {
	case "true", "false":
		*to = value == "true"
		return nil
	}
	return fmt.Errorf("%q is neither true nor false", value)
}

func readOMS(c *Conditions, value string) error {
	if value == "all" {
		c.RequireOMS, c.OMSAllFiles = true, true
		return nil
	}
	if readBool(&c.RequireOMS, value) != nil {
		return fmt.Errorf("%q is neither true nor all nor false", value)
	}
	return nil
}

func readCount(c *Conditions, value string) error {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxAuthorities {
		return fmt.Errorf("%q is no number from 1 to %d", value, maxAuthorities)
	}
	c.MinSigners = n
	return nil
}

// parseAge reads a time span, such as 720h or 30d.
func parseAge(s string) (time.Duration, error) {
	const day, limit = 24 * time.Hour, 36500
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.Atoi(n)
		if err != nil || days < 1 || days > limit {
			return 0, fmt.Errorf("%q is no number of days from 1 to %d", s, limit)
		}
		return time.Duration(days) * day, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > limit*day {
		return 0, fmt.Errorf("%q is no time span, such as 30d or 12h", s)
	}
	return d, nil
}

// fileModel is the document in the annotation.
type fileModel struct {
	Licenses    []string         `yaml:"licenses"`
	Formats     []string         `yaml:"formats"`
	CustomCode  string           `yaml:"customCode"`
	MaxSize     string           `yaml:"maxSize"`
	BaseModels  []string         `yaml:"baseModels"`
	MinVersion  string           `yaml:"minVersion"`
	Yanked      Reaction         `yaml:"yanked"`
	Deprecated  Reaction         `yaml:"deprecated"`
	Scan        *fileScan        `yaml:"scan"`
	Evaluations []fileEvaluation `yaml:"evaluations"`
	Tests       string           `yaml:"tests"`
	Provenance  *struct {
		Builders []string `yaml:"builders"`
		Inputs   string   `yaml:"inputs"`
	} `yaml:"provenance"`
	Lineage *fileLineage `yaml:"lineage"`
}

type fileScan struct {
	MaxAge string `yaml:"maxAge"`
}

type fileEvaluation struct {
	Metric  string   `yaml:"metric"`
	Filter  string   `yaml:"filter"`
	Task    string   `yaml:"task"`
	Dataset string   `yaml:"dataset"`
	Min     *float64 `yaml:"min"`
	Max     *float64 `yaml:"max"`
}

func parseModel(text string) (Model, error) {
	nodes, err := documents([]byte(text))
	if err != nil {
		return Model{}, err
	}
	if len(nodes) != 1 {
		return Model{}, errors.New("more than one document")
	}
	var f fileModel
	if err := nodes[0].Load(&f, yaml.WithKnownFields(), yaml.WithUniqueKeys()); err != nil {
		return Model{}, yamlError(err)
	}
	return f.model()
}

func (f *fileModel) model() (Model, error) {
	m := Model{Formats: f.Formats, BaseModels: f.BaseModels, MinVersion: f.MinVersion, Yanked: f.Yanked, Deprecated: f.Deprecated}
	for _, l := range f.Licenses {
		m.Licenses = append(m.Licenses, strings.ToLower(l))
	}
	steps := []struct {
		name string
		read func() error
	}{
		{"licenses", func() error { return checkList(f.Licenses) }},
		{"formats", func() error { return checkList(f.Formats) }},
		{"baseModels", func() error { return checkList(f.BaseModels) }},
		{"customCode", func() error { return readWord(&m.CustomCode, f.CustomCode, "forbid") }},
		{"tests", func() error { return readWord(&m.Tests, f.Tests, "passed") }},
		{"maxSize", func() (err error) { m.MaxSize, err = parseSize(f.MaxSize); return err }},
		{"minVersion", func() error { return checkVersion(f.MinVersion) }},
		{"yanked", f.Yanked.check},
		{"deprecated", f.Deprecated.check},
		{"scan", func() (err error) { m.Scan, err = f.Scan.scan(); return err }},
		{"baseModels", func() (err error) { m.globs.bases, err = compileNames(f.BaseModels); return err }},
		{"provenance", func() error { return f.provenance(&m) }},
		{"evaluations", func() error { return f.evaluations(&m) }},
		{"lineage", func() (err error) { m.Lineage, err = f.Lineage.lineage(); return err }},
	}
	for _, s := range steps {
		if err := s.read(); err != nil {
			return m, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return m, nil
}

// checkList refuses lists that are there and empty, which could mean nothing or
// everything, and entries that nothing can be equal to.
func checkList(list []string) error {
	if list != nil && len(list) == 0 {
		return errors.New("an empty list: leave it out to allow all")
	}
	if len(list) > maxEntries {
		return fmt.Errorf("%d entries, more than %d", len(list), maxEntries)
	}
	for _, s := range list {
		if s == "" || strings.TrimSpace(s) != s || len(s) > maxGlobBytes {
			return fmt.Errorf("the entry %q cannot be meant", s)
		}
	}
	return nil
}

// readWord reads a condition that is there or not, and has one value.
func readWord(to *bool, value, word string) error {
	if value != "" && value != word {
		return fmt.Errorf("%q is not %q", value, word)
	}
	*to = value == word
	return nil
}

func (r Reaction) check() error {
	switch r {
	case Unset, Allow, Warn, Refuse:
		return nil
	}
	return fmt.Errorf("%q is none of allow, warn and refuse", r)
}

func (s *fileScan) scan() (*Scan, error) {
	if s == nil {
		return nil, nil
	}
	if s.MaxAge == "" {
		return nil, errors.New(`maxAge: missing: a report says what was known then, such as "7d"`)
	}
	age, err := parseAge(s.MaxAge)
	if err != nil {
		return nil, fmt.Errorf("maxAge: %w", err)
	}
	return &Scan{MaxAge: age}, nil
}

func (f *fileModel) provenance(m *Model) (err error) {
	if f.Provenance == nil {
		return nil
	}
	if err := readWord(&m.ProvenanceInputs, f.Provenance.Inputs, "agree"); err != nil {
		return fmt.Errorf("inputs: %w", err)
	}
	if f.Provenance.Builders == nil {
		if !m.ProvenanceInputs {
			return errors.New("it asks nothing: give builders or inputs")
		}
		return nil
	}
	if err := checkList(f.Provenance.Builders); err != nil {
		return fmt.Errorf("builders: %w", err)
	}
	m.Builders = f.Provenance.Builders
	m.globs.builders, err = compileNames(m.Builders)
	return err
}

func (f *fileModel) evaluations(m *Model) error {
	if len(f.Evaluations) > maxEntries {
		return fmt.Errorf("%d entries, more than %d", len(f.Evaluations), maxEntries)
	}
	for i, e := range f.Evaluations {
		if e.Metric == "" || e.Min == nil && e.Max == nil {
			return fmt.Errorf("[%d]: give metric and at least one of min and max", i)
		}
		for _, bound := range []*float64{e.Min, e.Max} {
			if bound != nil && (math.IsNaN(*bound) || math.IsInf(*bound, 0)) {
				return fmt.Errorf("[%d]: a bound is no number", i)
			}
		}
		m.Evaluation = append(m.Evaluation, Evaluation(e))
	}
	return nil
}

func compileNames(patterns []string) ([]glob, error) {
	var out []glob
	for _, p := range patterns {
		g, err := compileName(p)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	return out, nil
}

func checkVersion(s string) error {
	if s == "" {
		return nil
	}
	if _, err := semver.StrictNewVersion(s); err != nil {
		return fmt.Errorf("%q is no semantic version, such as \"1.4.0\"", s)
	}
	return nil
}

var units = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// parseSize reads bytes, such as 40GB or 512MiB.
func parseSize(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
		if err != nil || n < 1 || n > math.MaxInt64/u.bytes {
			break
		}
		return n * u.bytes, nil
	}
	return 0, fmt.Errorf("%q is no size, such as 40GB or 512MiB", s)
}
