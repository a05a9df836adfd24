package catalog

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/go-json-experiment/json"
)

// A reader reads the names on a page of a list, and where the next page is, if the
// page itself says that.
type reader func(raw []byte) (names []string, next string, err error)

func bearer(token string) http.Header {
	if token == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// gitHub lists what an organisation or a user has (REST API, "List packages for an
// organization", "… for a user").
func (l *listing) gitHub(ctx context.Context, c *client) error {
	c.header = bearer(c.credential.Password)
	owner, _, _ := strings.Cut(l.prefix, "/")
	read := func(raw []byte) (names []string, _ string, err error) {
		var page []struct {
			Name string `json:"name"`
		}
		err = json.Unmarshal(raw, &page)
		for _, p := range page {
			names = append(names, owner+"/"+p.Name)
		}
		return names, "", err
	}
	const query = "/packages?package_type=container&per_page=100"
	err := l.pages(ctx, c, "/orgs/"+url.PathEscape(owner)+query, read)
	if notFound(err) {
		err = l.pages(ctx, c, "/users/"+url.PathEscape(owner)+query, read)
	}
	return err
}

// gitLab lists what a group has, with its subgroups, or a project ("Container
// registry API"). Of a path below a project it takes that project's.
func (l *listing) gitLab(ctx context.Context, c *client) error {
	c.header = bearer(c.credential.Password)
	read := func(raw []byte) (names []string, _ string, err error) {
		var page []struct {
			Path string `json:"path"`
		}
		err = json.Unmarshal(raw, &page)
		for _, r := range page {
			names = append(names, r.Path)
		}
		return names, "", err
	}
	const path = "/registry/repositories?per_page=100"
	var first error
	for id := l.prefix; id != ""; id = parent(id) {
		err := l.pages(ctx, c, "/api/v4/groups/"+url.PathEscape(id)+path, read)
		if notFound(err) {
			err = l.pages(ctx, c, "/api/v4/projects/"+url.PathEscape(id)+path, read)
		}
		if !notFound(err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// parent returns the path above path, "" if there is none.
func parent(path string) string { return path[:max(strings.LastIndexByte(path, '/'), 0)] }

// harbor lists what a project has, or, without one, all that the user may see (API
// 2.0, listRepositories and listAllRepositories).
func (l *listing) harbor(ctx context.Context, c *client) error {
	if c.credential.Username != "" {
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(c.credential.Username, c.credential.Password)
		c.header = req.Header
	}
	path := "/api/v2.0/repositories?page_size=100"
	if project, _, _ := strings.Cut(l.prefix, "/"); project != "" {
		path = "/api/v2.0/projects/" + url.PathEscape(project) + "/repositories?page_size=100"
	}
	return l.pages(ctx, c, path, func(raw []byte) (names []string, _ string, err error) {
		var page []struct {
			Name string `json:"name"` // with the project
		}
		err = json.Unmarshal(raw, &page)
		for _, r := range page {
			names = append(names, r.Name)
		}
		return names, "", err
	})
}

// quayToken is the user name with which Quay takes an OAuth token for a password. Its
// API takes such tokens only.
const quayToken = "$oauthtoken"

// quay lists what a namespace has (API v1, listRepos).
func (l *listing) quay(ctx context.Context, c *client) error {
	if c.credential.Username == quayToken {
		c.header = bearer(c.credential.Password)
	}
	namespace, _, _ := strings.Cut(l.prefix, "/")
	query := url.Values{"namespace": {namespace}, "public": {"true"}}
	return l.pages(ctx, c, "/api/v1/repository?"+query.Encode(), func(raw []byte) (names []string, next string, err error) {
		var page struct {
			Repositories []struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"repositories"`
			Next string `json:"next_page"`
		}
		err = json.Unmarshal(raw, &page)
		for _, r := range page.Repositories {
			names = append(names, r.Namespace+"/"+r.Name)
		}
		if page.Next != "" {
			query.Set("next_page", page.Next)
			next = "?" + query.Encode()
		}
		return names, next, err
	})
}

// dockerHub lists what a namespace has: to somebody who is logged in the private
// repositories too (Docker Hub API, "List repositories", "Create access token").
func (l *listing) dockerHub(ctx context.Context, c *client) error {
	if c.credential.Password != "" {
		token, err := c.exchange(ctx)
		if err != nil {
			return err
		}
		c.header = bearer(token)
	}
	namespace, _, _ := strings.Cut(l.prefix, "/")
	return l.pages(ctx, c, "/v2/namespaces/"+url.PathEscape(namespace)+"/repositories?page_size=100", func(raw []byte) (names []string, next string, err error) {
		var page struct {
			Results []struct {
				Namespace string `json:"namespace"`
				Name      string `json:"name"`
			} `json:"results"`
			Next string `json:"next"`
		}
		err = json.Unmarshal(raw, &page)
		for _, r := range page.Results {
			names = append(names, r.Namespace+"/"+r.Name)
		}
		return names, page.Next, err
	})
}

// exchange gets a short-lived token of Docker Hub's API for the registry's
// credential.
func (c *client) exchange(ctx context.Context) (string, error) {
	body, err := json.Marshal(map[string]string{"identifier": c.credential.Username, "secret": c.credential.Password})
	if err != nil {
		return "", err
	}
	c.header = http.Header{} // something is sent
	at := c.base.JoinPath("/v2/auth/token")
	raw, _, err := c.do(ctx, request{method: http.MethodPost, url: at, body: body})
	if err != nil {
		return "", err
	}
	var doc struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil || doc.Token == "" {
		return "", broken("post "+at.Host+at.EscapedPath(), fmt.Sprintf("no token in the answer: %v", err))
	}
	return doc.Token, nil
}
