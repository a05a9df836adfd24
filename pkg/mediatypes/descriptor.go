package mediatypes

import (
	_ "crypto/sha256" // go-digest hashes only with what is linked in
	_ "crypto/sha512"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// descriptor is a descriptor as it stands on the wire.
type descriptor struct {
	MediaType    string            `json:"mediaType"`
	Digest       string            `json:"digest"`
	Size         *int64            `json:"size"`
	URLs         []string          `json:"urls"`
	Annotations  annotations       `json:"annotations"`
	Data         []byte            `json:"data"`
	Platform     *ocispec.Platform `json:"platform"`
	ArtifactType string            `json:"artifactType"`

	// Name is Ollama's, for a tensor or a config file.
	Name string `json:"name"`
}

// descriptors is a list that is not read past the number that any document may
// have: an empty object takes three bytes there and a hundred times that here.
type descriptors []descriptor

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (d *descriptors) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return readUpTo(dec, '[', MaxLayers, func() error {
		var elem descriptor
		if err := json.UnmarshalDecode(dec, &elem); err != nil {
			return err
		}
		*d = append(*d, elem)
		return nil
	})
}

// annotations is a map that is not read past its limit either.
type annotations map[string]string

// UnmarshalJSONFrom implements [json.UnmarshalerFrom].
func (a *annotations) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	return readUpTo(dec, '{', MaxAnnotations, func() error {
		var key, value string
		if err := json.UnmarshalDecode(dec, &key); err != nil {
			return err
		}
		if err := json.UnmarshalDecode(dec, &value); err != nil {
			return err
		}
		if key == "" || len(key) > MaxAnnotationBytes || len(value) > MaxAnnotationBytes {
			return malformed("annotation %.80q without a key, or longer than %d bytes", key, MaxAnnotationBytes)
		}
		if *a == nil {
			*a = annotations{}
		}
		(*a)[key] = value
		return nil
	})
}

// readUpTo reads an array or object with at most limit elements. Null is an
// empty one.
func readUpTo(dec *jsontext.Decoder, open jsontext.Kind, limit int, read func() error) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case 'n':
		return nil
	case open:
	default:
		return malformed("%s where %s belongs", token.Kind(), open)
	}
	for n := 0; ; n++ {
		if kind := dec.PeekKind(); kind == ']' || kind == '}' {
			_, err := dec.ReadToken()
			return err
		}
		if n == limit {
			return malformed("more than %d elements", limit)
		}
		if err := read(); err != nil {
			return err
		}
	}
}

// check turns a descriptor from outside into one that can be relied on.
func (d *descriptor) check() (ocispec.Descriptor, error) {
	var none ocispec.Descriptor
	if d.MediaType == "" {
		return none, malformed("no mediaType")
	}
	if err := checkMediaTypes(d.MediaType, d.ArtifactType); err != nil {
		return none, err
	}
	dgst := digest.Digest(d.Digest)
	if !validDigest(d.Digest) {
		return none, malformed("digest %.80q is not sha256 or sha512 in lower-case hex", d.Digest)
	}
	if d.Size == nil || *d.Size < 0 || *d.Size > MaxBlobBytes {
		return none, malformed("%s: no size between 0 and 2^53", dgst)
	}
	if len(d.URLs) > 0 {
		return none, malformed("%s: foreign urls are not followed", dgst)
	}
	if d.Data != nil && (int64(len(d.Data)) != *d.Size || dgst.Algorithm().FromBytes(d.Data) != dgst) {
		return none, malformed("%s: embedded data is not what digest and size say", dgst)
	}
	return ocispec.Descriptor{
		MediaType:    d.MediaType,
		Digest:       dgst,
		Size:         *d.Size,
		Annotations:  d.titled(),
		Data:         d.Data,
		Platform:     d.Platform,
		ArtifactType: d.ArtifactType,
	}, nil
}

// titled puts Ollama's name of a layer where everybody else has it.
func (d *descriptor) titled() map[string]string {
	a := d.Annotations
	if d.Name == "" || a[AnnotationTitle] != "" || !strings.HasPrefix(d.MediaType, prefixOllama) {
		return a
	}
	if a == nil {
		a = annotations{}
	}
	a[AnnotationTitle] = d.Name
	return a
}

// validDigest is stricter than go-digest, which takes sha384 too.
func validDigest(s string) bool {
	alg, hex, _ := strings.Cut(s, ":")
	switch {
	case alg == "sha256" && len(hex) == 64:
	case alg == "sha512" && len(hex) == 128:
	default:
		return false
	}
	return strings.Trim(hex, "0123456789abcdef") == ""
}

// checkMediaTypes keeps out what could break a header or a terminal. It does
// not insist on RFC 6838, since types such as "text/plain; charset=utf-8" are
// in use.
func checkMediaTypes(types ...string) error {
	for _, s := range types {
		if len(s) > maxMediaTypeBytes {
			return malformed("media type of %d bytes, more than %d", len(s), maxMediaTypeBytes)
		}
		for i := range len(s) {
			if s[i] < ' ' || s[i] > '~' {
				return malformed("media type %q", s)
			}
		}
	}
	return nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}
