// Package catalog lists the repositories of registries.
//
// The distribution specification has a list of all that a registry holds,
// /v2/_catalog, which many hosted registries keep closed. What an organisation has is
// told there by an API beside the registry: that of GitHub, GitLab, Harbor, Quay or
// Docker Hub. [Repositories] asks whichever a registry has. It never writes, and reads
// no repository.
//
// # What callers may build on
//
// What is listed has a name by the grammar of package ref, at or below the prefix
// that was asked for, and comes once. A list that breaks off ends with an error: what
// came before is not all.
//
// A credential goes to the API that the user or this package has named for its
// registry, or to one on hosts that the registry's passwords may go to; never in the
// clear where the registry is reached by TLS. Pages lead to no other scheme, host or
// port, and neither do redirects. There are at most 10,000 pages of at most 8 MiB, with at most
// 1,000,000 names that are asked for; one page is held at a time.
// An answer that asks to come back later is obeyed, up to five minutes for a page.
package catalog

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// ErrUsage says that an API that was given, or a place, cannot be used.
var ErrUsage = errors.New("invalid place")

// A Kind is a kind of API that lists repositories.
type Kind string

// The kinds of APIs.
const (
	Catalogue Kind = "catalogue" // the registry's own /v2/_catalog, and no other
	GitHub    Kind = "github"    // packages of an organisation or a user
	GitLab    Kind = "gitlab"    // registry repositories of a group or a project
	Harbor    Kind = "harbor"    // repositories of a project, or of all
	Quay      Kind = "quay"      // repositories of a namespace
	DockerHub Kind = "dockerhub" // repositories of a namespace
)

// Kinds returns all kinds, the registry's own catalogue first.
func Kinds() []Kind { return []Kind{Catalogue, GitHub, GitLab, Harbor, Quay, DockerHub} }

// An API says what lists the repositories of a registry.
type API struct {
	Kind Kind

	// URL is what the paths of the API are below: "https://gitlab.example.com",
	// and of a GitHub Enterprise Server "https://github.example.com/api/v3". Empty
	// means the scheme and host of the registry itself.
	URL string
}

// ParseAPI reads KIND or KIND=URL. Errors wrap [ErrUsage].
func ParseAPI(s string) (API, error) {
	kind, at, told := strings.Cut(s, "=")
	api := API{Kind: Kind(kind), URL: strings.TrimRight(at, "/")}
	if !slices.Contains(Kinds(), api.Kind) {
		return API{}, fmt.Errorf("%w: API %.100q: use catalogue, or github, gitlab, harbor, quay or dockerhub, alone or as KIND=URL", ErrUsage, s)
	}
	if !told {
		return api, nil
	}
	if _, err := parseBase(api.URL); err != nil {
		return API{}, err
	}
	return api, nil
}

func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("%w: %.200q is no URL of an API, such as https://gitlab.example.com", ErrUsage, s)
	}
	return u, nil
}

// public returns the APIs of registries that are known to keep their catalogue closed.
func public(host string) API {
	switch host {
	case "ghcr.io":
		return API{GitHub, "https://api.github.com"}
	case "registry.gitlab.com":
		return API{GitLab, "https://gitlab.com"}
	case "quay.io":
		return API{Quay, "https://quay.io"}
	case "docker.io":
		return API{DockerHub, "https://hub.docker.com"}
	}
	return API{}
}

// Options adjusts [Repositories]. The zero value knows the public registries, and
// finds out about others.
type Options struct {
	// APIs are what lists the repositories of registries, by their hosts as in
	// references. They go before what is known of public registries.
	APIs map[string]API

	// GitHubToken is sent to https://api.github.com, and to no other host that has
	// GitHub's API, where no credential is stored for the registry.
	GitHubToken string
}

// Repositories lists the repositories of the registry on host whose name is prefix or
// lies below it, as ORG/MODEL without the host; an empty prefix lists all. It asks
// the API that opts or this package knows of. Of other registries it asks for the
// catalogue, and, if that is refused, by the place of their token server which API
// they have.
//
// An error ends the list, but for a [NameError], which is of one entry. An
// [AccessError] says that an API wants a credential, or another one.
func Repositories(ctx context.Context, client *remote.Client, host, prefix string, opts Options) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		l := &listing{
			client: client, host: host, prefix: strings.Trim(prefix, "/"), opts: opts,
			yield: yield, seen: make(map[key]struct{}), limit: maxNames,
		}
		if err := l.run(ctx); err != nil && !errors.Is(err, errStop) {
			yield("", err)
		}
	}
}

// A NameError tells of an entry of a list that no repository can be named.
type NameError struct {
	Host string // that lists it
	Name string // as it is listed, fit to show
}

func (e *NameError) Error() string {
	return fmt.Sprintf("%s lists \"%s\", which is no name of a repository", e.Host, e.Name)
}

// Unwrap returns [remote.ErrProtocol].
func (e *NameError) Unwrap() error { return remote.ErrProtocol }

// An AccessError says that an API does not tell who asks what a place has.
type AccessError struct {
	Kind  Kind
	Host  string // of the registry
	Token bool   // a credential was sent
	Err   error

	// GitHubToken says that without a credential for Host [Options.GitHubToken] is
	// sent.
	GitHubToken bool
}

func (e *AccessError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *AccessError) Unwrap() error { return e.Err }

// errStop ends a list whose reader has had enough.
var errStop = errors.New("stop")

// A listing is one run of Repositories.
type listing struct {
	client       *remote.Client
	host, prefix string
	opts         Options
	yield        func(string, error) bool
	seen         map[key]struct{} // names
	limit        int              // of them
}

// A key stands for a text that a list has had, which may be long.
type key [sha256.Size]byte

func keyOf(text string) key { return sha256.Sum256([]byte(text)) }

func (l *listing) run(ctx context.Context) error {
	api, told := l.opts.APIs[l.host]
	if !told {
		api = public(l.host)
	}
	if api.Kind != "" && api.Kind != Catalogue {
		return l.ask(ctx, api, true)
	}
	err := l.catalogue(ctx)
	if err == nil || api.Kind == Catalogue || ctx.Err() != nil || len(l.seen) > 0 || errors.Is(err, errStop) || errors.Is(err, remote.ErrUnreachable) {
		return err
	}
	if api, known := l.probe(ctx); known {
		return l.ask(ctx, api, false)
	}
	return err
}

// catalogue hands on the registry's own list.
func (l *listing) catalogue(ctx context.Context) error {
	for name, err := range l.client.Catalog(ctx, l.host) {
		if err != nil {
			return err
		}
		if err := l.emit(name); err != nil {
			return err
		}
	}
	return nil
}

// emit hands on names that are asked for.
func (l *listing) emit(names ...string) error {
	for _, name := range names {
		if l.prefix != "" && name != l.prefix && !strings.HasPrefix(name, l.prefix+"/") {
			continue
		}
		k := keyOf(name)
		if _, again := l.seen[k]; again {
			continue
		}
		if len(l.seen) >= l.limit {
			return broken("list "+l.host, fmt.Sprintf("more than %d names; an organisation of it, as in %s/ORG, may have fewer", l.limit, l.host))
		}
		l.seen[k] = struct{}{}
		more := false
		if r, err := ref.Parse(l.host + "/" + name); err != nil || r.Name() != r.Host+"/"+name || r.Scheme != "" {
			more = l.yield("", &NameError{Host: l.host, Name: remote.CleanText(name[:min(len(name), ref.MaxRepositoryBytes)])})
		} else {
			more = l.yield(name, nil)
		}
		if !more {
			return errStop
		}
	}
	return nil
}

// probe tells by the path of the registry's token server what it is a part of.
func (l *listing) probe(ctx context.Context) (API, bool) {
	realm, err := l.client.Realm(ctx, l.host)
	if err != nil || realm == nil {
		return API{}, false
	}
	for _, known := range []struct {
		kind Kind
		path string
	}{{Harbor, "/service/token"}, {GitLab, "/jwt/auth"}, {Quay, "/v2/auth"}} {
		if below, ok := strings.CutSuffix(realm.Path, known.path); ok {
			base := url.URL{Scheme: realm.Scheme, Host: realm.Host, Path: below}
			return API{known.kind, base.String()}, true
		}
	}
	return API{}, false
}

// ask lists what an API has. Told says that it was not the registry that named it.
func (l *listing) ask(ctx context.Context, api API, told bool) error {
	if l.prefix == "" && api.Kind != Harbor {
		return fmt.Errorf("%w: %s lists what one organisation has: name it, as in %s/ORG", ErrUsage, l.host, l.host)
	}
	c, err := l.connect(ctx, api, told)
	if err != nil {
		return err
	}
	switch api.Kind {
	case GitHub:
		err = l.gitHub(ctx, c)
	case GitLab:
		err = l.gitLab(ctx, c)
	case Harbor:
		err = l.harbor(ctx, c)
	case Quay:
		err = l.quay(ctx, c)
	case DockerHub:
		err = l.dockerHub(ctx, c)
	default:
		err = fmt.Errorf("%w: API of kind %q", ErrUsage, api.Kind)
	}
	if errors.Is(err, remote.ErrUnauthorized) || errors.Is(err, remote.ErrForbidden) {
		return &AccessError{Kind: api.Kind, Host: l.host, Token: c.header != nil, GitHubToken: c.isGitHub(api.Kind), Err: err}
	}
	return err
}

// connect prepares for requests to an API.
func (l *listing) connect(ctx context.Context, api API, told bool) (*client, error) {
	own, err := l.client.BaseURL(l.host)
	if err != nil {
		return nil, err
	}
	base := own
	if api.URL != "" {
		if base, err = parseBase(api.URL); err != nil {
			return nil, err
		}
	}
	if base.Scheme == "http" && own.Scheme == "https" {
		return nil, fmt.Errorf("%w: the API %s of %s is without TLS, and is not sent its credential", ErrUsage, base.Redacted(), l.host)
	}
	c := &client{base: base, transport: l.client.Transport()}
	if !told || sameOrigin(base, own) {
		if c.transport, err = l.client.TransportFor(l.host); err != nil {
			return nil, err
		}
	}
	c.credential, err = l.client.Credential(ctx, l.host)
	if err != nil {
		return nil, err
	}
	if c.isGitHub(api.Kind) && c.credential.Password == "" {
		c.credential.Password = l.opts.GitHubToken
	}
	return c, nil
}

// isGitHub tells whether an API is that of github.com. An Enterprise Server has the
// same API and tokens of its own.
func (c *client) isGitHub(kind Kind) bool {
	return kind == GitHub && sameOrigin(c.base, &url.URL{Scheme: "https", Host: "api.github.com"})
}

func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && strings.EqualFold(a.Host, b.Host)
}

// notFound tells whether an answer was that there is no such thing.
func notFound(err error) bool {
	e, ok := errors.AsType[*remote.Error](err)
	return ok && e.Status == http.StatusNotFound
}
