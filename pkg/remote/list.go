package remote

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"net/http"

	"oras.land/oras-go/v2/errdef"
	orasremote "oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
)

const (
	maxPages         = 10_000 // of one list that are asked for
	maxReferrerPages = 1_000
)

// errStop ends a list whose reader has had enough.
var errStop = errors.New("stop")

// Tags lists the repository's tags, in the registry's order.
func (r *Repository) Tags(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		list := r.lister()
		pages(yield, r.op("list tags of"), func(fn func([]string) error) error {
			return list.Tags(withEndpoint(ctx, r.at), "", fn)
		})
	}
}

// lister returns oras-go's repository for one list.
func (r *Repository) lister() *orasremote.Repository {
	return &orasremote.Repository{
		Client:               &pager{next: r.client.auth(quick), op: r.op("list")},
		Reference:            r.ref,
		PlainHTTP:            r.at.scheme == "http",
		TagListMaxPages:      maxPages,
		ReferrerListMaxPages: maxReferrerPages,
	}
}

// pages feeds the entries of a paged list to yield.
func pages(yield func(string, error) bool, op string, list func(fn func([]string) error) error) {
	err := list(func(page []string) error {
		for _, entry := range page {
			if !yield(entry, nil) {
				return errStop
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStop) {
		yield("", listError(op, err))
	}
}

func listError(op string, err error) error {
	if errors.Is(err, errdef.ErrTooManyPages) {
		return &Error{Op: op, Text: "the list does not end", Class: ErrProtocol, cause: err}
	}
	return requestError(op, err)
}

// A pager carries the requests for the pages of one list, and ends it when it
// goes in circles.
type pager struct {
	next *auth.Client
	op   string
	seen map[[sha256.Size]byte]struct{}
}

// Do implements oras-go's remote.Client.
func (p *pager) Do(req *http.Request) (*http.Response, error) {
	if p.seen == nil {
		p.seen = make(map[[sha256.Size]byte]struct{})
	}
	key := sha256.Sum256([]byte(req.URL.String()))
	if _, again := p.seen[key]; again || len(p.seen) >= maxPages {
		return nil, fmt.Errorf("%s: %w", p.op, errdef.ErrTooManyPages)
	}
	p.seen[key] = struct{}{}
	return p.next.Do(req)
}
