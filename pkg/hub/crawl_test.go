package hub_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
	"github.com/modelreg/modelreg/pkg/remote"
)

func openIndex(t *testing.T) *index.Index {
	t.Helper()
	ix, err := index.Open(t.Context(), filepath.Join(t.TempDir(), "index.db"), index.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := ix.Close(); err != nil {
			t.Error(err)
		}
	})
	return ix
}

// pushCard pushes a model that is a card alone.
func (w *world) pushCard(name, front, body string) *hub.PushResult {
	w.t.Helper()
	res, err := w.Push(w.t.Context(), dir(w.t, files{"README.md": "---\n" + front + "\n---\n" + body}), w.ref(name), hub.PushOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) crawl(ix *index.Index, places ...string) *hub.CrawlResult {
	w.t.Helper()
	for i, p := range places {
		places[i] = w.srv.Host + p
	}
	res, err := w.Crawl(w.t.Context(), ix, places, hub.CrawlOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

// found lists what a query finds, as repository:tags.
func (w *world) found(ix *index.Index, query string) []string {
	w.t.Helper()
	q, err := index.ParseQuery(query)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := ix.Search(w.t.Context(), q, index.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	list := []string{}
	for _, h := range res.Hits {
		list = append(list, strings.TrimPrefix(h.Record.Repository, w.srv.Host+"/")+":"+strings.Join(h.Record.Tags, ","))
	}
	slices.Sort(list)
	return list
}

// requests lists the requests since the log was cleared, by what they are for.
func (w *world) requests() map[string]int {
	n := map[string]int{}
	for _, r := range w.srv.Requests() {
		kind := "other"
		switch {
		case strings.Contains(r.Path, "/tags/list"), strings.Contains(r.Path, "/_catalog"):
			kind = "list"
		case strings.Contains(r.Path, "/manifests/"):
			kind = "manifest"
		case strings.Contains(r.Path, "/blobs/"):
			kind = "blob"
		}
		n[r.Method+" "+kind]++
	}
	return n
}

func TestCrawlFetchesOnlyWhatIsNew(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for i := range 5 {
		w.pushCard(fmt.Sprintf("org/m%d:v1", i), "license: mit\nlanguage: [en, de]\npipeline_tag: text-generation", "# Model\n\nA chat model.")
	}
	w.pushCard("org/m0:v2", "license: apache-2.0\nbase_model: acme/base", "# Model\n\nA better one.")
	w.srv.Reset()
	res := w.crawl(ix, "")
	if diff := cmp.Diff(&hub.CrawlResult{Repositories: 5, Versions: 6, Fetched: 6, Places: res.Places}, res); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	// One for each tag, one for what is attached, manifest and card.
	want := map[string]int{"GET list": 6, "HEAD manifest": 12, "GET manifest": 6, "GET blob": 6}
	if diff := cmp.Diff(want, w.requests()); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"org/m0:v2"}, w.found(ix, `better license:apache-2.0 base:base`)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"org/m0:v1", "org/m0:v2"}, w.found(ix, `repo:org/m0 versions:all`)); diff != "" {
		t.Error(diff)
	}

	w.srv.Reset()
	res = w.crawl(ix, "/org/")
	if diff := cmp.Diff(&hub.CrawlResult{Repositories: 5, Versions: 6, Places: res.Places}, res); diff != "" {
		t.Errorf("again (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int{"GET list": 6, "HEAD manifest": 12}, w.requests()); diff != "" {
		t.Errorf("requests of nothing new (-want +got):\n%s", diff)
	}
}

func TestCrawlNoticesWhatIsGone(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	w.pushCard("org/a:v1", "license: mit", "# A")
	w.pushCard("org/a:v2", "license: mit", "# A, the second")
	w.pushCard("org/b:v1", "license: mit", "# B")
	w.crawl(ix, "")
	// The tags of a move on, and b cannot be read: what was known of it stays.
	w.pushCard("org/a:v1", "license: isc", "# A, again")
	w.srv.Add(testreg.Rule{Method: "GET", Path: "^/v2/org/b/tags/list", Do: testreg.Status(http.StatusForbidden, nil, "")})
	res := w.crawl(ix, "")
	if res.Deleted != 1 || res.Fetched != 1 || res.Failed != 1 || len(res.Problems) != 1 {
		t.Errorf("result %+v", res)
	}
	if diff := cmp.Diff([]string{"org/a:v1", "org/a:v2", "org/b:v1"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
	// Whole repositories that are gone.
	w.srv.Reset()
	w.srv.Add(testreg.Rule{Path: "^/v2/_catalog", Do: testreg.Status(http.StatusOK, map[string]string{"Content-Type": "application/json"}, `{"repositories":["org/a"]}`)})
	if res := w.crawl(ix, ""); res.Deleted != 1 {
		t.Errorf("result %+v", res)
	}
	if diff := cmp.Diff([]string{"org/a:v1", "org/a:v2"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
}

func TestCrawlOfOnePlaceLeavesOthersAlone(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for _, name := range []string{"org/a", "org/sub/b", "other/c"} {
		w.pushCard(name+":v1", "license: mit", "# "+name)
	}
	w.crawl(ix, "/other/c")
	w.crawl(ix, "/org")
	if diff := cmp.Diff([]string{"org/a:v1", "org/sub/b:v1", "other/c:v1"}, w.found(ix, "")); diff != "" {
		t.Error(diff)
	}
	_, err := w.Crawl(t.Context(), ix, []string{w.srv.Host + "/org/a:v1"}, hub.CrawlOptions{})
	wantErr(t, err, hub.ErrUsage)
}

// The version that a repository's name stands for.
func TestCrawlMarksTheLatest(t *testing.T) {
	tests := map[string]struct {
		tags []string
		want string
	}{
		"latest":          {[]string{"v9.0.0", "main", "latest"}, "latest"},
		"main":            {[]string{"v9.0.0", "main", "dev"}, "main"},
		"highest release": {[]string{"v1.10.0", "v1.9.0", "zzz"}, "v1.10.0"},
		"last tag":        {[]string{"aa", "zz", "mm"}, "zz"},
	}
	w := newWorld(t)
	ix := openIndex(t)
	n := 0
	for name, tt := range tests {
		for i, tag := range tt.tags {
			w.pushCard(fmt.Sprintf("org/%s:%s", strings.ReplaceAll(name, " ", "-"), tag), "license: mit", fmt.Sprint("# ", n, i))
		}
		n++
	}
	w.crawl(ix, "")
	for name, tt := range tests {
		repo := "org/" + strings.ReplaceAll(name, " ", "-")
		if diff := cmp.Diff([]string{repo + ":" + tt.want}, w.found(ix, "repo:"+repo)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// A registry that says that it is too much is asked less, and everything comes.
func TestCrawlIsPolite(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for i := range 8 {
		w.pushCard(fmt.Sprintf("org/m%d:v1", i), "license: mit", "# Model")
	}
	w.srv.Reset()
	w.srv.Add(testreg.Rule{Method: "GET,HEAD", Path: "/manifests/", To: 12, Do: testreg.Status(http.StatusTooManyRequests, map[string]string{"Retry-After": "0"}, "")})
	if res := w.crawl(ix, ""); res.Fetched != 8 || res.Failed != 0 {
		t.Errorf("result %+v", res)
	}
}

// What was found before an interruption is kept, and not fetched again.
func TestCrawlGoesOn(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for _, name := range []string{"org/a", "other/b"} {
		w.pushCard(name+":v1", "license: mit", "# "+name)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.srv.Add(testreg.Rule{Path: "^/v2/other/b/manifests/sha256:", Do: func(testreg.Exchange) { cancel() }})
	_, err := w.Crawl(ctx, ix, []string{w.srv.Host + "/org/", w.srv.Host + "/other/"}, hub.CrawlOptions{})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	w.srv.Reset()
	if res := w.crawl(ix, "/org/", "/other/"); res.Fetched != 1 || res.Versions != 2 {
		t.Errorf("result %+v", res)
	}
}

// A place that does not answer does not keep others from being read.
func TestCrawlGoesOnAfterADeadPlace(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	w.pushCard("org/a:v1", "license: mit", "# A")
	res, err := w.Crawl(t.Context(), ix, []string{"127.0.0.1:1/org/b", w.srv.Host + "/org/a", w.srv.Host + "/org/none"}, hub.CrawlOptions{})
	failed, ok := errors.AsType[*hub.CrawlError](err)
	if !ok || len(failed.Places) != 2 || !errors.Is(err, remote.ErrUnreachable) || !errors.Is(err, errdef.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if res.Failed != 2 || res.Versions != 1 || len(res.Places) != 1 {
		t.Errorf("result %+v", res)
	}
	if diff := cmp.Diff([]string{"org/a:v1"}, w.found(ix, "")); diff != "" {
		t.Error(diff)
	}
}

// A repository that is gone is removed, also where nothing can be listed.
func TestCrawlNoticesARepositoryThatIsGone(t *testing.T) {
	for _, catalog := range []int{http.StatusOK, http.StatusUnauthorized} {
		t.Run(fmt.Sprint(catalog), func(t *testing.T) {
			w := newWorld(t)
			ix := openIndex(t)
			w.pushCard("org/a:v1", "license: mit", "# A")
			w.pushCard("org/b:v1", "license: mit", "# B")
			w.crawl(ix, "/org/a", "/org/b")
			w.srv.Add(testreg.Rule{Path: "^/v2/org/a/tags/list", Do: testreg.Status(http.StatusNotFound, nil, "")})
			w.srv.Add(testreg.Rule{Path: "^/v2/_catalog", Do: testreg.Status(catalog, map[string]string{"Content-Type": "application/json"}, `{"repositories":["org/b"]}`)})
			if res := w.crawl(ix, "/org/a", "/org/b"); res.Deleted != 1 || res.Failed != 0 {
				t.Errorf("result %+v", res)
			}
			if diff := cmp.Diff([]string{"org/b:v1"}, w.found(ix, "versions:all")); diff != "" {
				t.Error(diff)
			}
			// From then on there is nothing, whatever the registry lists to nobody.
			_, err := w.with(hub.Options{}).Crawl(t.Context(), ix, []string{w.srv.Host + "/org/a", w.srv.Host + "/org/b"}, hub.CrawlOptions{})
			wantErr(t, err, errdef.ErrNotFound)
		})
	}
}

// What is damaged is left as it was known, and nothing else is.
func TestCrawlLosesOnlyWhatIsDamaged(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	w.pushCard("org/a:v1", "license: mit", "# A")
	w.pushCard("org/a:v2", "license: mit", "# A, the second")
	w.crawl(ix, "")
	v3 := w.pushCard("org/a:v3", "license: mit", "# A, the third")
	w.pushCard("org/a:v4", "license: mit", "# A, the fourth")
	w.pushIndex("org/a", "_modelreg", v3.Digest) // which is no record
	w.srv.Reset()
	w.srv.Add(testreg.Rule{Path: "^/v2/org/a/manifests/v1$", Do: testreg.Status(http.StatusForbidden, nil, "")})
	w.srv.Add(testreg.Rule{Path: "^/v2/org/a/manifests/" + v3.Digest, Do: testreg.Status(http.StatusNotFound, nil, "")})
	// A hub that has not read the record yet.
	res, err := w.with(hub.Options{}).Crawl(t.Context(), ix, []string{w.srv.Host}, hub.CrawlOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Failed != 3 || res.Deleted != 0 || res.Fetched != 1 {
		t.Errorf("result %+v", res)
	}
	if diff := cmp.Diff([]string{"org/a:v1", "org/a:v2", "org/a:v4"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
}
