// Package provenance says how a version of a model came to be, as the predicate
// of a SLSA provenance (https://slsa.dev/provenance/v1): by which builder, from
// which parameters, from which commit, base models and datasets.
//
// It takes data and gives a predicate. It asks no network, no disk and no
// environment, and guesses nothing: what is not known is left out. [Detect] reads
// the variables of a CI system through a function that the caller gives.
//
// A predicate is only worth what the signature over it is: whoever signs says
// that it is true. docs/provenance.md describes the build types.
package provenance

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// PredicateType is the type of the predicates that [Build.Predicate] returns.
const PredicateType = "https://slsa.dev/provenance/v1"

// The build types, which say what the parameters mean. Each is the address of
// its description.
const (
	manual     = "https://github.com/modelreg/modelreg/blob/main/docs/provenance.md"
	TypePush   = manual + "#push-v1"
	TypeImport = manual + "#import-v1"

	// BuilderLocal is the builder of what was made on a machine that nobody
	// vouches for.
	BuilderLocal = manual + "#local"
)

// A Resource is something that went into a version: a SLSA resource descriptor.
// It has a URI or a digest.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest,omitempty"` // by algorithm, hexadecimal

	// Annotations are what else is known, in the terms of the build type.
	Annotations map[string]string `json:"annotations,omitempty"`
}

// A Build is one run of a command that made a version.
type Build struct {
	// Type says what the command was, [TypePush] or [TypeImport].
	Type string

	// Environment is where it ran.
	Environment Environment

	// Reference is host/repository:tag, which the version was made for.
	Reference string

	// Parameters are the others that the user gave and that have an influence
	// on what is made, by name.
	Parameters map[string]string

	// Dependencies are what the version was made of, besides the source that
	// the environment knows.
	Dependencies []Resource

	// Version is that of the program.
	Version string

	// Started and Finished are when it ran; zero is not known.
	Started, Finished time.Time
}

// An Environment is where a build runs.
type Environment struct {
	// Builder is the URI of whoever ran the build, [BuilderLocal] if nobody is
	// known.
	Builder string

	// Invocation is the URI of the run; empty if it has none.
	Invocation string

	// Workflow names the definition that the run follows, and Internal what
	// the CI system says of it besides. Both are by the names of
	// docs/provenance.md.
	Workflow, Internal map[string]string

	// System is "github", "gitlab" or "local".
	System string

	// Source is the commit that the run is of, or that the directory is a work
	// tree of; several when these are not the same.
	Source []Resource
}

type predicate struct {
	BuildDefinition buildDefinition `json:"buildDefinition"`
	RunDetails      runDetails      `json:"runDetails"`
}

type buildDefinition struct {
	BuildType            string                       `json:"buildType"`
	ExternalParameters   externalParameters           `json:"externalParameters"`
	InternalParameters   map[string]map[string]string `json:"internalParameters,omitempty"`
	ResolvedDependencies []Resource                   `json:"resolvedDependencies,omitempty"`
}

type externalParameters struct {
	Reference  string            `json:"reference"`
	Workflow   map[string]string `json:"workflow,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
}

type runDetails struct {
	Builder  builder  `json:"builder"`
	Metadata metadata `json:"metadata,omitzero"`
}

type builder struct {
	ID      string            `json:"id"`
	Version map[string]string `json:"version,omitempty"`
}

type metadata struct {
	InvocationID string    `json:"invocationId,omitempty"`
	StartedOn    time.Time `json:"startedOn,omitzero"`
	FinishedOn   time.Time `json:"finishedOn,omitzero"`
}

// Predicate returns the build as a predicate of type [PredicateType]. The same
// build gives the same bytes.
func (b Build) Predicate() (jsontext.Value, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("describe build: %w", err)
	}
	p := predicate{
		BuildDefinition: buildDefinition{
			BuildType:            b.Type,
			ExternalParameters:   externalParameters{Reference: b.Reference, Workflow: b.Environment.Workflow, Parameters: b.Parameters},
			ResolvedDependencies: unique(append(append([]Resource{}, b.Environment.Source...), b.Dependencies...)),
		},
		RunDetails: runDetails{
			Builder:  builder{ID: cmp.Or(b.Environment.Builder, BuilderLocal)},
			Metadata: metadata{InvocationID: b.Environment.Invocation, StartedOn: seconds(b.Started), FinishedOn: seconds(b.Finished)},
		},
	}
	if len(b.Environment.Internal) > 0 {
		p.BuildDefinition.InternalParameters = map[string]map[string]string{b.Environment.System: b.Environment.Internal}
	}
	if b.Version != "" {
		p.RunDetails.Builder.Version = map[string]string{"modelreg": b.Version}
	}
	raw, err := json.Marshal(p, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("describe build: %w", err)
	}
	return raw, nil
}

func (b Build) check() error {
	if b.Type == "" || b.Reference == "" {
		return errors.New("it has no type or makes nothing")
	}
	for _, r := range b.Dependencies {
		if r.URI == "" && len(r.Digest) == 0 {
			return fmt.Errorf("dependency %q has neither address nor digest", r.Name)
		}
	}
	return nil
}

// seconds is t as it is written, in UTC.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// unique leaves out what is there already: the same by digest and address, or
// the same address without a digest.
func unique(list []Resource) []Resource {
	var out []Resource
	seen := map[string]bool{}
	for _, withDigest := range []bool{true, false} {
		for _, r := range list {
			if (len(r.Digest) > 0) != withDigest || seen[r.key()] || (!withDigest && seen[r.URI]) {
				continue
			}
			seen[r.key()] = true
			seen[r.URI] = true
			out = append(out, r)
		}
	}
	return out
}

func (r Resource) key() string {
	var b strings.Builder
	b.WriteString(r.URI)
	for _, algorithm := range []string{"sha256", "sha512", "gitCommit"} {
		b.WriteString(" " + r.Digest[algorithm])
	}
	return b.String()
}

// Same tells whether two predicates describe the same build, but for the run: the
// same builder made the same of the same. What is no such predicate is the same
// as none.
func Same(a, b jsontext.Value) bool {
	left, errA := withoutRun(a)
	right, errB := withoutRun(b)
	return errA == nil && errB == nil && bytes.Equal(left, right)
}

func withoutRun(raw jsontext.Value) (jsontext.Value, error) {
	var p struct {
		BuildDefinition jsontext.Value `json:"buildDefinition"`
		RunDetails      struct {
			Builder jsontext.Value `json:"builder"`
		} `json:"runDetails"`
	}
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, err
	}
	if len(p.BuildDefinition) == 0 {
		return nil, errors.New("no build definition")
	}
	out, err := json.Marshal(p, json.Deterministic(true))
	return out, err
}
