package ref

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
)

// maxBytes bounds a whole reference, before anything of it is looked at.
const maxBytes = 4096

// Names says what names without a host stand for. The zero value gives them no
// meaning.
type Names struct {
	// Default is the registry of short names, as "host" or "host/prefix". A
	// host without a dot needs its port, for "registry/bert" would not be
	// read as it was printed.
	Default string

	// Aliases are the registries of names that begin with "@": with "corp"
	// for "harbor.corp.io/ml", "@corp/org/bert" is
	// "harbor.corp.io/ml/org/bert".
	Aliases map[string]string
}

// Parse reads a reference that stands by itself: a short name, which only
// [Names] could complete, is an error. So is every alias.
func Parse(s string) (Reference, error) {
	return Names{}.Parse(s)
}

// Parse reads a reference, and completes names without a host.
func (n Names) Parse(s string) (Reference, error) {
	r, err := n.parse(s)
	if err != nil {
		return Reference{}, wrap(s, err)
	}
	return r, nil
}

func (n Names) parse(s string) (Reference, error) {
	if err := checkText(s); err != nil {
		return Reference{}, err
	}
	var r Reference
	rest, err := r.cutScheme(s)
	if err != nil {
		return Reference{}, err
	}
	if r.Scheme == SchemeFile {
		r.Repository = rest
		if rest == "" {
			return Reference{}, fmt.Errorf("no path on disk")
		}
		return r, nil
	}
	for _, cut := range []func(string) (string, error){r.cutPath, r.cutVariant, r.cutRevision, r.cutDigest} {
		if rest, err = cut(rest); err != nil {
			return Reference{}, err
		}
	}
	if r.Scheme == SchemeLayout {
		err = r.setLayout(rest)
	} else {
		err = n.setName(&r, rest)
	}
	return r, err
}

func checkText(s string) error {
	if s == "" {
		return fmt.Errorf("it is empty")
	}
	if len(s) > maxBytes {
		return fmt.Errorf("longer than %d bytes", maxBytes)
	}
	for _, c := range s {
		if unicode.IsControl(c) || c == utf8.RuneError {
			return fmt.Errorf("a control character or invalid UTF-8")
		}
	}
	return nil
}

func (r *Reference) cutScheme(s string) (string, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || !only(scheme, alphanumeric+"+.-") {
		return s, nil
	}
	switch scheme {
	case SchemeOCI:
	case SchemeHuggingFace, SchemeModelScope, SchemeOllama, SchemeFile, SchemeLayout:
		r.Scheme = scheme
	case "http", "https", "docker":
		return "", fmt.Errorf("a registry is named without %s://", scheme)
	default:
		return "", fmt.Errorf("unknown scheme %q; known are oci, hf, ms, ollama, file, layout", scheme)
	}
	return rest, nil
}

func (r *Reference) cutPath(s string) (string, error) {
	// An absolute path on disk may begin with two slashes.
	i := strings.Index(s[min(1, len(s)):], "//")
	if i < 0 {
		return s, nil
	}
	i++
	r.Path = s[i+2:]
	if r.Path == "." || !fs.ValidPath(r.Path) {
		return "", fmt.Errorf("after // comes the path of a file in the model, without empty, . or .. elements")
	}
	return s[:i], nil
}

func (r *Reference) cutVariant(s string) (string, error) {
	rest, variant, ok := strings.Cut(s, "#")
	if !ok {
		return s, nil
	}
	if variant == "" || !only(variant, alphanumeric+"._=,+-") {
		return "", fmt.Errorf("after # comes a variant, such as q4_k_m or format=gguf,quant=q4_k_m")
	}
	r.Variant = variant
	return rest, nil
}

func (r *Reference) cutDigest(s string) (string, error) {
	i := strings.LastIndexByte(s, '@')
	if i <= 0 || strings.ContainsAny(s[i:], `/\`) {
		return s, nil // the @ of an alias, or of a directory's name
	}
	return s[:i], r.setDigest(s[i+1:])
}

func (r *Reference) setDigest(s string) error {
	alg, hex, ok := strings.Cut(s, ":")
	if !ok {
		alg, hex = "", s
	}
	if hex == "" || !only(hex, "0123456789abcdef") {
		return fmt.Errorf("after @ comes a digest: sha256: and 64 digits or a to f in lower case")
	}
	switch {
	case (alg == "sha256" || alg == "") && len(hex) == 64:
		r.Digest = digest.NewDigestFromEncoded(digest.SHA256, hex)
	case alg == "sha512" && len(hex) == 128:
		r.Digest = digest.NewDigestFromEncoded(digest.SHA512, hex)
	case alg == "" && len(hex) >= minPrefix && len(hex) < 64:
		r.Prefix = hex
	case alg == "":
		return fmt.Errorf("an abbreviated digest has %d to 64 digits, not %d", minPrefix, len(hex))
	case alg == "sha256" || alg == "sha512":
		return fmt.Errorf("%s has %d digits, not %d; an abbreviated digest is written without its algorithm",
			alg, map[string]int{"sha256": 64, "sha512": 128}[alg], len(hex))
	default:
		return fmt.Errorf("unknown digest algorithm %q; known are sha256 and sha512", alg)
	}
	return nil
}

// minPrefix is the fewest digits of an abbreviated digest.
const minPrefix = 8

// setLayout reads DIR[:TAG]. A colon followed by a separator belongs to the
// directory, as in C:\models.
func (r *Reference) setLayout(s string) error {
	r.Repository = s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.ContainsAny(s[i:], `/\`) {
		r.Repository = s[:i]
		if err := r.setTag(s[i+1:]); err != nil {
			return err
		}
	}
	if r.Repository == "" {
		return fmt.Errorf("no directory")
	}
	return nil
}

// setName reads [HOST/]NAME[:TAG].
func (n Names) setName(r *Reference, s string) error {
	host, rest, err := n.cutHost(r.Scheme, s)
	if err != nil {
		return err
	}
	repo, tag, tagged := strings.Cut(rest, ":")
	if tagged {
		if err := r.setTag(tag); err != nil {
			return err
		}
	}
	if host == "index.docker.io" {
		host = dockerHub
	}
	r.Host, r.Repository = host, repo
	if r.Scheme != "" {
		return checkForeignName(repo)
	}
	// Docker's own images have no organisation, and are stored below one.
	if host == dockerHub && !strings.Contains(repo, "/") {
		r.Repository = "library/" + repo
	}
	return checkRepository(r.Repository)
}

// dockerHub is the one registry whose names docker completes.
const dockerHub = "docker.io"

// cutHost takes the host off a name, or finds out what it should be.
func (n Names) cutHost(scheme, s string) (host, rest string, err error) {
	if scheme == SchemeHuggingFace || scheme == SchemeModelScope {
		return "", s, nil
	}
	first, after, slash := strings.Cut(s, "/")
	if alias, ok := strings.CutPrefix(first, "@"); ok && scheme == "" {
		base, known := n.Aliases[alias]
		if !known {
			return "", "", fmt.Errorf("unknown registry alias @%s%s", alias, n.knownAliases())
		}
		return join("registry alias @"+alias, base, after)
	}
	if slash && looksLikeHost(first) {
		host, err := cleanHost(first)
		return host, after, err
	}
	if scheme == SchemeOllama || s == "" || s[0] == ':' {
		return "", s, nil
	}
	if n.Default == "" {
		return "", "", fmt.Errorf("no registry host, and no default registry is set; write it as HOST/%s", s)
	}
	return join("default registry", n.Default, s)
}

func (n Names) knownAliases() string {
	if len(n.Aliases) == 0 {
		return "; none are set"
	}
	var known []string
	for a := range n.Aliases {
		known = append(known, "@"+a)
	}
	slices.Sort(known)
	return "; known are " + strings.Join(known, ", ")
}

// join puts name below base, which is a host or a host and a prefix.
func join(what, base, name string) (host, rest string, err error) {
	host, prefix, _ := strings.Cut(strings.Trim(base, "/"), "/")
	if !looksLikeHost(host) {
		return "", "", fmt.Errorf("%s %q does not begin with a host; one without a dot needs its port, as in registry:443", what, base)
	}
	if host, err = cleanHost(host); err != nil {
		return "", "", fmt.Errorf("%s %q: %w", what, base, err)
	}
	if prefix != "" {
		if err := checkRepository(prefix); err != nil {
			return "", "", fmt.Errorf("%s %q: %w", what, base, err)
		}
		name = prefix + "/" + name
	}
	return host, name, nil
}
