// Package ref reads and writes references: the names by which users and
// programs mean a model in a registry.
//
//	REF := [SCHEME] NAME [":" TAG] ["@" DIGEST] [REVISION] ["#" VARIANT] ["//" PATH]
//
// for example
//
//	harbor.corp.io/ml/bert:v1.2.0
//	harbor.corp.io/ml/bert@sha256:9f86d081…
//	org/bert:feature/x            (with a default registry)
//	@corp/bert:"^1.2"             (with an alias, and a range of versions)
//	org/bert:main~2               (the version two before main)
//	org/bert:main@{2026-05-03}    (what main was on that day)
//	hf://org/bert//config.json
//
// Like podman's short names, a name without a host stands for exactly one
// registry, that of [Names], and never for a list to try.
//
// What [Parse] returns prints, with [Reference.String], as text that it reads
// as the same reference. Package ref asks no registry and no disk: it does not
// know whether a reference exists.
package ref

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// Limits of the parts of a reference.
const (
	MaxRepositoryBytes = 255 // distribution specification: registries may refuse more, with the host
	MaxTagBytes        = 128 // distribution specification
)

// ErrSyntax is wrapped by every error of this package: what the user typed is
// not a reference.
var ErrSyntax = errors.New("invalid reference")

// Schemes. The empty one means SchemeOCI.
const (
	SchemeOCI         = "oci"
	SchemeHuggingFace = "hf"
	SchemeModelScope  = "ms"
	SchemeOllama      = "ollama"
	SchemeFile        = "file"
	SchemeLayout      = "layout"
)

// A Reference is a name taken apart. The zero value refers to nothing.
type Reference struct {
	// Scheme says where to look: empty for a registry, else one of the
	// Scheme constants but [SchemeOCI].
	Scheme string

	// Host is that of the registry, with its port if it has one. It is empty
	// for schemes that have a host of their own, or none.
	Host string

	// Repository is the name in the registry, and the path on disk for
	// [SchemeFile] and [SchemeLayout].
	Repository string

	// Tag is the tag as the registry stores it: a branch with a slash is
	// encoded, see [EncodeBranch]. Empty means that none was given.
	Tag string

	// Range is a range of semantic versions that stood in quotes in place of
	// the tag, such as "^1.2", without the quotes. Tag is then empty.
	Range string

	// Digest is that of the manifest. Given with Tag, Digest decides.
	Digest digest.Digest

	// Prefix is the beginning of a digest's hex, at least 8 and less than 64
	// digits; whoever resolves it looks for the one digest that has it.
	// Digest is then empty.
	Prefix string

	// Revision says how to go on from the version that tag or digest name, as
	// "~2", "^2" or "@{2026-05-03}"; see [ParseRevision].
	Revision string

	// Variant chooses among the children of an index, as "q4_k_m" or
	// "format=gguf,quant=q4_k_m".
	Variant string

	// Path names one file in the model, slash-separated.
	Path string
}

// Name returns host and repository, without scheme, tag and the rest.
func (r Reference) Name() string {
	if r.Host == "" {
		return r.Repository
	}
	return r.Host + "/" + r.Repository
}

// String returns the reference as text that [Parse] reads as r, if r is what
// [Parse] returned.
func (r Reference) String() string {
	var b strings.Builder
	if r.Scheme != "" {
		b.WriteString(r.Scheme + "://")
	}
	b.WriteString(r.Name())
	switch {
	case r.Tag != "":
		b.WriteString(":" + r.Tag)
	case r.Range != "":
		b.WriteString(`:"` + r.Range + `"`)
	}
	switch {
	case r.Digest != "":
		b.WriteString("@" + r.Digest.String())
	case r.Prefix != "":
		b.WriteString("@" + r.Prefix)
	}
	b.WriteString(r.Revision)
	if r.Variant != "" {
		b.WriteString("#" + r.Variant)
	}
	if r.Path != "" {
		b.WriteString("//" + r.Path)
	}
	return b.String()
}

// WithDigest returns r pinned to a digest. It keeps the tag, for people to
// read: where both are given, the digest decides. A tag that a revision started
// from is not kept, since it names another version.
func (r Reference) WithDigest(d digest.Digest) Reference {
	if r.Revision != "" {
		r.Tag = ""
	}
	r.Digest, r.Prefix, r.Range, r.Revision = d, "", "", ""
	return r
}

// WithTag returns r with this tag in place of tag, range, digest and revision.
func (r Reference) WithTag(tag string) Reference {
	r.Tag, r.Range, r.Digest, r.Prefix, r.Revision = tag, "", "", "", ""
	return r
}

// wrap makes err one of this package's, about s.
func wrap(s string, err error) error {
	return fmt.Errorf("%w %.200q: %w", ErrSyntax, s, err)
}
