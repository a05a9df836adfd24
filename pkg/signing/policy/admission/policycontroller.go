package admission

import (
	"fmt"
	"strings"

	"github.com/modelreg/modelreg/pkg/signing/policy"
)

type imagePolicy struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   meta   `yaml:"metadata"`
	Spec       struct {
		Images      []imageGlob `yaml:"images"`
		Mode        string      `yaml:"mode"`
		Authorities []authority `yaml:"authorities"`
	} `yaml:"spec"`
}

type imageGlob struct {
	Glob string `yaml:"glob"`
}

type authority struct {
	Name    string       `yaml:"name"`
	Key     *keyRef      `yaml:"key,omitempty"`
	Keyless *keyless     `yaml:"keyless,omitempty"`
	Static  *staticRef   `yaml:"static,omitempty"`
	CTLog   *trustRoot   `yaml:"ctlog,omitempty"`
	TSA     *trustRoot   `yaml:"rfc3161timestamp,omitempty"`
	Atts    []attestType `yaml:"attestations,omitempty"`
	Format  string       `yaml:"signatureFormat,omitempty"`
}

type keyRef struct {
	Data          string `yaml:"data"`
	HashAlgorithm string `yaml:"hashAlgorithm"`
}

type keyless struct {
	TrustRootRef      string     `yaml:"trustRootRef,omitempty"`
	InsecureIgnoreSCT bool       `yaml:"insecureIgnoreSCT,omitempty"`
	Identities        []identity `yaml:"identities"`
}

type identity struct {
	Issuer        string `yaml:"issuer,omitempty"`
	IssuerRegExp  string `yaml:"issuerRegExp,omitempty"`
	Subject       string `yaml:"subject,omitempty"`
	SubjectRegExp string `yaml:"subjectRegExp,omitempty"`
}

type staticRef struct {
	Action  string `yaml:"action"`
	Message string `yaml:"message,omitempty"`
}

type trustRoot struct {
	TrustRootRef string `yaml:"trustRootRef"`
}

type attestType struct {
	Name          string `yaml:"name"`
	PredicateType string `yaml:"predicateType"`
}

// policyController writes the policy's documents as they are for a cluster,
// with what modelreg takes for granted said in full.
func (g *generator) policyController() error {
	for i, r := range g.rules {
		p := imagePolicy{APIVersion: "policy.sigstore.dev/v1beta1", Kind: "ClusterImagePolicy", Metadata: g.meta(r.Name)}
		p.Spec.Mode = "enforce"
		if r.Warn {
			p.Spec.Mode = "warn"
		}
		for _, glob := range r.Globs {
			p.Spec.Images = append(p.Spec.Images, imageGlob{glob})
		}
		for j := range r.Authorities {
			p.Spec.Authorities = append(p.Spec.Authorities, controllerAuthorities(&r.Authorities[j])...)
		}
		comment := g.head("Signatures of " + r.Name)
		if i == 0 {
			comment = append(comment,
				"",
				"policy-controller looks at namespaces with the label policy.sigstore.dev/include=true, and there",
				"at containers and image volumes. It does not see volumes of CSI drivers that mount models, such",
				"as "+modelDriver+", nor references in custom resources, such as storageUri of KServe:",
				"apply \"modelreg policy generate vap\" besides. What no policy matches it admits or not as",
				"no-match-policy in its ConfigMap says: set that to deny.",
				"A signature by a key that is a bundle may not be found by it; modelreg sign",
				"--signature-layout both writes the older layout too, and both are allowed below.")
		}
		if overlaps(r) {
			comment = append(comment, "Of several policies that match an image a cluster asks all, modelreg the most specific one.")
		}
		for _, root := range rootsOf(r.Document) {
			comment = append(comment, fmt.Sprintf("It needs the TrustRoot object %q, which holds its certificate authorities and logs.", root))
		}
		if err := g.document(append(comment, unchecked(r.Document)...), p); err != nil {
			return err
		}
	}
	return nil
}

func overlaps(r rule) bool {
	for _, c := range r.claims {
		if len(c.except) > 0 {
			return true
		}
	}
	return false
}

// rootsOf lists the named roots of trust of a document.
func rootsOf(d *policy.Document) []string {
	var all []string
	seen := map[string]bool{"": true}
	for _, a := range d.Authorities {
		if (len(a.Identities) > 0 || a.Log || a.Timestamp) && !seen[a.TrustRoot] {
			seen[a.TrustRoot] = true
			all = append(all, a.TrustRoot)
		}
	}
	return all
}

// controllerAuthorities writes one authority as several, any of which will do:
// one for each key, and for each layout of signatures where it has none. The
// default of a cluster is the older layout alone.
func controllerAuthorities(a *policy.Authority) []authority {
	base := authority{Name: a.Name}
	if a.Static != "" {
		base.Static = &staticRef{a.Static, a.Message}
		return []authority{base}
	}
	for _, r := range a.Attestations {
		base.Atts = append(base.Atts, attestType{r.Name, r.PredicateType})
	}
	if a.Log {
		base.CTLog = &trustRoot{a.TrustRoot}
	}
	if a.Timestamp {
		base.TSA = &trustRoot{a.TrustRoot}
	}
	var parties []authority
	for _, k := range a.Keys {
		p := base
		p.Key = &keyRef{string(k.PEM()), "sha256"}
		parties = append(parties, p)
	}
	if len(a.Identities) > 0 {
		p := base
		p.CTLog, p.TSA = nil, nil
		p.Keyless = &keyless{TrustRootRef: a.TrustRoot, InsecureIgnoreSCT: a.IgnoreSCT}
		for _, id := range a.Identities {
			p.Keyless.Identities = append(p.Keyless.Identities, identity{id.Issuer, id.IssuerRegexp, id.Subject, id.SubjectRegexp})
		}
		parties = append(parties, p)
	}
	formats := []string{"bundle", "legacy"}
	if a.Format != "" {
		formats = []string{a.Format}
	}
	var all []authority
	for i, p := range parties {
		for _, f := range formats {
			p.Format = f
			if len(parties) > 1 {
				p.Name = fmt.Sprintf("%s-%d", a.Name, i+1)
			}
			if len(formats) > 1 {
				p.Name = strings.TrimSuffix(p.Name+"-"+f, "-bundle")
			}
			all = append(all, p)
		}
	}
	return all
}
