package hub_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/remote"
)

// closeCatalogue makes the registry one that lists nothing itself, but through an API
// like Harbor's, with this answer.
func (w *world) closeCatalogue(status int, doc string) {
	w.srv.Reset()
	header := map[string]string{"Content-Type": "application/json"}
	w.srv.Add(
		testreg.Rule{Path: `^/v2/(_catalog.*)?$`, Do: testreg.Unauthorized("{url}/service/token")},
		testreg.Rule{Path: `^/service/token`, Do: testreg.Status(http.StatusOK, header, `{"token":"anybody"}`)},
		testreg.Rule{Path: `^/api/v2.0/projects/org/repositories`, Do: testreg.Status(status, header, doc)},
	)
}

func TestCrawlAsksTheAPI(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for _, name := range []string{"org/a", "org/b", "org/hidden", "other/c"} {
		w.pushCard(name+":v1", "license: mit", "# "+name)
	}
	w.closeCatalogue(http.StatusOK, `[{"name":"org/a"},{"name":"org/b"},{"name":"org/hidden"},{"name":"org/BAD"}]`)
	w.srv.Add(testreg.Rule{Path: "^/v2/org/hidden/tags/list", Do: testreg.Status(http.StatusForbidden, nil, "")})
	res := w.crawl(ix, "/org")
	// What cannot be read and what cannot be named is counted, and told of.
	if res.Repositories != 2 || res.Failed != 2 || len(res.Problems) != 2 {
		t.Errorf("result %+v", res)
	}
	if diff := cmp.Diff([]string{"org/a:v1", "org/b:v1"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
	// What is not listed any more is gone.
	w.closeCatalogue(http.StatusOK, `[{"name":"org/a"}]`)
	if res := w.crawl(ix, "/org/"); res.Deleted != 1 || res.Failed != 0 {
		t.Errorf("result %+v", res)
	}
	if diff := cmp.Diff([]string{"org/a:v1"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
	// Who may not see the list any more loses nothing, and is told.
	w.closeCatalogue(http.StatusForbidden, `{"errors":[{"code":"FORBIDDEN","message":"not yours"}]}`)
	for _, place := range []string{"/org/", "/org"} {
		_, err := w.Crawl(t.Context(), ix, []string{w.srv.Host + place}, hub.CrawlOptions{})
		if access, ok := errors.AsType[*catalog.AccessError](err); !ok || access.Kind != catalog.Harbor || !errors.Is(err, remote.ErrForbidden) {
			t.Errorf("%s: error %v", place, err)
		}
	}
	if diff := cmp.Diff([]string{"org/a:v1"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
}

// A place that one may not read can be an organisation; if it is none, it is what was
// refused that is told.
func TestCrawlOfARefusedPlace(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	w.pushCard("org/a:v1", "license: mit", "# A")
	w.closeCatalogue(http.StatusOK, `[{"name":"org/a"}]`)
	w.srv.Add(testreg.Rule{Path: "^/v2/org/(x/)?tags/list", Do: testreg.Status(http.StatusForbidden, nil, "")})
	if res := w.crawl(ix, "/org"); res.Repositories != 1 {
		t.Errorf("result %+v", res)
	}
	_, err := w.Crawl(t.Context(), ix, []string{w.srv.Host + "/org/x"}, hub.CrawlOptions{})
	wantErr(t, err, remote.ErrForbidden)
}

// Many repositories cost one list of tags each.
func TestCrawlOfNamedRepositories(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for _, name := range []string{"org/a", "org/b", "org/c"} {
		w.pushCard(name+":v1", "license: mit", "# "+name)
	}
	w.srv.Reset()
	res := w.crawl(ix, "/org/a", "/org/b", "/org/c", "/org/a")
	if res.Repositories != 3 || res.Fetched != 3 || len(res.Places) != 3 {
		t.Errorf("result %+v", res)
	}
	if got := w.requests()["GET list"]; got != 3 {
		t.Errorf("%d lists, want 3", got)
	}
}

// A repository that was named is not gone because a list does not show it.
func TestCrawlKeepsWhatWasNamed(t *testing.T) {
	w := newWorld(t)
	ix := openIndex(t)
	for _, name := range []string{"org/a", "org/hidden"} {
		w.pushCard(name+":v1", "license: mit", "# "+name)
	}
	w.closeCatalogue(http.StatusOK, `[{"name":"org/a"}]`)
	w.crawl(ix, "/org/", "/org/hidden")
	if res := w.crawl(ix, "/org", "/org/hidden"); res.Deleted+res.Fetched != 0 {
		t.Errorf("result %+v", res)
	}
	opts := hub.CrawlOptions{Named: []string{w.srv.Host + "/org/hidden"}}
	if _, err := w.Crawl(t.Context(), ix, []string{w.srv.Host + "/org/"}, opts); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"org/a:v1", "org/hidden:v1"}, w.found(ix, "versions:all")); diff != "" {
		t.Error(diff)
	}
}
