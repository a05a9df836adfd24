package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"go.yaml.in/yaml/v4"

	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	apiVersion = "policy.sigstore.dev/v1beta1"
	kindPolicy = "ClusterImagePolicy"
)

// file is a document as it is written. Fields that are not here are refused.
type file struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name        string            `yaml:"name"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Spec struct {
		Mode   string `yaml:"mode"`
		Images []struct {
			Glob string `yaml:"glob"`
		} `yaml:"images"`
		Authorities []fileAuthority `yaml:"authorities"`
	} `yaml:"spec"`
}

type fileAuthority struct {
	Name            string            `yaml:"name"`
	Key             *fileKey          `yaml:"key"`
	Keyless         *fileKeyless      `yaml:"keyless"`
	Static          *fileStatic       `yaml:"static"`
	CTLog           *fileRoot         `yaml:"ctlog"`
	Timestamp       *fileRoot         `yaml:"rfc3161timestamp"`
	SignatureFormat string            `yaml:"signatureFormat"`
	Attestations    []fileAttestation `yaml:"attestations"`
}

type fileKey struct {
	Data          string `yaml:"data"`
	HashAlgorithm string `yaml:"hashAlgorithm"`
}

type fileKeyless struct {
	Identities        []fileIdentity `yaml:"identities"`
	TrustRootRef      string         `yaml:"trustRootRef"`
	CACert            *fileKey       `yaml:"ca-cert"`
	InsecureIgnoreSCT bool           `yaml:"insecureIgnoreSCT"`
}

type fileIdentity struct {
	Issuer        string `yaml:"issuer"`
	IssuerRegExp  string `yaml:"issuerRegExp"`
	Subject       string `yaml:"subject"`
	SubjectRegExp string `yaml:"subjectRegExp"`
}

type fileStatic struct {
	Action  string `yaml:"action"`
	Message string `yaml:"message"`
}

type fileRoot struct {
	TrustRootRef string `yaml:"trustRootRef"`
}

type fileAttestation struct {
	Name          string `yaml:"name"`
	PredicateType string `yaml:"predicateType"`
}

// Parse reads a policy. Everything that it does not know, that contradicts
// itself, or that would accept more than it seems to, is an error that wraps
// [ErrInvalid] and names the document and the field.
func Parse(raw []byte) (*Policy, error) {
	p := &Policy{dgst: digest.FromBytes(raw)}
	nodes, err := documents(raw)
	if err != nil {
		return nil, invalid(err)
	}
	for i, n := range nodes {
		var f file
		if err := n.Load(&f, yaml.WithKnownFields(), yaml.WithUniqueKeys()); err != nil {
			return nil, invalid(fmt.Errorf("document %d: %w", i+1, yamlError(err)))
		}
		d, err := f.document()
		if err == nil && slices.ContainsFunc(p.Documents, func(o Document) bool { return o.Name == d.Name }) {
			err = fmt.Errorf("metadata.name: another document has this name")
		}
		if err != nil {
			return nil, invalid(fmt.Errorf("document %d (%q): %w", i+1, f.Metadata.Name, err))
		}
		p.Documents = append(p.Documents, d)
	}
	return p, nil
}

func invalid(err error) error { return fmt.Errorf("%w: %w", ErrInvalid, err) }

// documents reads YAML that has neither aliases nor types of its own.
func documents(raw []byte) ([]*yaml.Node, error) {
	switch {
	case len(raw) > MaxBytes:
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), MaxBytes)
	case !utf8.Valid(raw):
		return nil, errors.New("not UTF-8")
	}
	l, err := yaml.NewLoader(bytes.NewReader(raw), yaml.WithUniqueKeys())
	if err != nil {
		return nil, yamlError(err)
	}
	var out []*yaml.Node
	for {
		n := &yaml.Node{}
		err := l.Load(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, yamlError(err)
		}
		if isEmpty(n) { // nothing but comments between two separators
			continue
		}
		left := maxNodes
		if err := plain(n, maxDepth, &left); err != nil {
			return nil, err
		}
		if out = append(out, n); len(out) > MaxDocuments {
			return nil, fmt.Errorf("more than %d documents", MaxDocuments)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no document in it: nothing would be allowed")
	}
	return out, nil
}

func isEmpty(n *yaml.Node) bool {
	if n.Kind == yaml.DocumentNode {
		return len(n.Content) == 0 || isEmpty(n.Content[0])
	}
	return n.IsZero() || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// plain refuses what makes YAML mean something else than it seems to: aliases,
// merged keys, tags, null. What is left is the JSON that a cluster is given.
func plain(n *yaml.Node, depth int, left *int) error {
	if depth == 0 {
		return fmt.Errorf("line %d: more than %d levels", n.Line, maxDepth)
	}
	if *left--; *left < 0 {
		return fmt.Errorf("line %d: more than %d values", n.Line, maxNodes)
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return fmt.Errorf("line %d: anchors and aliases are not allowed: write it out", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Errorf("line %d: the tag %s is not allowed", n.Line, n.Tag)
	case n.ShortTag() == "!!null":
		return fmt.Errorf("line %d: a key without a value", n.Line)
	case n.ShortTag() == "!!merge":
		return fmt.Errorf("line %d: << is not allowed: write it out", n.Line)
	}
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 1 && isTextMap(n.Content[i-1].Value) {
			if err := texts(c); err != nil {
				return err
			}
		}
		if err := plain(c, depth-1, left); err != nil {
			return err
		}
	}
	return nil
}

// isTextMap names the fields whose values a cluster takes as text only.
func isTextMap(key string) bool { return key == "annotations" || key == "labels" }

func texts(n *yaml.Node) error {
	if n.Kind != yaml.MappingNode {
		return nil // what it is to be says the decoder
	}
	for i := 1; i < len(n.Content); i += 2 {
		if v := n.Content[i]; v.ShortTag() != "!!str" {
			return fmt.Errorf("line %d: %s: write the value in quotes: a cluster takes text only", v.Line, n.Content[i-1].Value)
		}
	}
	return nil
}

// yamlError is what the parser says, on one line.
func yamlError(err error) error {
	text := strings.ReplaceAll(strings.TrimPrefix(err.Error(), "yaml: "), "\n", ";")
	return errors.New(strings.Join(strings.Fields(text), " "))
}

var objectName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

func (f *file) document() (Document, error) {
	d := Document{Name: f.Metadata.Name}
	switch {
	case f.APIVersion != apiVersion:
		return d, fmt.Errorf("apiVersion: %q is not %q", f.APIVersion, apiVersion)
	case f.Kind != kindPolicy:
		return d, fmt.Errorf("kind: %q is not %q", f.Kind, kindPolicy)
	case !objectName.MatchString(d.Name):
		return d, errors.New("metadata.name: give one of lower-case letters, digits, dots and dashes")
	}
	switch f.Spec.Mode {
	case "", "enforce":
	case "warn":
		d.Warn = true
	default:
		return d, fmt.Errorf("spec.mode: %q is neither enforce nor warn", f.Spec.Mode)
	}
	var err error
	if d.Conditions, err = conditions(f.Metadata.Annotations); err != nil {
		return d, fmt.Errorf("metadata.annotations: %w", err)
	}
	if err := d.addGlobs(f); err != nil {
		return d, err
	}
	if n := len(f.Spec.Authorities); n == 0 || n > maxAuthorities {
		return d, fmt.Errorf("spec.authorities: %d of them: give 1 to %d", n, maxAuthorities)
	}
	for i, fa := range f.Spec.Authorities {
		a, err := fa.authority(i)
		if err != nil {
			return d, fmt.Errorf("spec.authorities[%d]: %w", i, err)
		}
		d.Authorities = append(d.Authorities, a)
	}
	return d, d.lint()
}

func (d *Document) addGlobs(f *file) error {
	if n := len(f.Spec.Images); n == 0 || n > maxGlobs {
		return fmt.Errorf("spec.images: %d globs: give 1 to %d", n, maxGlobs)
	}
	for i, image := range f.Spec.Images {
		g, err := compileImage(image.Glob)
		if err != nil {
			return fmt.Errorf("spec.images[%d]: %w", i, err)
		}
		d.Globs, d.globs = append(d.Globs, image.Glob), append(d.globs, g)
	}
	return nil
}

func (fa *fileAuthority) authority(i int) (Authority, error) {
	a := Authority{Name: fa.Name, Format: fa.SignatureFormat}
	if a.Name == "" {
		a.Name = fmt.Sprintf("authority-%d", i)
	}
	switch a.Format {
	case "", "bundle", "legacy":
	default:
		return a, fmt.Errorf("signatureFormat: %q is neither bundle nor legacy", a.Format)
	}
	var err error
	switch {
	case countTrue(fa.Key != nil, fa.Keyless != nil, fa.Static != nil) != 1:
		err = errors.New("give one of key, keyless and static")
	case fa.Static != nil:
		err = fa.static(&a)
	case fa.Key != nil:
		err = fa.key(&a)
	default:
		err = fa.keyless(&a)
	}
	if err != nil {
		return a, err
	}
	for i, at := range fa.Attestations {
		if !isURI(at.PredicateType) {
			return a, fmt.Errorf("attestations[%d].predicateType: %q is no URI: short names are for command lines", i, at.PredicateType)
		}
		if at.Name == "" {
			return a, fmt.Errorf("attestations[%d].name: missing", i)
		}
		a.Attestations = append(a.Attestations, Requirement(at))
	}
	return a, nil
}

func (fa *fileAuthority) static(a *Authority) error {
	if fa.CTLog != nil || fa.Timestamp != nil || fa.SignatureFormat != "" || len(fa.Attestations) > 0 {
		return errors.New("static: goes with nothing but a name")
	}
	if fa.Static.Action != "pass" && fa.Static.Action != "fail" {
		return fmt.Errorf("static.action: %q is neither pass nor fail", fa.Static.Action)
	}
	a.Static, a.Message = fa.Static.Action, fa.Static.Message
	return nil
}

func (fa *fileAuthority) key(a *Authority) error {
	if !strings.HasPrefix(strings.TrimSpace(fa.Key.Data), "-----BEGIN ") {
		return errors.New("key.data: must be the public key itself, in PEM: a policy fetches no keys")
	}
	if h := fa.Key.HashAlgorithm; h != "" && h != "sha256" {
		return fmt.Errorf("key.hashAlgorithm: %q is not sha256", h)
	}
	k, err := signing.LoadPublicKey([]byte(fa.Key.Data))
	if err != nil {
		return fmt.Errorf("key.data: %w", err)
	}
	a.Keys = []*signing.PublicKey{k}
	return fa.roots(a)
}

func (fa *fileAuthority) keyless(a *Authority) error {
	if len(fa.Keyless.Identities) == 0 {
		return errors.New("keyless.identities: missing: without them anybody with a certificate would count")
	}
	var ids []signing.Identity
	for i, id := range fa.Keyless.Identities {
		if err := id.check(fa.Keyless.CACert != nil); err != nil {
			return fmt.Errorf("keyless.identities[%d]: %w", i, err)
		}
		ids = append(ids, signing.Identity{
			Issuer: id.Issuer, Subject: id.Subject, IssuerRegexp: id.IssuerRegExp, SubjectRegexp: id.SubjectRegExp,
		})
	}
	a.TrustRoot, a.IgnoreSCT = fa.Keyless.TrustRootRef, fa.Keyless.InsecureIgnoreSCT
	if a.TrustRoot != "" && !objectName.MatchString(a.TrustRoot) {
		return fmt.Errorf("keyless.trustRootRef: %q is no name", a.TrustRoot)
	}
	if fa.Keyless.CACert == nil {
		a.Identities = ids
		return fa.roots(a)
	}
	if err := fa.certified(a); err != nil {
		return err
	}
	a.CA.Identities = ids
	return fa.roots(a)
}

// certified reads the private authorities whose certificates count.
func (fa *fileAuthority) certified(a *Authority) error {
	ca := fa.Keyless.CACert
	switch {
	case a.TrustRoot != "":
		return errors.New("keyless.ca-cert: goes with no keyless.trustRootRef, which has authorities of its own: rfc3161timestamp.trustRootRef names who tells the time")
	case !strings.HasPrefix(strings.TrimSpace(ca.Data), "-----BEGIN "):
		return errors.New("keyless.ca-cert.data: must be the certificates themselves, in PEM: a policy fetches none")
	case ca.HashAlgorithm != "":
		return errors.New("keyless.ca-cert.hashAlgorithm: a certificate says that itself")
	}
	var err error
	if a.CA, err = signing.ParseAuthorities([]byte(ca.Data)); err != nil {
		return fmt.Errorf("keyless.ca-cert.data: %w", err)
	}
	return nil
}

// roots reads which logs and timestamps are asked for. An authority has one
// trusted root, which is a file with all that it takes.
func (fa *fileAuthority) roots(a *Authority) error {
	fields := []string{"ctlog", "rfc3161timestamp"}
	for i, r := range []*fileRoot{fa.CTLog, fa.Timestamp} {
		field := fields[i]
		switch {
		case r == nil || r.TrustRootRef == "":
		case !objectName.MatchString(r.TrustRootRef):
			return fmt.Errorf("%s.trustRootRef: %q is no name", field, r.TrustRootRef)
		case a.TrustRoot != "" && a.TrustRoot != r.TrustRootRef, fa.Keyless != nil && a.CA == nil && a.TrustRoot == "":
			return fmt.Errorf("%s.trustRootRef: %q is another trusted root than that of this authority, which can have one", field, r.TrustRootRef)
		default:
			a.TrustRoot = r.TrustRootRef
		}
	}
	a.Log = fa.CTLog != nil && fa.CTLog.TrustRootRef != ""
	a.IgnoreLog = fa.Keyless != nil && fa.CTLog != nil && fa.CTLog.TrustRootRef == "" // as upstream
	a.Timestamp = fa.Timestamp != nil
	return nil
}

// check demands who and by whom, each in one way, and expressions that mean the
// whole text. In a certificate of a private authority nobody else need vouch.
func (id fileIdentity) check(private bool) error {
	if n := countTrue(id.Issuer != "", id.IssuerRegExp != ""); n != 1 && (n != 0 || !private) {
		return errors.New("give one of issuer and issuerRegExp")
	}
	if (id.Subject == "") == (id.SubjectRegExp == "") {
		return errors.New("give one of subject and subjectRegExp")
	}
	if err := checkRegexp(id.IssuerRegExp); err != nil {
		return fmt.Errorf("issuerRegExp: %w", err)
	}
	if err := checkRegexp(id.SubjectRegExp); err != nil {
		return fmt.Errorf("subjectRegExp: %w", err)
	}
	return nil
}

func countTrue(all ...bool) int {
	n := 0
	for _, b := range all {
		if b {
			n++
		}
	}
	return n
}

func isURI(s string) bool {
	scheme, rest, ok := strings.Cut(s, ":")
	return ok && scheme != "" && rest != "" && nameGlob.MatchString(s)
}
