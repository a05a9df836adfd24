// Package admission writes a policy in the languages in which a Kubernetes
// cluster decides what it runs, so that what a pull refuses is not mounted
// either.
//
// Admission controllers look at the images of containers. Models come into a
// cluster by other ways too: as image volumes, spec.volumes[].image.reference
// of pods and of everything that has a template of pods, as volumes of ModelPack's
// CSI driver, and as URIs in custom resources, such as storageUri of KServe's
// InferenceService. What [Generate]
// writes looks at all of them, as far as the engine can, and what an engine
// cannot do is said in comments at the head of its objects: they are to be read.
//
// Only what a policy says of repositories and authorities has a form in a
// cluster. Conditions on the model itself, such as formats and licences, are
// checked by modelreg alone. Nothing here reads files or asks anybody, and the
// same policy gives the same text.
package admission

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// An Engine decides what a cluster admits.
type Engine string

// The engines.
const (
	Kyverno          Engine = "kyverno"           // ImageValidatingPolicy of Kyverno 1.16 and later
	PolicyController Engine = "policy-controller" // ClusterImagePolicy of sigstore's policy-controller
	VAP              Engine = "vap"               // ValidatingAdmissionPolicy, part of Kubernetes
)

// Engines lists all engines.
func Engines() []Engine { return []Engine{Kyverno, PolicyController, VAP} }

// ErrUnsupported says that an engine has no form for what a policy says.
var ErrUnsupported = errors.New("not supported by the admission controller")

// Options adjusts [Generate]. The zero value knows no roots of trust.
type Options struct {
	// Roots are trusted_root.json files, by the names that the policy has for
	// them; the empty name is the default.
	Roots map[string][]byte
}

// Generate writes p for an engine: YAML documents that can be applied to a
// cluster. What it cannot say exactly it says more strictly, or in a comment; an
// error wraps [ErrUnsupported].
func Generate(p *policy.Policy, engine Engine, opts Options) (string, error) {
	g := generator{policy: p, rules: rulesOf(p), roots: opts.Roots}
	err := private(p)
	switch {
	case engine == VAP: // which looks at no signatures
		err = g.vap()
	case err != nil:
	case engine == Kyverno:
		err = g.kyverno()
	case engine == PolicyController:
		err = g.policyController()
	default:
		err = fmt.Errorf("%w: there is no %q", ErrUnsupported, engine)
	}
	if err != nil {
		return "", fmt.Errorf("generate %s: %w", engine, err)
	}
	return g.out.String(), nil
}

// private refuses private certificate authorities: here they count by the time of a
// timestamp or by the clock, and without a log, which no engine is known to do.
func private(p *policy.Policy) error {
	for _, d := range p.Documents {
		for _, a := range d.Authorities {
			if a.CA != nil {
				return fmt.Errorf("%w: authority %s of %s has certificate authorities of its own (keyless.ca-cert)", ErrUnsupported, a.Name, d.Name)
			}
		}
	}
	return nil
}

type generator struct {
	policy *policy.Policy
	rules  []rule
	roots  map[string][]byte
	out    bytes.Buffer
}

// document writes one object below a comment.
func (g *generator) document(comment []string, object any) error {
	if g.out.Len() > 0 {
		g.out.WriteString("---\n")
	}
	for _, line := range comment {
		g.out.WriteString(strings.TrimRight("# "+line, " ") + "\n")
	}
	d, err := yaml.NewDumper(&g.out, yaml.WithIndent(2), yaml.WithLineWidth(-1))
	if err != nil {
		return err
	}
	if err := d.Dump(object); err != nil {
		return err
	}
	return d.Close()
}

// head is the beginning of every comment.
func (g *generator) head(object string) []string {
	return []string{
		fmt.Sprintf("%s, made by \"modelreg policy generate\" from %s.", object, g.policy),
		"Change the policy and generate again, rather than this.",
	}
}

// unchecked names the conditions of a document that no cluster checks.
func unchecked(d *policy.Document) []string {
	var all []string
	for _, c := range []struct {
		set  bool
		what string
	}{
		{d.MinSigners > 1, "min-signers"},
		{d.MaxSignatureAge != 0, "max-signature-age"},
		{d.MatchRepository, "match-repository"},
		{d.RequireOMS, "require-oms"},
		{asksModel(d.Model), "all of the condition \"model\" (formats, licences, scans, evaluations …)"},
	} {
		if c.set {
			all = append(all, c.what)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return []string{"Not checked here, only by modelreg (pull --policy): " + strings.Join(all, ", ") + "."}
}

func asksModel(m policy.Model) bool {
	return len(m.Licenses)+len(m.Formats)+len(m.BaseModels)+len(m.Evaluation)+len(m.Builders) > 0 || m.CustomCode ||
		m.MaxSize > 0 || m.MinVersion != "" || m.Yanked != policy.Unset || m.Deprecated != policy.Unset || m.Scan != nil || m.Tests
}

// denies tells whether all authorities of a document say no whatever was signed.
func denies(d *policy.Document) bool {
	return !slices.ContainsFunc(d.Authorities, func(a policy.Authority) bool { return a.Static != "fail" })
}

// static tells whether a document says the same whatever was signed.
func static(d *policy.Document) bool {
	return denies(d) || slices.ContainsFunc(d.Authorities, func(a policy.Authority) bool { return a.Static == "pass" })
}

// meta is the metadata of an object.
type meta struct {
	Name        string            `yaml:"name"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// digestAnnotation says which policy an object is from.
const digestAnnotation = "modelreg.dev/policy"

func (g *generator) meta(name string) meta {
	return meta{Name: name, Annotations: map[string]string{digestAnnotation: g.policy.Digest().String()}}
}

// resourceRule is one of Kubernetes' matchConstraints.
type resourceRule struct {
	APIGroups   []string `yaml:"apiGroups,flow"`
	APIVersions []string `yaml:"apiVersions,flow"`
	Operations  []string `yaml:"operations,flow"`
	Resources   []string `yaml:"resources,flow"`
}

type matchConstraints struct {
	ResourceRules []resourceRule `yaml:"resourceRules"`
}

type named struct {
	Name       string `yaml:"name"`
	Expression string `yaml:"expression"`
}

type validation struct {
	Expression        string `yaml:"expression"`
	Message           string `yaml:"message,omitempty"`
	MessageExpression string `yaml:"messageExpression,omitempty"`
}

// carriers are the resources that bring models into a cluster: pods, what makes
// pods, and what names a model that something else fetches.
func carriers() matchConstraints {
	rule := func(group string, versions []string, resources ...string) resourceRule {
		return resourceRule{[]string{group}, versions, []string{"CREATE", "UPDATE"}, resources}
	}
	return matchConstraints{[]resourceRule{
		rule("", []string{"v1"}, "persistentvolumes", "pods", "replicationcontrollers"),
		rule("apps", []string{"v1"}, "daemonsets", "deployments", "replicasets", "statefulsets"),
		rule("batch", []string{"v1"}, "cronjobs", "jobs"),
		rule("storage.k8s.io", []string{"v1"}, "storageclasses"),
		rule("serving.kserve.io", []string{"*"}, "inferenceservices", "llminferenceservices", "localmodelcaches", "trainedmodels"),
	}}
}
