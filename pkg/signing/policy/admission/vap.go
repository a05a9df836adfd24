package admission

import (
	"strings"
)

// vapName is the name of the objects for VAP.
const vapName = "modelreg-models"

type vapPolicy struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
	Spec       struct {
		FailurePolicy    string           `yaml:"failurePolicy"`
		MatchConstraints matchConstraints `yaml:"matchConstraints"`
		Variables        []named          `yaml:"variables"`
		Validations      []validation     `yaml:"validations"`
	} `yaml:"spec"`
}

type vapBinding struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
	Spec       struct {
		PolicyName        string   `yaml:"policyName"`
		ValidationActions []string `yaml:"validationActions,flow"`
	} `yaml:"spec"`
}

// vap writes what a cluster can decide by itself: where models come from, and
// that they are named by digest.
func (g *generator) vap() error {
	p := vapPolicy{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy", Metadata: g.meta(vapName)}
	p.Spec.FailurePolicy = "Fail"
	p.Spec.MatchConstraints = carriers()
	p.Spec.Variables = references()
	p.Spec.Validations = g.origins("variables")
	comment := append(g.head("Models of known repositories, by digest"),
		"",
		"THIS VERIFIES NO SIGNATURE: a ValidatingAdmissionPolicy sees what is in an object and nothing",
		"else. It admits image volumes, volumes of the driver "+modelDriver+" and model URIs of",
		"KServe that name a repository of the policy with a digest; that the digest is one that was",
		"signed, the pipeline must see to that wrote it (modelreg lock, pull --locked), or an engine that",
		"verifies (kyverno, policy-controller), beside which this guards the references that such an",
		"engine does not see. Images of containers are not looked at.",
	)
	if err := g.document(comment, p); err != nil {
		return err
	}
	b := vapBinding{APIVersion: p.APIVersion, Kind: "ValidatingAdmissionPolicyBinding", Metadata: g.meta(vapName)}
	b.Spec.PolicyName, b.Spec.ValidationActions = vapName, []string{"Deny"}
	return g.document([]string{"The whole cluster. Add matchResources to leave namespaces out."}, b)
}

// references are the variables of an object that [generator.origins] is about.
func references() []named {
	return []named{
		{"volumes", join([]string{imageVolumes(), csiReferences()})},
		{"uris", join([]string{modelURIs(), csiUnnamed()})},
		{"models", "variables.volumes + " + uriReferences("variables.uris")},
	}
}

// origins are the validations that need no signature. The variables volumes, uris
// and models are those of the object.
func (g *generator) origins(variables string) []validation {
	var allowed, denied []string
	var where []string
	for _, r := range g.rules {
		if denies(r.Document) {
			denied = append(denied, r.matches("m"))
			continue
		}
		if r.Always {
			continue // it asks for more, and allows nothing by itself
		}
		allowed = append(allowed, r.matches("m"))
		where = append(where, r.Globs...)
	}
	known := "false"
	if len(allowed) > 0 {
		known = strings.Join(allowed, " ||\n")
	}
	if len(denied) > 0 {
		known = "(" + known + ") &&\n!(" + strings.Join(denied, " ||\n") + ")"
	}
	models := variables + ".models"
	return []validation{
		{
			Expression:        models + ".all(m, m.matches(r'" + digestExpression + "$'))",
			MessageExpression: "'models must be named by digest, as in REPOSITORY@sha256:…; these are not: ' + " + models + ".filter(m, !m.matches(r'" + digestExpression + "$')).join(', ')",
		},
		{
			Expression: models + ".all(m,\n" + known + ")",
			Message:    "models are allowed from these repositories only: " + strings.Join(where, ", "),
		},
		{
			// What comes by another way would pass without having been looked at.
			Expression: variables + ".uris.all(u, u.matches(" + fromRegistry + "))",
			Message:    "models are taken from registries only (oci://); remove this rule to allow others, such as pvc://, which nothing verifies",
		},
	}
}
