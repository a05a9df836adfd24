package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/index"
)

// errNoIndex says that there is no index to search.
var errNoIndex = errors.New("there is no index")

// searchFlags are those of "search".
type searchFlags struct {
	index    string
	offline  bool
	snapshot snapshotFlags
	facets   bool
	opts     index.Options
}

func newSearch(a *app) *cobra.Command {
	var f searchFlags
	cmd := &cobra.Command{
		Use:   "search QUERY...",
		Short: "Find models by what they are",
		Long: `Find models in an index that "modelreg index build" made of registries. No network is
needed. With --index oci://REF it is a snapshot that "modelreg index push" has published: it
is fetched once for each digest, and searched as it is while the registry cannot be reached.

A query is words, words* with any ending, "phrases" and key:value; a "-" before one turns it
round. Values are alternatives with commas between, ranges (7b..13b) and comparisons (<8b).

` + keyTable() + `
One version of each repository is looked at, the one that its name stands for; versions:all,
tag: and digest: look at all that have tags. Yanked versions are left out unless the query
says yanked: or status:. See docs/search.md.

Arguments are joined by spaces. Quote what the shell would take for itself, and begin with --
if the first letter is a "-".`,
		Example: `  modelreg search 'llama chat license:apache-2.0 params:<8b'
  modelreg search 'task:text-generation fits:24gb metric:mmlu>0.7 -deprecated' --facets
  modelreg search '"speech to text" quant:q4*' --sort updated --format json
  modelreg search llama --index oci://ghcr.io/acme/models-index --verify --key acme.pub`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.search(cmd.Context(), strings.Join(args, " "), f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.index, "index", "", "the index is in `FILE`, or a snapshot oci://REF of a registry (default: index.db in the cache directory)")
	fl.BoolVar(&f.offline, "offline", false, "with --index oci://REF: search the snapshot that an earlier search has fetched, and ask no registry")
	f.snapshot.add(fl)
	fl.BoolVar(&f.facets, "facets", false, "count what was found by task, library, license and so on")
	fl.StringVar(&f.opts.Sort, "sort", "", "order by `KEY`: relevance, updated, params, size or metric:NAME; with a - before it the other way (default: relevance, or updated if the query has no words)")
	fl.IntVar(&f.opts.Limit, "limit", index.DefaultLimit, "show at most `N` models")
	fl.StringVar(&f.opts.Cursor, "cursor", "", "go on after `CURSOR`, which the page before told")
	return cmd
}

func addIndexFlag(fl *pflag.FlagSet, file *string) {
	fl.StringVar(file, "index", "", "the index is in `FILE` (default: index.db in the cache directory)")
}

// keyTable lists the keys of the query language with an example each.
func keyTable() string {
	_, examples := index.Keys()
	var b strings.Builder
	const columns, width = 3, 30
	for row := range slices.Chunk(examples, columns) {
		var line strings.Builder
		line.WriteString(" ")
		for _, e := range row {
			line.WriteString(fmt.Sprintf(" %-*s", width, e))
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}

// indexFile is where the index is.
func (a *app) indexFile(given string) (string, error) {
	if given != "" {
		return given, nil
	}
	dir, err := a.cacheDir()
	return filepath.Join(dir, "index.db"), err
}

// openIndex opens an index that is there, for reading.
func (a *app) openIndex(ctx context.Context, given string) (*index.Index, string, error) {
	file, err := a.indexFile(given)
	if err != nil {
		return nil, "", err
	}
	ix, err := index.Open(ctx, file, index.OpenOptions{ReadOnly: true})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("%w: %w", errNoIndex, err)
	}
	return ix, file, err
}

func (a *app) search(ctx context.Context, text string, f searchFlags) (err error) {
	q, err := index.ParseQuery(text)
	if e, ok := errors.AsType[*index.SyntaxError](err); ok {
		return a.syntaxError(e)
	}
	if f.facets {
		f.opts.Facets = index.FacetNames()
	}
	switch {
	case isSnapshot(f.index):
		if f.index, err = a.snapshotIndex(ctx, f); err != nil {
			return err
		}
	case f.offline || f.snapshot.verify || f.snapshot.downgrade || f.snapshot.trust.used():
		return usagef("--offline, --verify and --key go with --index oci://REF")
	}
	ix, _, err := a.openIndex(ctx, f.index)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ix.Close()) }()
	res, err := ix.Search(ctx, q, f.opts)
	if err != nil {
		return err
	}
	if err := a.printer.Result(searchResult(q, res), func(w io.Writer) {
		hitPrinter{a.printer.Style(), q, a.findsWidth()}.print(w, res)
	}); err != nil {
		return err
	}
	a.aboutSearch(res)
	return nil
}

// syntaxError points at what is wrong, for people, and says it in words for
// programs.
func (a *app) syntaxError(e *index.SyntaxError) error {
	err := fmt.Errorf("column %d: %s", e.Column, e.Problem)
	if a.printer.Format != ui.JSON {
		err = fmt.Errorf("%w\n%s", err, indent(e.Caret()))
	}
	return usageError{err, e.Hint}
}

func indent(lines string) string { return "  " + strings.ReplaceAll(lines, "\n", "\n  ") }

// aboutSearch notes what is worth knowing besides the hits.
func (a *app) aboutSearch(res *index.Results) {
	switch {
	case res.Instead != "":
		a.printer.Note("nothing found; did you mean: %s", ui.Line(res.Instead))
	case res.Total == 0:
		a.printer.Note("nothing found")
	case res.Next != "":
		a.printer.Note("%d found; more with --cursor %s", res.Total, res.Next)
	default:
		a.printer.Note("%d found", res.Total)
	}
	if res.Hidden > 0 {
		a.printer.Note("%d more were yanked: add yanked:any to see them", res.Hidden)
	}
}

// Found is what "search" prints as JSON.
type found struct {
	Query   string                  `json:"query"` // in its canonical form
	Total   int                     `json:"total"`
	Results []foundVersion          `json:"results"`
	Facets  map[string][]foundCount `json:"facets,omitempty"`
	Next    string                  `json:"next,omitempty"`
	Hidden  int                     `json:"hidden,omitempty"`
	Instead string                  `json:"instead,omitempty"`
}

type foundCount struct {
	Value string `json:"value"`
	Count int    `json:"count"`
}

type foundVersion struct {
	Repository    string         `json:"repository"`
	Tag           string         `json:"tag"` // one of tags
	Tags          []string       `json:"tags"`
	Digest        string         `json:"digest"`
	Task          string         `json:"task"`
	Library       string         `json:"library"`
	License       string         `json:"license"` // all of licenses, with commas between
	Licenses      []string       `json:"licenses"`
	Languages     []string       `json:"languages"`
	Architecture  string         `json:"architecture"`
	Parameters    int64          `json:"parameters"`
	ContextLength int64          `json:"contextLength"`
	Formats       []string       `json:"formats"`
	Quantizations []string       `json:"quantizations"`
	Size          int64          `json:"size"`
	Memory        int64          `json:"memory"`
	Updated       string         `json:"updated"` // RFC 3339, empty when nothing says
	Status        string         `json:"status"`
	Signed        bool           `json:"signed"`
	Verified      bool           `json:"verified"`
	CustomCode    bool           `json:"customCode"`
	Bases         []index.Base   `json:"bases"`
	Metrics       []index.Metric `json:"metrics"`
	Summary       string         `json:"summary"`
	Snippet       string         `json:"snippet"`
	Score         int            `json:"score"`
}

func searchResult(q index.Query, res *index.Results) found {
	out := found{
		Query: q.String(), Total: res.Total, Results: []foundVersion{},
		Next: res.Next, Hidden: res.Hidden, Instead: res.Instead,
	}
	for _, h := range res.Hits {
		out.Results = append(out.Results, foundHit(q, h))
	}
	for _, f := range res.Facets {
		if out.Facets == nil {
			out.Facets = map[string][]foundCount{}
		}
		counts := []foundCount{}
		for _, v := range f.Values {
			counts = append(counts, foundCount(v))
		}
		out.Facets[f.Name] = counts
	}
	return out
}

func foundHit(q index.Query, h index.Hit) foundVersion {
	r := h.Record
	v := foundVersion{
		Repository: r.Repository, Tag: tagFor(q, r.Tags), Tags: list(r.Tags), Digest: r.Digest, Task: r.Task, Library: r.Library,
		License: strings.Join(r.Licenses, ","), Licenses: list(r.Licenses), Languages: list(r.Languages),
		Architecture: r.Architecture, Parameters: r.Parameters, ContextLength: r.Context,
		Formats: list(r.Formats), Quantizations: list(r.Quantizations), Size: r.Size, Memory: r.Memory,
		Status: statusWord(r), Signed: r.Signed, Verified: r.Verified, CustomCode: r.Code,
		Bases: r.Bases, Metrics: r.Metrics, Summary: r.Summary, Score: h.Score,
	}
	if len(h.Snippet.Marks) > 0 {
		v.Snippet = h.Snippet.Text
	}
	if !r.Updated.IsZero() {
		v.Updated = r.Updated.Format(time.RFC3339)
	}
	if v.Bases == nil {
		v.Bases = []index.Base{}
	}
	if v.Metrics == nil {
		v.Metrics = []index.Metric{}
	}
	return v
}

func statusWord(r index.Record) string {
	if r.Status == "" {
		return index.Active
	}
	return r.Status
}

// list is l, or an empty list that is [] in JSON.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// mainTag returns the tag to show of several: a release rather than a branch.
func mainTag(tags []string) string {
	for _, tag := range slices.Backward(tags) {
		if strings.HasPrefix(tag, "v") {
			return tag
		}
	}
	if len(tags) == 0 {
		return ""
	}
	return tags[0]
}

// A hitPrinter shows hits for people.
type hitPrinter struct {
	style ui.Style
	query index.Query
	width int // of a line, in letters
}

func (p hitPrinter) print(w io.Writer, res *index.Results) {
	style := p.style
	for _, h := range res.Hits {
		r := h.Record
		name := r.Repository
		if tag := tagFor(p.query, r.Tags); tag != "" {
			name += ":" + tag
		} else {
			name += "@" + r.Digest
		}
		fmt.Fprintln(w, style.Bold(ui.Line(name)))
		if line := ui.Line(strings.Join(hitFacts(r), " · ")); line != "" {
			fmt.Fprintln(w, "  "+style.Dim(line))
		}
		if line := ui.Line(strings.Join(askedMetrics(p.query, r.Metrics), " · ")); line != "" {
			fmt.Fprintln(w, "  "+style.Dim(line))
		}
		if r.Status == index.Deprecated || r.Status == index.Yanked {
			fmt.Fprintln(w, "  "+style.Bad(ui.Line(strings.TrimSuffix(r.Status+": "+r.Reason, ": "))))
		}
		if text := aboutHit(style, h, p.width-2); text != "" {
			fmt.Fprintln(w, "  "+text)
		}
	}
	if len(res.Facets) == 0 {
		return
	}
	fmt.Fprintln(w)
	t := ui.NewColumns(w)
	for _, f := range res.Facets {
		if len(f.Values) == 0 {
			continue
		}
		var values []string
		for _, v := range f.Values {
			values = append(values, fmt.Sprintf("%s %d", ui.Line(v.Value), v.Count))
		}
		if f.More > 0 {
			values = append(values, fmt.Sprintf("and %d more", f.More))
		}
		t.Row(f.Name, strings.Join(values, ", "))
	}
	t.Flush()
}

// hitFacts are what is told of a hit on one line.
func hitFacts(r index.Record) []string {
	var facts []string
	add := func(s string) {
		if s != "" {
			facts = append(facts, s)
		}
	}
	add(r.Task)
	if r.Parameters > 0 {
		add(ui.Count(r.Parameters))
	}
	add(strings.Join(r.Licenses, ", "))
	add(strings.Join(slices.Concat(r.Formats, r.Quantizations), ", "))
	if r.Size > 0 {
		add(ui.Bytes(r.Size))
	}
	if !r.Updated.IsZero() {
		add(r.Updated.Format(time.DateOnly))
	}
	switch {
	case r.Verified:
		add("verified: " + strings.Join(r.Signers, ", "))
	case r.Signed:
		add("signed")
	}
	if r.Code {
		add("runs code")
	}
	return facts
}
