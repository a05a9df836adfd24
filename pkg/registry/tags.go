package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/distribution/distribution/v3"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// queryAll shows the referrers tags in a list of tags.
const queryAll = "modelreg_all"

type tagList struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// serveTags answers GET /v2/<name>/tags/list (OCI Distribution Specification,
// "Listing Tags"). Referrers tags are taken out before pages are cut, so that
// a page is never short of what n asks for.
func (r *Registry) serveTags(w http.ResponseWriter, req *http.Request, rt route) {
	query := req.URL.Query()
	limit := -1
	if n := query.Get("n"); n != "" {
		var err error
		if limit, err = strconv.Atoi(n); err != nil || limit < 0 {
			writeError(w, http.StatusBadRequest, codePaginationNumber, "n must be a number of tags")
			return
		}
	}
	tags, err := r.tags(req.Context(), rt.name, query.Get(queryAll) == "1")
	if _, ok := errors.AsType[distribution.ErrRepositoryUnknown](err); ok {
		writeError(w, http.StatusNotFound, codeNameUnknown, "repository name not known to registry")
		return
	}
	if err != nil {
		r.fail(w, err)
		return
	}
	page, more := cutPage(tags, query.Get("last"), limit)
	if more {
		query.Set("last", page[len(page)-1])
		setNext(w, req.URL.Path, query)
	}
	writeJSON(w, http.StatusOK, "application/json", tagList{Name: rt.name, Tags: page})
}

// cutPage returns at most limit of the sorted tags, from the first after last.
// A negative limit means all.
func cutPage(tags []string, last string, limit int) (page []string, more bool) {
	if last != "" {
		i, found := slices.BinarySearch(tags, last)
		if found {
			i++
		}
		tags = tags[i:]
	}
	if limit < 0 || limit >= len(tags) {
		return tags, false
	}
	return tags[:limit], limit > 0
}

// tags returns the tags of a repository, sorted, never nil.
func (r *Registry) tags(ctx context.Context, name string, all bool) ([]string, error) {
	repo, err := r.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	tags, err := repo.Tags(ctx).All(ctx)
	if err != nil {
		return nil, err
	}
	if !all {
		tags = slices.DeleteFunc(tags, isReferrersTag)
	}
	return tags, nil
}

// setNext points to the next page (RFC 5988, as the specification has it).
func setNext(w http.ResponseWriter, path string, query url.Values) {
	next := url.URL{Path: path, RawQuery: query.Encode()}
	w.Header().Set("Link", fmt.Sprintf("<%s>; rel=%q", next.String(), "next"))
}

func (r *Registry) repository(ctx context.Context, name string) (distribution.Repository, error) {
	ref, err := reference.WithName(name)
	if err != nil {
		return nil, fmt.Errorf("open repository: %w", err)
	}
	return r.content.Repository(ctx, ref)
}

const maxTagHex = 64 // digits of a digest in a referrers tag

// referrersTag is the tag under which clients without the API keep the list of
// what refers to dgst (OCI Distribution Specification, "Referrers Tag Schema").
func referrersTag(dgst digest.Digest) string {
	algorithm, hex := dgst.Algorithm().String(), dgst.Encoded()
	return algorithm[:min(len(algorithm), 32)] + "-" + hex[:min(len(hex), maxTagHex)]
}

// isReferrersTag reports whether tag has the form that [referrersTag] gives.
// The tags of cosign, which end in .sig and the like, have not.
func isReferrersTag(tag string) bool {
	for _, algorithm := range []digest.Algorithm{digest.SHA256, digest.SHA384, digest.SHA512} {
		hex, ok := strings.CutPrefix(tag, algorithm.String()+"-")
		if ok && len(hex) == maxTagHex && strings.Trim(hex, "0123456789abcdef") == "" {
			return true
		}
	}
	return false
}
