package index_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/internal/testcards"
	"github.com/modelreg/modelreg/pkg/index"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// zoo are models that the tests below ask for.
func zoo() []index.Record {
	day := func(n int) time.Time { return now.AddDate(0, 0, -n) }
	list := []index.Record{
		{
			Repository: "reg.io/acme/llama-3-8b", Digest: "sha256:aa11", Tags: []string{"main", "v1"}, Updated: day(10),
			Task: "text-generation", Library: "transformers", Licenses: []string{"llama3"}, Languages: []string{"en", "de"},
			Parameters: 8_030_261_248, Context: 131072, Formats: []string{"safetensors"}, Size: 16e9, Memory: 18e9,
			Card: "A large language model for chat.", Author: "Ada Lovelace <ada@acme.com>",
			Metrics: []index.Metric{{Name: "accuracy", Dataset: "MMLU", Value: 0.71}, {Name: "loss", Value: 1.5}},
			Signed:  true, Verified: true, Signers: []string{"release@acme.com"},
		},
		{
			Repository: "reg.io/acme/llama-3-8b-gguf", Digest: "sha256:bb22", Tags: []string{"main"}, Updated: day(2),
			Task: "text-generation", Library: "gguf", Licenses: []string{"llama3"}, Languages: []string{"en"},
			Parameters: 8_030_261_248, Context: 8192, Formats: []string{"gguf"}, Quantizations: []string{"q4_k_m", "q8_0"},
			Size: 5e9, Memory: 6e9, Card: "Quantised. The language of the model is large.",
			Bases:  []index.Base{{Name: "reg.io/acme/llama-3-8b", Relation: "quantized"}},
			Signed: true, Signers: []string{"bot@corp.example"},
		},
		{
			Repository: "reg.io/corp/qwen2.5-7b", Digest: "sha256:cc33", Updated: day(100), Task: "text-generation",
			Licenses: []string{"apache-2.0"}, Languages: []string{"zh", "en"}, Parameters: 7_600_000_000, Memory: 17e9,
			Formats: []string{"safetensors"}, Card: "Größere Modelle. 模型 for chat, unlike llama.", Keywords: []string{"chat"},
			Metrics: []index.Metric{{Name: "accuracy", Dataset: "mmlu", Value: 0.65}}, Status: index.Deprecated,
		},
		{
			Repository: "reg.io/corp/whisper", Digest: "sha256:dd44", Updated: day(400), Task: "automatic-speech-recognition",
			Licenses: []string{"mit"}, Languages: []string{"en"}, Parameters: 1_500_000_000, Memory: 3e9, Code: true,
			Formats: []string{"safetensors"}, Card: "Speech to text.",
		},
		{
			Repository: "reg.io/corp/bad", Digest: "sha256:ee55", Updated: day(1), Task: "text-generation",
			Status: index.Yanked, Reason: "leaked data", Card: "A chat model.", Licenses: []string{"mit"},
		},
	}
	for i := range list {
		list[i].Latest = true
	}
	return append(list, index.Record{
		Repository: "reg.io/acme/llama-3-8b", Digest: "sha256:aa00", Tags: []string{"v0"}, Updated: day(50),
		Task: "text-generation", Card: "The first llama.",
	})
}

func TestSearchFinds(t *testing.T) {
	ix := open(t, zoo()...)
	const llama, gguf, qwen, whisper, bad = "reg.io/acme/llama-3-8b", "reg.io/acme/llama-3-8b-gguf", "reg.io/corp/qwen2.5-7b", "reg.io/corp/whisper", "reg.io/corp/bad"
	tests := map[string][]string{
		"":                                  {gguf, llama, qwen, whisper},
		"llama":                             {llama, gguf, qwen}, // the name, the name of more words, the text
		"LLAMA chat":                        {llama, qwen},
		"llama-3":                           {llama, gguf},
		"llama3":                            {llama, gguf},
		"qwen":                              {qwen},
		"qwen 2":                            {qwen},
		"8b*":                               {llama, gguf},
		"quant*":                            {gguf},
		`"large language"`:                  {llama},
		"large language":                    {gguf, llama}, // alike: the newer one first
		"grossere":                          {},
		"großere":                           {qwen},
		"模型":                                {qwen},
		"llama -gguf":                       {llama, qwen},
		`-"language model"`:                 {gguf, qwen, whisper},
		"license:llama3,mit":                {gguf, llama, whisper},
		"-license:llama3":                   {qwen, whisper},
		"license:llama* format:gguf":        {gguf},
		"quant:q4*":                         {gguf},
		"quant:*":                           {gguf},
		"params:>7.7b":                      {gguf, llama},
		"params:8b":                         {gguf, llama, qwen},
		"params:<8b":                        {qwen, whisper},
		"params:1b..2b,8.03b..9b":           {gguf, llama, whisper},
		"-params:<8b":                       {gguf, llama},
		"context:>=128k":                    {llama},
		"context:8k":                        {gguf},
		"fits:8gb":                          {gguf, whisper},
		"fits:24gb -deprecated":             {gguf, llama, whisper},
		"updated:<30d":                      {gguf, llama},
		"updated:>30d":                      {qwen, whisper},
		"updated:30d..200d":                 {qwen},
		"updated:>=2026-11-21":              {gguf},
		"updated:<2026":                     {whisper},
		"updated:2026-11":                   {gguf, llama},
		"metric:mmlu>0.7":                   {llama},
		"metric:mmlu":                       {llama, qwen},
		"metric:accuracy>=65%":              {llama, qwen},
		"metric:loss=1..2":                  {llama},
		"language:de":                       {llama},
		"task:text-generation":              {gguf, llama, qwen},
		"base:reg.io/acme/llama-3-8b":       {gguf},
		"base:llama-3":                      {gguf},
		"base:acme/*":                       {gguf},
		"repo:acme/*":                       {gguf, llama},
		"repo:reg.io/acme/*":                {gguf, llama},
		"repo:whisper":                      {whisper},
		"author:ada":                        {llama},
		"author:@acme.com":                  {llama},
		"signed:yes":                        {gguf, llama},
		"signed:no":                         {qwen, whisper},
		"signed:@acme.com":                  {llama},
		"verified:yes":                      {llama},
		"verified:no signed:yes":            {gguf},
		"code:yes":                          {whisper},
		"code:any params:<2b":               {whisper},
		"deprecated:yes":                    {qwen},
		"status:active task:*":              {gguf, llama, whisper},
		"yanked:yes":                        {bad},
		"yanked:any chat task:*":            {qwen, llama, bad},
		"status:yanked,deprecated":          {bad, qwen},
		"tag:v0":                            {llama},
		"tag:v*":                            {llama, llama},
		"digest:sha256:aa*":                 {llama, llama},
		"digest:bb22":                       {gguf},
		"versions:all repo:acme/llama-3-8b": {llama, llama},
		"keyword:chat":                      {qwen},
		"nothinglikeit":                     {},
	}
	for query, want := range tests {
		t.Run(query, func(t *testing.T) {
			res := find(t, ix, query, index.Options{Now: now})
			if query == "yanked:any chat task:*" { // qwen has the keyword, but is deprecated
				want = []string{bad, llama, qwen}
			}
			if diff := cmp.Diff(want, names(res)); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if res.Total != len(want) {
				t.Errorf("total %d, want %d", res.Total, len(want))
			}
		})
	}
	if res := find(t, ix, "chat", index.Options{}); res.Hidden != 1 {
		t.Errorf("hidden %d, want the yanked one", res.Hidden)
	}
}

func TestFacetsCountWhatElseThereIs(t *testing.T) {
	ix := open(t, zoo()...)
	res := find(t, ix, "license:llama3 language:en", index.Options{Facets: index.FacetNames()})
	want := []index.Facet{
		{Name: "task", Values: []index.Count{{Value: "text-generation", Count: 2}}},
		{Name: "library", Values: []index.Count{{Value: "gguf", Count: 1}, {Value: "transformers", Count: 1}}},
		{Name: "license", Values: []index.Count{{Value: "llama3", Count: 2}, {Value: "apache-2.0", Count: 1}, {Value: "mit", Count: 1}}},
		{Name: "language", Values: []index.Count{{Value: "en", Count: 2}, {Value: "de", Count: 1}}},
		{Name: "format", Values: []index.Count{{Value: "gguf", Count: 1}, {Value: "safetensors", Count: 1}}},
		{Name: "quant", Values: []index.Count{{Value: "q4_k_m", Count: 1}, {Value: "q8_0", Count: 1}}},
		{Name: "params", Values: []index.Count{{Value: "4b..10b", Count: 2}}},
		{Name: "signed", Values: []index.Count{{Value: "signed", Count: 1}, {Value: "verified", Count: 1}}},
		{Name: "status", Values: []index.Count{{Value: "active", Count: 2}}},
	}
	if diff := cmp.Diff(want, res.Facets); diff != "" {
		t.Errorf("facets (-want +got):\n%s", diff)
	}
	res = find(t, ix, "", index.Options{Facets: []string{"language"}, FacetLimit: 1})
	if diff := cmp.Diff([]index.Facet{{Name: "language", Values: []index.Count{{Value: "en", Count: 4}}, More: 2}}, res.Facets); diff != "" {
		t.Errorf("bounded facet (-want +got):\n%s", diff)
	}
}

// What a search may not see is in no count and no suggestion either.
func TestAccessHidesEverything(t *testing.T) {
	ix := open(t, zoo()...)
	tests := map[string]struct {
		access index.Access
		want   []string
	}{
		"all":            {index.Access{}, []string{"acme/llama-3-8b-gguf", "acme/llama-3-8b", "corp/qwen2.5-7b", "corp/whisper"}},
		"none":           {index.Access{Allow: []string{}}, []string{}},
		"organisation":   {index.Access{Allow: []string{"reg.io/corp/"}}, []string{"corp/qwen2.5-7b", "corp/whisper"}},
		"repository":     {index.Access{Allow: []string{"reg.io/acme/llama-3-8b"}}, []string{"acme/llama-3-8b"}},
		"without one":    {index.Access{Deny: []string{"reg.io/corp/whisper"}}, []string{"acme/llama-3-8b-gguf", "acme/llama-3-8b", "corp/qwen2.5-7b"}},
		"denied wins":    {index.Access{Allow: []string{"reg.io/acme/"}, Deny: []string{"reg.io/acme/llama-3-8b-gguf"}}, []string{"acme/llama-3-8b"}},
		"not the path":   {index.Access{Allow: []string{"corp/", "acme/llama-3-8b", "reg.io/corp"}}, []string{}},
		"not the prefix": {index.Access{Allow: []string{"reg.io/acme/llama"}}, []string{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			res := find(t, ix, "", index.Options{Access: tt.access, Facets: []string{"status"}})
			got := names(res)
			for i := range got {
				got[i] = strings.TrimPrefix(got[i], "reg.io/")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			counted := 0
			for _, v := range res.Facets[0].Values {
				counted += v.Count
			}
			if res.Total != len(tt.want) || counted != len(tt.want) {
				t.Errorf("total %d, counted %d, want %d", res.Total, counted, len(tt.want))
			}
		})
	}
	opts := index.Options{Access: index.Access{Allow: []string{"reg.io/acme/"}}}
	if res := find(t, ix, "whispr", opts); res.Instead != "" {
		t.Errorf("suggests %q, which is hidden", res.Instead)
	}
	if res := find(t, ix, "chat -yanked:yes", opts); res.Hidden != 0 {
		t.Errorf("counts %d hidden versions", res.Hidden)
	}
	if res := find(t, ix, "chat", opts); res.Hidden != 0 {
		t.Errorf("tells of %d yanked versions that are not seen", res.Hidden)
	}
}

func TestSuggestsWhatFinds(t *testing.T) {
	ix := open(t, zoo()...)
	tests := map[string]string{
		"lama":                    "llama",
		"lalma license:lama3":     "llama license:llama3",
		"wisper":                  "whisper",
		"speeeech":                "speech",
		"task:text-genration":     "task:text-generation",
		"zzzz":                    "",
		"llama":                   "",
		"wisper license:llama3":   "",
		"-lama params:>1t":        "",
		"license:apache2.0":       "license:apache-2.0",
		"quantisd format:safeten": "",
	}
	for query, want := range tests {
		t.Run(query, func(t *testing.T) {
			if got := find(t, ix, query, index.Options{}).Instead; got != want {
				t.Errorf("instead %q, want %q", got, want)
			}
		})
	}
}

func TestSnippetMarksWords(t *testing.T) {
	words := strings.Repeat("filler ", 200)
	ix := open(t, index.Record{
		Repository: "r.io/a/b", Digest: "sha256:1", Latest: true,
		Card: "Intro model.\n" + words + "Here is a Größe model and \x1b[31mmore. " + words,
	})
	s := find(t, ix, "grosse größe* \"model and\"", index.Options{})
	if len(s.Hits) != 0 {
		t.Fatal("ß is not ss")
	}
	h := find(t, ix, "größe* \"model and\"", index.Options{}).Hits[0]
	var marked []string
	for _, m := range h.Snippet.Marks {
		marked = append(marked, h.Snippet.Text[m[0]:m[1]])
	}
	if diff := cmp.Diff([]string{"Größe", "model", "and"}, marked); diff != "" {
		t.Errorf("marked (-want +got):\n%s\nin %q", diff, h.Snippet.Text)
	}
	if len(h.Snippet.Text) > 400 {
		t.Errorf("snippet of %d bytes", len(h.Snippet.Text))
	}
}

func TestSortsAndPages(t *testing.T) {
	ix := open(t, slices.Collect(testcards.Records(7, 300))...)
	for _, sort := range []string{"", "-relevance", "updated", "-updated", "params", "-params", "size", "metric:mmlu", "-metric:mmlu"} {
		t.Run(sort, func(t *testing.T) {
			all := find(t, ix, "the model", index.Options{Sort: sort, Limit: index.MaxLimit})
			if all.Total != len(all.Hits) || all.Next != "" || all.Total < 60 {
				t.Fatalf("total %d, hits %d, next %q", all.Total, len(all.Hits), all.Next)
			}
			var paged []index.Hit
			opts := index.Options{Sort: sort, Limit: 17}
			for {
				res := find(t, ix, "the model", opts)
				paged = append(paged, res.Hits...)
				if opts.Cursor = res.Next; res.Next == "" {
					break
				}
			}
			if diff := cmp.Diff(all.Hits, paged); diff != "" {
				t.Errorf("pages differ from the whole (-whole +pages):\n%s", diff[:min(len(diff), 1000)])
			}
		})
	}
}

// A page begins where the one before it ended, whatever came in between.
func TestPagesAreStableUnderUpdates(t *testing.T) {
	records := slices.Collect(testcards.Records(8, 200))
	ix := open(t, records...)
	all := find(t, ix, "versions:all", index.Options{Limit: 100})
	page := find(t, ix, "versions:all", index.Options{Limit: 10})
	newest := all.Hits[3].Record
	newest.Digest, newest.Updated = "sha256:newer", now
	if err := ix.Put(t.Context(), []index.Record{newest}); err != nil {
		t.Fatal(err)
	}
	gone := all.Hits[9].Record.Key() // the cursor itself
	if err := ix.Delete(t.Context(), []index.Key{gone}); err != nil {
		t.Fatal(err)
	}
	next := find(t, ix, "versions:all", index.Options{Limit: 10, Cursor: page.Next})
	if diff := cmp.Diff(all.Hits[10:20], next.Hits); diff != "" {
		t.Errorf("second page (-want +got):\n%s", diff[:min(len(diff), 1000)])
	}
}

func TestSearchRefuses(t *testing.T) {
	ix := open(t, zoo()...)
	page := find(t, ix, "llama", index.Options{Limit: 1})
	tests := map[string]struct {
		query string
		opts  index.Options
		want  error
	}{
		"order":            {"", index.Options{Sort: "stars"}, index.ErrSort},
		"facet":            {"", index.Options{Facets: []string{"stars"}}, index.ErrFacet},
		"no cursor":        {"", index.Options{Cursor: "!"}, index.ErrCursor},
		"cursor of others": {"qwen", index.Options{Cursor: page.Next}, index.ErrCursor},
		"cursor of order":  {"llama", index.Options{Cursor: page.Next, Sort: "size"}, index.ErrCursor},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			q, err := index.ParseQuery(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ix.Search(t.Context(), q, tt.opts); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ix.Search(ctx, index.Query{}, index.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled search: %v", err)
	}
}

func TestPutReplacesAndDeletes(t *testing.T) {
	ix := open(t, zoo()...)
	r := zoo()[0]
	r.Card, r.Licenses = "Now about giraffes.", []string{"mit"}
	if err := ix.Put(t.Context(), []index.Record{r, r}); err != nil {
		t.Fatal(err)
	}
	if n := find(t, ix, "giraffes license:mit", index.Options{}).Total; n != 1 {
		t.Errorf("new text found %d times", n)
	}
	if n := find(t, ix, `"language model for chat"`, index.Options{}).Total; n != 0 {
		t.Errorf("old text found %d times", n)
	}
	if err := ix.Delete(t.Context(), []index.Key{r.Key(), {Repository: "no", Digest: "such"}}); err != nil {
		t.Fatal(err)
	}
	if n := find(t, ix, "giraffes versions:all", index.Options{}).Total; n != 0 {
		t.Errorf("deleted text found %d times", n)
	}
	if err := ix.Put(t.Context(), []index.Record{r}); err != nil {
		t.Fatal(err)
	}
	if n := find(t, ix, "giraffes", index.Options{}).Total; n != 1 {
		t.Errorf("text that came back found %d times", n)
	}
}

// The answers depend on the records alone, not on how they came.
func TestOrderOfPutsDoesNotMatter(t *testing.T) {
	records := slices.Collect(testcards.Records(3, 120))
	one := open(t, records...)
	other := open(t)
	slices.Reverse(records)
	for part := range slices.Chunk(records, 37) {
		stale := part[0]
		stale.Card = "what it was before"
		if err := other.Put(t.Context(), []index.Record{stale}); err != nil {
			t.Fatal(err)
		}
		if err := other.Put(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []string{"", "the model", "llama*", "license:mit versions:all", "metric:mmlu>0.5", `"the of"`, "lllama"} {
		opts := index.Options{Now: now, Facets: index.FacetNames(), Limit: 100}
		if diff := cmp.Diff(find(t, one, q, opts), find(t, other, q, opts)); diff != "" {
			t.Errorf("%q (-one +other):\n%s", q, diff[:min(len(diff), 1000)])
		}
	}
}

// Two that have the same file open see each other's changes.
func TestTwoOpenIndexes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "index.db")
	var both []*index.Index
	for range 2 {
		ix, err := index.Open(t.Context(), path, index.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer ix.Close()
		both = append(both, ix)
	}
	for i := range 20 {
		r := index.Record{Repository: fmt.Sprint("r.io/a/m", i), Digest: "sha256:1", Latest: true, Card: "common word"}
		if err := both[i%2].Put(t.Context(), []index.Record{r}); err != nil {
			t.Fatal(err)
		}
		if n := find(t, both[(i+1)%2], "common", index.Options{}).Total; n != i+1 {
			t.Fatalf("the other found %d, want %d", n, i+1)
		}
		if n := find(t, both[i%2], "", index.Options{Facets: index.FacetNames()}).Total; n != i+1 {
			t.Fatalf("the one found %d, want %d", n, i+1)
		}
	}
}
