package admission

import (
	"fmt"
	"strings"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const kyvernoVersion = "policies.kyverno.io/v1beta1"

type kyvernoOrigins struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
	Spec       struct {
		FailurePolicy     string           `yaml:"failurePolicy"`
		ValidationActions []string         `yaml:"validationActions,flow"`
		MatchConstraints  matchConstraints `yaml:"matchConstraints"`
		Variables         []named          `yaml:"variables"`
		Validations       []validation     `yaml:"validations"`
	} `yaml:"spec"`
}

type kyvernoImages struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
	Spec       struct {
		FailurePolicy     string           `yaml:"failurePolicy"`
		ValidationActions []string         `yaml:"validationActions,flow"`
		MatchConstraints  matchConstraints `yaml:"matchConstraints"`
		MatchImages       []matchImages    `yaml:"matchImageReferences"`
		Images            []named          `yaml:"images"`
		Configuration     struct {
			MutateDigest bool `yaml:"mutateDigest"`
			VerifyDigest bool `yaml:"verifyDigest"`
			Required     bool `yaml:"required"`
		} `yaml:"validationConfigurations"`
		Attestors    []attestor    `yaml:"attestors"`
		Attestations []attestation `yaml:"attestations,omitempty"`
		Validations  []validation  `yaml:"validations"`
	} `yaml:"spec"`
}

type matchImages struct {
	Expression string `yaml:"expression"`
}

type attestor struct {
	Name   string `yaml:"name"`
	Cosign cosign `yaml:"cosign"`
}

type cosign struct {
	Key     *keyRef  `yaml:"key,omitempty"`
	Keyless *keyless `yaml:"keyless,omitempty"`
	CTLog   *ctlog   `yaml:"ctlog,omitempty"`
	Root    *value   `yaml:"trustedRoot,omitempty"`
}

type ctlog struct {
	IgnoreSCT  bool `yaml:"insecureIgnoreSCT,omitempty"`
	IgnoreTlog bool `yaml:"insecureIgnoreTlog,omitempty"`
}

type value struct {
	Value string `yaml:"value"`
}

type attestation struct {
	Name   string `yaml:"name"`
	Intoto struct {
		Type string `yaml:"type"`
	} `yaml:"intoto"`
}

// kyverno writes one policy that says where models may come from, and one for
// each document that verifies.
func (g *generator) kyverno() error {
	o := kyvernoOrigins{APIVersion: kyvernoVersion, Kind: "ValidatingPolicy", Metadata: g.meta(vapName)}
	o.Spec.FailurePolicy, o.Spec.ValidationActions = "Fail", []string{"Deny"}
	o.Spec.MatchConstraints = carriers()
	o.Spec.Variables = references()
	o.Spec.Validations = g.origins("variables")
	comment := append(g.head("Where models may come from"),
		"",
		"Image volumes, volumes of the driver "+modelDriver+" and model URIs of KServe name a",
		"repository of the policy, by digest. The policies below verify the signatures of these, and of",
		"containers' images from the same repositories: without their lists, Kyverno looks at containers",
		"only.")
	if err := g.document(comment, o); err != nil {
		return err
	}
	for _, r := range g.rules {
		if static(r.Document) {
			continue // decided by the name alone
		}
		if err := g.kyvernoDocument(r); err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
	}
	return nil
}

func (g *generator) kyvernoDocument(r rule) error {
	p := kyvernoImages{APIVersion: kyvernoVersion, Kind: "ImageValidatingPolicy", Metadata: g.meta(r.Name)}
	s := &p.Spec
	s.FailurePolicy, s.ValidationActions = "Fail", []string{"Deny"}
	if r.Warn {
		s.FailurePolicy, s.ValidationActions = "Ignore", []string{"Warn"}
	}
	s.MatchConstraints = carriers()
	s.MatchImages = []matchImages{{r.matches("ref")}}
	s.Images = []named{{"models", join([]string{
		imageVolumes(), csiReferences(), uriReferences("(" + modelURIs() + ")"), containerImages(),
	})}}
	s.Configuration.VerifyDigest, s.Configuration.Required = true, true
	v := verifier{roots: g.roots}
	for i := range r.Authorities {
		if err := v.add(&r.Authorities[i]); err != nil {
			return err
		}
	}
	s.Attestors, s.Attestations = v.attestors, v.attestations
	s.Validations = []validation{{
		Expression: "images.models.all(image,\n" + strings.Join(v.any, " ||\n") + ")",
		Message:    "not signed as the policy " + r.Name + " demands",
	}}
	comment := append(g.head("Signatures of "+r.Name), v.notes...)
	return g.document(append(comment, unchecked(r.Document)...), p)
}

// A verifier collects the attestors of a document, and what each must have
// signed.
type verifier struct {
	roots        map[string][]byte
	attestors    []attestor
	attestations []attestation
	any          []string // expressions on "image", of which one must hold
	notes        []string
}

func (v *verifier) add(a *policy.Authority) error {
	if a.Static == "fail" {
		return nil
	}
	if a.Timestamp {
		return fmt.Errorf("%w: authority %s demands a signed timestamp for signatures by keys", ErrUnsupported, a.Name)
	}
	root, err := v.root(a)
	if err != nil {
		return err
	}
	for _, k := range a.Keys {
		c := cosign{Key: &keyRef{string(k.PEM()), "sha256"}, CTLog: &ctlog{IgnoreSCT: true, IgnoreTlog: true}}
		if a.Log {
			c.CTLog, c.Root = nil, root
		}
		v.demand(a, c)
	}
	if len(a.Identities) > 0 {
		c := cosign{Keyless: &keyless{}, Root: root}
		for _, id := range a.Identities {
			c.Keyless.Identities = append(c.Keyless.Identities, identity{id.Issuer, id.IssuerRegexp, id.Subject, id.SubjectRegexp})
		}
		if a.IgnoreSCT {
			c.CTLog = &ctlog{IgnoreSCT: true}
		}
		v.demand(a, c)
	}
	if a.Format != "" {
		v.notes = append(v.notes, fmt.Sprintf("Authority %s wants signatures in the layout %q; Kyverno takes both.", a.Name, a.Format))
	}
	return nil
}

// root is the root of trust that an authority names.
func (v *verifier) root(a *policy.Authority) (*value, error) {
	if len(a.Identities) == 0 && !a.Log {
		return nil, nil
	}
	raw, ok := v.roots[a.TrustRoot]
	switch {
	case ok:
		return &value{string(raw)}, nil
	case a.TrustRoot == "":
		v.notes = append(v.notes, fmt.Sprintf("Authority %s goes by the root of trust that Kyverno is set up with.", a.Name))
		return nil, nil
	}
	return nil, fmt.Errorf("%w: the file of the root of trust %q must be given, for it becomes part of the object", ErrUnsupported, a.TrustRoot)
}

// demand says what a party must have signed: the attestations, or the image.
func (v *verifier) demand(a *policy.Authority, c cosign) {
	name := fmt.Sprintf("a%d", len(v.attestors)+1)
	v.attestors = append(v.attestors, attestor{name, c})
	if len(a.Attestations) == 0 {
		v.any = append(v.any, "verifyImageSignatures(image, [attestors."+name+"]) > 0")
		return
	}
	var all []string
	for _, r := range a.Attestations {
		all = append(all, "verifyAttestationSignatures(image, attestations."+v.statement(r.PredicateType)+", [attestors."+name+"]) > 0")
	}
	v.any = append(v.any, "("+strings.Join(all, " && ")+")")
}

// statement is the name of a type of attestation.
func (v *verifier) statement(predicateType string) string {
	for _, a := range v.attestations {
		if a.Intoto.Type == predicateType {
			return a.Name
		}
	}
	a := attestation{Name: fmt.Sprintf("t%d", len(v.attestations)+1)}
	a.Intoto.Type = predicateType
	v.attestations = append(v.attestations, a)
	return a.Name
}
