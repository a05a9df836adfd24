package catalog_test

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/remote"
)

// github has packages of the organisation acme on two pages, and of the user ada. As
// GitHub's, its link leads to another path on the same host.
func github(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.Header.Get("Authorization") != "Bearer ghp_token":
		answer(w, http.StatusUnauthorized, `{"message":"Requires authentication","documentation_url":"https://docs.github.com/rest","status":"401"}`)
	case q.Get("package_type") != "container":
		answer(w, http.StatusBadRequest, `{"message":"Invalid argument."}`)
	case r.URL.Path == "/orgs/acme/packages":
		w.Header().Set("Link", `<https://api.github.com/organizations/7/packages?package_type=container&per_page=100&page=2>; rel="next", <https://api.github.com/organizations/7/packages?page=2>; rel="last"`)
		answer(w, http.StatusOK, `[{"id":1,"name":"support","package_type":"container","visibility":"public","owner":{"login":"Acme"}},{"id":2,"name":"team/chat","package_type":"container"}]`)
	case r.URL.Path == "/organizations/7/packages" && q.Get("page") == "2":
		w.Header().Set("Link", `<https://api.github.com/organizations/7/packages?page=1>; rel="prev"`)
		answer(w, http.StatusOK, `[{"id":3,"name":"summary","package_type":"container"}]`)
	case r.URL.Path == "/users/ada/packages":
		answer(w, http.StatusOK, `[{"id":4,"name":"engine"}]`)
	default:
		answer(w, http.StatusNotFound, `{"message":"Not Found","status":"404"}`)
	}
}

// gitlab has a group acme with a project acme/lab/models.
func gitlab(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), "/api/v4")
	switch {
	case r.Header.Get("Authorization") != "Bearer glpat-token":
		answer(w, http.StatusNotFound, `{"message":"404 Group Not Found"}`)
	case path == "/groups/acme/registry/repositories" && r.URL.Query().Get("page") == "":
		w.Header().Set("Link", `<`+path+`?page=2&per_page=100>; rel="next"`)
		w.Header().Set("Link", `</api/v4/groups/acme/registry/repositories?page=2&per_page=100>; rel="next", </x>; rel="first"`)
		answer(w, http.StatusOK, `[{"id":1,"name":"","path":"acme/bert","project_id":9,"location":"registry.gitlab.com/acme/bert"}]`)
	case path == "/groups/acme/registry/repositories":
		answer(w, http.StatusOK, `[{"id":2,"name":"chat","path":"acme/lab/models/chat","project_id":10}]`)
	case path == "/projects/acme%2Flab%2Fmodels/registry/repositories":
		answer(w, http.StatusOK, `[{"id":2,"name":"chat","path":"acme/lab/models/chat"},{"id":3,"name":"","path":"acme/lab/models"}]`)
	default:
		answer(w, http.StatusNotFound, `{"message":"404 Not Found"}`)
	}
}

// harbor has two projects, of which one is private, below a closed catalogue.
func harbor(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	in := user == "robot$ci" && password == "secret"
	q := r.URL.Query()
	switch {
	case !strings.HasPrefix(r.URL.Path, "/api/"):
		closed("https://harbor.example.com/service/token")(w, r)
	case r.URL.Path == "/api/v2.0/repositories" && in:
		answer(w, http.StatusOK, `[{"name":"public/a"},{"name":"acme/b"}]`)
	case r.URL.Path == "/api/v2.0/repositories":
		answer(w, http.StatusOK, `[{"name":"public/a"}]`)
	case r.URL.Path == "/api/v2.0/projects/acme/repositories" && !in:
		w.Header().Set("WWW-Authenticate", `Bearer realm="none"`)
		answer(w, http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED","message":"unauthorized"}]}`)
	case r.URL.Path == "/api/v2.0/projects/acme/repositories" && q.Get("page") == "":
		w.Header().Set("X-Total-Count", "2")
		w.Header().Set("Link", `</api/v2.0/projects/acme/repositories?page=2&page_size=100>; rel="next"`)
		answer(w, http.StatusOK, `[{"artifact_count":3,"id":1,"name":"acme/b","project_id":2,"pull_count":0}]`)
	case r.URL.Path == "/api/v2.0/projects/acme/repositories":
		answer(w, http.StatusOK, `[{"name":"acme/team/c"}]`)
	default:
		answer(w, http.StatusNotFound, `{"errors":[{"code":"NOT_FOUND","message":"project not found"}]}`)
	}
}

// quay has a namespace with a public and a private repository.
func quay(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case r.URL.Path != "/api/v1/repository":
		closed("https://quay.example.com/v2/auth")(w, r)
	case q.Get("namespace") != "acme":
		answer(w, http.StatusOK, `{"repositories":[]}`)
	case q.Get("next_page") == "":
		answer(w, http.StatusOK, `{"repositories":[{"namespace":"acme","name":"open","is_public":true,"kind":"image","state":"NORMAL"}],"next_page":"gAAAAA=="}`)
	case r.Header.Get("Authorization") == "Bearer oauth" && q.Get("next_page") == "gAAAAA==":
		answer(w, http.StatusOK, `{"repositories":[{"namespace":"acme","name":"hidden","is_public":false}]}`)
	default:
		answer(w, http.StatusOK, `{"repositories":[]}`)
	}
}

// dockerHub has a namespace whose private repositories are for who is logged in.
func dockerHub(w http.ResponseWriter, r *http.Request) {
	in := r.Header.Get("Authorization") == "Bearer jwt"
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/v2/auth/token":
		answer(w, http.StatusOK, `{"access_token":"jwt"}`)
	case r.URL.Path != "/v2/namespaces/acme/repositories":
		answer(w, http.StatusNotFound, `{"message":"object not found","errinfo":{}}`)
	case r.URL.Query().Get("page") == "":
		answer(w, http.StatusOK, `{"count":2,"next":"https://hub.docker.com/v2/namespaces/acme/repositories?page=2&page_size=100","previous":null,"results":[{"name":"open","namespace":"acme","repository_type":"image","is_private":false}]}`)
	case in:
		answer(w, http.StatusOK, `{"count":2,"next":null,"previous":null,"results":[{"name":"hidden","namespace":"acme","is_private":true}]}`)
	default:
		answer(w, http.StatusOK, `{"count":1,"next":null,"previous":null,"results":[]}`)
	}
}

func services() *internet {
	open := func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, `{"repositories":["acme/a","acme/b","other/c"]}`)
	}
	return &internet{hosts: map[string]http.HandlerFunc{
		"api.github.com":     github,
		"gitlab.com":         gitlab,
		"registry.example":   closed("https://git.example/jwt/auth"),
		"git.example":        gitlab,
		"harbor.example.com": harbor,
		"quay.io":            quay,
		"quay.example.com":   quay,
		"hub.docker.com":     dockerHub,
		"open.example.com":   open,
	}}
}

func TestRepositories(t *testing.T) {
	const docker = "https://index.docker.io/v1/"
	tests := map[string]struct {
		place    string
		logins   map[string]string
		opts     catalog.Options
		want     []string
		requests []string
	}{
		"catalogue": {
			place: "open.example.com/acme", want: []string{"acme/a", "acme/b"},
			requests: []string{"open.example.com /v2/_catalog"},
		},
		"github, organisation": {
			place: "ghcr.io/acme", logins: map[string]string{"ghcr.io": "ada:ghp_token"},
			want: []string{"acme/support", "acme/team/chat", "acme/summary"},
			requests: []string{
				"api.github.com /orgs/acme/packages?package_type=container&per_page=100 [Bearer ghp_token]",
				"api.github.com /organizations/7/packages?package_type=container&per_page=100&page=2 [Bearer ghp_token]",
			},
		},
		"github, below": {place: "ghcr.io/acme/team/", logins: map[string]string{"ghcr.io": "ada:ghp_token"}, want: []string{"acme/team/chat"}},
		"github, user, by the environment's token": {
			place: "ghcr.io/ada", opts: catalog.Options{GitHubToken: "ghp_token"}, want: []string{"ada/engine"},
			requests: []string{
				"api.github.com /orgs/ada/packages?package_type=container&per_page=100 [Bearer ghp_token]",
				"api.github.com /users/ada/packages?package_type=container&per_page=100 [Bearer ghp_token]",
			},
		},
		"gitlab, group": {
			place: "registry.gitlab.com/acme", logins: map[string]string{"registry.gitlab.com": "ada:glpat-token"},
			want: []string{"acme/bert", "acme/lab/models/chat"},
			requests: []string{
				"gitlab.com /api/v4/groups/acme/registry/repositories?per_page=100 [Bearer glpat-token]",
				"gitlab.com /api/v4/groups/acme/registry/repositories?page=2&per_page=100 [Bearer glpat-token]",
			},
		},
		"gitlab, project": {
			place: "registry.gitlab.com/acme/lab/models", logins: map[string]string{"registry.gitlab.com": "ada:glpat-token"},
			want: []string{"acme/lab/models/chat", "acme/lab/models"},
		},
		"gitlab, below a project": {
			place: "registry.gitlab.com/acme/lab/models/chat", logins: map[string]string{"registry.gitlab.com": "ada:glpat-token"},
			want: []string{"acme/lab/models/chat"},
		},
		"gitlab of one's own, told": {
			place: "registry.example/acme", logins: map[string]string{"registry.example": "ada:glpat-token"},
			opts: catalog.Options{APIs: map[string]catalog.API{"registry.example": {Kind: catalog.GitLab, URL: "https://git.example"}}},
			want: []string{"acme/bert", "acme/lab/models/chat"},
		},
		"harbor, found out": {
			place: "harbor.example.com/acme/", logins: map[string]string{"harbor.example.com": "robot$ci:secret"},
			want: []string{"acme/b", "acme/team/c"},
		},
		"harbor, told": {
			place: "harbor.example.com/acme/", logins: map[string]string{"harbor.example.com": "robot$ci:secret"},
			opts: catalog.Options{APIs: map[string]catalog.API{"harbor.example.com": {Kind: catalog.Harbor}}},
			want: []string{"acme/b", "acme/team/c"},
			requests: []string{
				"harbor.example.com /api/v2.0/projects/acme/repositories?page_size=100 [Basic cm9ib3QkY2k6c2VjcmV0]",
				"harbor.example.com /api/v2.0/projects/acme/repositories?page=2&page_size=100 [Basic cm9ib3QkY2k6c2VjcmV0]",
			},
		},
		"harbor, all, without a login": {place: "harbor.example.com", want: []string{"public/a"}},
		"quay, without a login": {
			place: "quay.io/acme", want: []string{"acme/open"},
			requests: []string{
				"quay.io /api/v1/repository?namespace=acme&public=true",
				"quay.io /api/v1/repository?namespace=acme&next_page=gAAAAA%3D%3D&public=true",
			},
		},
		"quay, OAuth":                   {place: "quay.io/acme", logins: map[string]string{"quay.io": "$oauthtoken:oauth"}, want: []string{"acme/open", "acme/hidden"}},
		"quay of one's own, with robot": {place: "quay.example.com/acme", logins: map[string]string{"quay.example.com": "acme+ci:x"}, want: []string{"acme/open"}},
		"docker hub, without a login": {
			place: "docker.io/acme", want: []string{"acme/open"},
			requests: []string{
				"hub.docker.com /v2/namespaces/acme/repositories?page_size=100",
				"hub.docker.com /v2/namespaces/acme/repositories?page=2&page_size=100",
			},
		},
		"docker hub": {
			place: "docker.io/acme", logins: map[string]string{docker: "ada:dckr_pat"}, want: []string{"acme/open", "acme/hidden"},
			requests: []string{
				"hub.docker.com /v2/auth/token",
				"hub.docker.com /v2/namespaces/acme/repositories?page_size=100 [Bearer jwt]",
				"hub.docker.com /v2/namespaces/acme/repositories?page=2&page_size=100 [Bearer jwt]",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := services()
			names, bad, err := list(t, n.client(t, tt.logins), tt.place, tt.opts)
			if err != nil || len(bad) > 0 {
				t.Errorf("error %v, bad names %q", err, bad)
			}
			if diff := cmp.Diff(tt.want, names); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if asked := n.requests(); tt.requests != nil {
				if diff := cmp.Diff(tt.requests, asked); diff != "" {
					t.Errorf("requests (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// Who may not see a list is told so; what is not there is not there.
func TestRepositoriesRefused(t *testing.T) {
	tests := map[string]struct {
		place  string
		logins map[string]string
		opts   catalog.Options
		want   error
		access bool
	}{
		"github without a token":     {place: "ghcr.io/acme", want: remote.ErrUnauthorized, access: true},
		"github, nobody":             {place: "ghcr.io/nobody", opts: catalog.Options{GitHubToken: "ghp_token"}, want: errdef.ErrNotFound},
		"github, all":                {place: "ghcr.io", want: catalog.ErrUsage},
		"gitlab, no such group":      {place: "registry.gitlab.com/none/such", want: errdef.ErrNotFound},
		"harbor, private project":    {place: "harbor.example.com/acme/", want: remote.ErrUnauthorized, access: true},
		"harbor, no such project":    {place: "harbor.example.com/none", want: errdef.ErrNotFound},
		"docker hub, no such name":   {place: "docker.io/none", want: errdef.ErrNotFound},
		"catalogue and nothing else": {place: "harbor.example.com/acme", opts: catalog.Options{APIs: map[string]catalog.API{"harbor.example.com": {Kind: catalog.Catalogue}}}, want: remote.ErrUnauthorized},
		"an API of another kind":     {place: "x.example/acme", opts: catalog.Options{APIs: map[string]catalog.API{"x.example": {Kind: "gitea"}}}, want: catalog.ErrUsage},
		"an API in the clear": {
			place: "x.example/acme", opts: catalog.Options{APIs: map[string]catalog.API{"x.example": {Kind: catalog.GitLab, URL: "http://git.example"}}}, want: catalog.ErrUsage,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := services()
			names, _, err := list(t, n.client(t, tt.logins), tt.place, tt.opts)
			if !errors.Is(err, tt.want) || len(names) > 0 {
				t.Errorf("names %q, error %v; want %v", names, err, tt.want)
			}
			if _, ok := errors.AsType[*catalog.AccessError](err); ok != tt.access {
				t.Errorf("error %#v; want an AccessError: %v", err, tt.access)
			}
		})
	}
}

// A registry that names a GitLab on another host gets nothing sent there that is
// not allowed to go there.
func TestCredentialStaysWhereItMayGo(t *testing.T) {
	n := services()
	_, _, err := list(t, n.client(t, map[string]string{"registry.example": "ada:glpat-token"}), "registry.example/acme", catalog.Options{})
	if !errors.Is(err, remote.ErrUnauthorized) {
		t.Errorf("error %v, want ErrUnauthorized", err)
	}
	for _, line := range n.requests() {
		if strings.HasPrefix(line, "git.example") && strings.Contains(line, "[") {
			t.Errorf("sent to %s", line)
		}
	}
}

// The environment's token is GitHub's own: no other host that speaks GitHub's API gets
// it, whichever registry it is asked for.
func TestGitHubTokenGoesToGitHub(t *testing.T) {
	tests := map[string]struct {
		host, api string
		sent      bool
	}{
		"enterprise server":          {host: "containers.ghe.example", api: "https://ghe.example/api/v3"},
		"registry's own":             {host: "ghe.example"},
		"other API for ghcr.io":      {host: "ghcr.io", api: "https://ghe.example"},
		"another port":               {host: "ghcr.io", api: "https://api.github.com:8443"},
		"GitHub's for ghcr.io":       {host: "ghcr.io", api: "https://api.github.com", sent: true},
		"GitHub's for a mirror's":    {host: "mirror.example", api: "https://api.github.com", sent: true},
		"enterprise server by login": {host: "ghe.login.example", api: "https://ghe.example"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := &internet{hosts: map[string]http.HandlerFunc{"api.github.com": github, "api.github.com:8443": github, "ghe.example": github}}
			opts := catalog.Options{
				APIs:        map[string]catalog.API{tt.host: {Kind: catalog.GitHub, URL: tt.api}},
				GitHubToken: "ghp_token",
			}
			_, _, err := list(t, n.client(t, map[string]string{"ghe.login.example": "ada:ghe_other"}), tt.host+"/ada", opts)
			for _, line := range n.requests() {
				if strings.Contains(line, "ghp_token") != tt.sent {
					t.Errorf("asked %s; want the token sent: %v", line, tt.sent)
				}
			}
			if (err == nil) != tt.sent {
				t.Errorf("error %v", err)
			}
		})
	}
	for host, want := range map[string]bool{"ghcr.io": true, "ghe.example": false} {
		n := &internet{hosts: map[string]http.HandlerFunc{"api.github.com": github, "ghe.example": github}}
		_, _, err := list(t, n.client(t, nil), host+"/ada", catalog.Options{APIs: map[string]catalog.API{"ghe.example": {Kind: catalog.GitHub}}})
		if access, ok := errors.AsType[*catalog.AccessError](err); !ok || access.GitHubToken != want {
			t.Errorf("%s: error %#v, want an AccessError that tells whether GitHubToken would be sent: %v", host, err, want)
		}
	}
}

// Whatever an API says, nothing but names comes of it.
func TestHostileLists(t *testing.T) {
	link := func(target string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "<"+target+">; rel=\"next\"")
			answer(w, http.StatusOK, `[{"name":"acme/a"}]`)
		}
	}
	const self = "https://harbor.example.com"
	tests := map[string]struct {
		api   http.HandlerFunc
		names []string
		bad   []string
		fails bool
	}{
		"next on another host":  {api: link("https://evil.example/next"), names: []string{"acme/a"}, fails: true},
		"next on another port":  {api: link(self + ":8443/next"), names: []string{"acme/a"}, fails: true},
		"next in the clear":     {api: link("http://harbor.example.com/next"), names: []string{"acme/a"}, fails: true},
		"next with a user":      {api: link("https://a:b@harbor.example.com/next"), names: []string{"acme/a"}, fails: true},
		"next without a scheme": {api: link("//evil.example/next"), names: []string{"acme/a"}, fails: true},
		"next is the same":      {api: link("?page_size=100"), names: []string{"acme/a"}, fails: true},
		"redirect to another host": {api: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://evil.example/next", http.StatusFound)
		}, fails: true},
		"names that are none": {
			api: func(w http.ResponseWriter, _ *http.Request) {
				answer(w, http.StatusOK, `[{"name":"acme/../etc"},{"name":"acme/a:tag"},{"name":"acme/UPPER"},{"name":"acme/\u001b[31m"},{"name":"acme/a#b"},{"name":"acme/a"},{"name":"acme/a"},{"name":"other/b"},{"name":""}]`)
			},
			names: []string{"acme/a"},
			bad:   []string{"acme/../etc", "acme/a:tag", "acme/UPPER", `acme/\x1b[31m`, "acme/a#b"},
		},
		"no list": {api: func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, `{"name":"acme/a"}`) }, fails: true},
		"no JSON": {api: func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, `<html>`) }, fails: true},
		"a huge page": {api: func(w http.ResponseWriter, _ *http.Request) {
			answer(w, http.StatusOK, "["+strings.Repeat(" ", 9<<20)+"]")
		}, fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := &internet{hosts: map[string]http.HandlerFunc{"harbor.example.com": tt.api}}
			opts := catalog.Options{APIs: map[string]catalog.API{"harbor.example.com": {Kind: catalog.Harbor}}}
			names, bad, err := list(t, n.client(t, map[string]string{"harbor.example.com": "u:p"}), "harbor.example.com/acme", opts)
			if diff := cmp.Diff(tt.names, names); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.bad, bad); diff != "" {
				t.Errorf("bad names (-want +got):\n%s", diff)
			}
			if errors.Is(err, remote.ErrProtocol) != tt.fails || !tt.fails && err != nil {
				t.Errorf("error %v", err)
			}
			if i := slices.IndexFunc(n.requests(), func(s string) bool { return !strings.HasPrefix(s, "harbor.example.com /") }); i >= 0 {
				t.Error("another host was asked")
			}
		})
	}
}

// A reader that has had enough ends the list.
func TestRepositoriesStops(t *testing.T) {
	n := services()
	for name, err := range catalog.Repositories(t.Context(), n.client(t, nil), "quay.io", "acme", catalog.Options{}) {
		if name != "acme/open" || err != nil {
			t.Errorf("%q, %v", name, err)
		}
		break
	}
	if asked := n.requests(); len(asked) != 1 {
		t.Errorf("requests %q", asked)
	}
}

func TestParseAPI(t *testing.T) {
	tests := map[string]catalog.API{
		"harbor":                               {Kind: catalog.Harbor},
		"gitlab=https://gitlab.example.com/":   {Kind: catalog.GitLab, URL: "https://gitlab.example.com"},
		"github=https://github.example/api/v3": {Kind: catalog.GitHub, URL: "https://github.example/api/v3"},
		"catalogue":                            {Kind: catalog.Catalogue},
		"gitea":                                {},
		"":                                     {},
		"gitlab=":                              {},
		"gitlab=gitlab.example.com":            {},
		"gitlab=https://user:secret@gitlab.example": {},
		"gitlab=ftp://gitlab.example":               {},
	}
	for in, want := range tests {
		got, err := catalog.ParseAPI(in)
		if got != want || (err == nil) != (want.Kind != "") || err != nil && !errors.Is(err, catalog.ErrUsage) {
			t.Errorf("ParseAPI(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
}
