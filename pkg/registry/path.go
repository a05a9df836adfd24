package registry

import (
	"strings"

	"github.com/opencontainers/go-digest"
)

// A pathKind is an end point of the OCI Distribution Specification.
type pathKind int

const (
	kindNone pathKind = iota
	kindBase
	kindCatalog
	kindTags
	kindManifest
	kindBlob
	kindUpload
	kindReferrers
)

// A route is what a path below /v2/ asks for.
type route struct {
	kind pathKind
	name string // repository
	ref  string // tag, digest, or the identifier of an upload; may be empty
}

const (
	maxName = 255 // octets, as Distribution has it
	maxTag  = 128 // OCI Distribution Specification, "Pulling manifests"
)

// parsePath reads the path of a request. It is not ok for anything that the
// specification does not define. Because neither a tag, a digest nor an upload
// holds a slash, the last elements decide, and a repository may itself be
// called "a/manifests/b".
func parsePath(path string) (route, bool) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if !ok {
		return route{}, false
	}
	switch rest {
	case "":
		return route{kind: kindBase}, true
	case "_catalog":
		return route{kind: kindCatalog}, true
	}
	if name, ok := strings.CutSuffix(rest, "/tags/list"); ok {
		return named(route{kind: kindTags, name: name})
	}
	if name, ok := strings.CutSuffix(strings.TrimSuffix(rest, "/"), "/blobs/uploads"); ok {
		return named(route{kind: kindUpload, name: name})
	}
	i := strings.LastIndexByte(rest, '/')
	if i < 0 {
		return route{}, false
	}
	return parseItem(rest[:i], rest[i+1:])
}

// parseItem reads the path of one thing in a repository, the last element of
// which is ref.
func parseItem(head, ref string) (route, bool) {
	if name, ok := strings.CutSuffix(head, "/manifests"); ok && (isTag(ref) || isDigest(ref)) {
		return named(route{kind: kindManifest, name: name, ref: ref})
	}
	// A digest that is none is refused by the handler, with the right code.
	if name, ok := strings.CutSuffix(head, "/referrers"); ok && ref != "" {
		return named(route{kind: kindReferrers, name: name, ref: ref})
	}
	if name, ok := strings.CutSuffix(head, "/blobs/uploads"); ok && isUploadID(ref) {
		return named(route{kind: kindUpload, name: name, ref: ref})
	}
	if name, ok := strings.CutSuffix(head, "/blobs"); ok && isDigest(ref) {
		return named(route{kind: kindBlob, name: name, ref: ref})
	}
	return route{}, false
}

func named(rt route) (route, bool) {
	if !isName(rt.name) {
		return route{}, false
	}
	return rt, true
}

// isName reports whether s is a repository name: components of
// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)* joined by slashes.
func isName(s string) bool {
	if len(s) > maxName {
		return false
	}
	for component := range strings.SplitSeq(s, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

func isComponent(s string) bool {
	if s == "" || !isLowerAlnum(s[0]) || !isLowerAlnum(s[len(s)-1]) {
		return false
	}
	for i := 0; i < len(s); {
		if isLowerAlnum(s[i]) {
			i++
			continue
		}
		start := i
		for !isLowerAlnum(s[i]) { // ends: the last byte is one
			i++
		}
		if !isSeparator(s[start:i]) {
			return false
		}
	}
	return true
}

func isSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}

func isLowerAlnum(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}

// isTag reports whether s is [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func isTag(s string) bool {
	return len(s) <= maxTag && isWord(s, "_.-") && s[0] != '.' && s[0] != '-'
}

// isUploadID reports whether Distribution would take s for an upload.
func isUploadID(s string) bool { return isWord(s, "_.-=") }

// isWord reports whether s is letters, digits and the marks, and not empty.
func isWord(s, marks string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLowerAlnum(c) && (c < 'A' || c > 'Z') && strings.IndexByte(marks, c) < 0 {
			return false
		}
	}
	return s != ""
}

func isDigest(s string) bool {
	return digest.Digest(s).Validate() == nil
}
