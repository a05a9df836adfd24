package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	statementV1   = "https://in-toto.io/Statement/v1"
	statementV01  = "https://in-toto.io/Statement/v0.1" // cosign 3 writes it for attestations
	predicateSign = "https://sigstore.dev/cosign/sign/v1"
)

// A statement is an in-toto statement: what is said (the predicate) of what (the
// subjects).
type statement struct {
	Type          string         `json:"_type"`
	Subject       []subject      `json:"subject"`
	PredicateType string         `json:"predicateType"`
	Predicate     jsontext.Value `json:"predicate"`
}

type subject struct {
	Name        string            `json:"name,omitempty"`
	Digest      map[string]string `json:"digest"`
	Annotations map[string]any    `json:"annotations,omitempty"`
}

// newStatement returns a statement about the target. Unlike cosign's signatures
// it names the repository, which is the only place where a bundle can.
func newStatement(t Target, p Predicate) *statement {
	dgst := t.Descriptor.Digest
	sub := subject{Name: t.Repository, Digest: map[string]string{dgst.Algorithm().String(): dgst.Encoded()}}
	return &statement{Type: statementV1, Subject: []subject{sub}, PredicateType: p.Type, Predicate: p.Raw}
}

// annotate adds what "cosign sign -a" adds.
func (st *statement) annotate(annotations map[string]string) *statement {
	if len(annotations) == 0 {
		return st
	}
	st.Subject[0].Annotations = make(map[string]any, len(annotations))
	for k, v := range annotations {
		st.Subject[0].Annotations[k] = v
	}
	return st
}

// parseStatement decodes a statement. Members that are not a statement's are
// passed over; one that comes twice is not.
func parseStatement(payload []byte) (*statement, error) {
	var parts struct {
		Type          string         `json:"_type"`
		Subject       jsontext.Value `json:"subject"`
		PredicateType string         `json:"predicateType"`
		Predicate     jsontext.Value `json:"predicate"`
	}
	if err := json.Unmarshal(payload, &parts); err != nil {
		return nil, reject("not an in-toto statement: %v", err)
	}
	st := statement{Type: parts.Type, PredicateType: parts.PredicateType, Predicate: parts.Predicate}
	if n := len(parts.Subject); n > maxSubjectBytes {
		return nil, reject("statement with subjects of %d bytes, more than %d", n, maxSubjectBytes)
	}
	if len(parts.Subject) > 0 {
		if err := json.Unmarshal(parts.Subject, &st.Subject); err != nil {
			return nil, reject("not an in-toto statement: %v", err)
		}
	}
	if st.Type != statementV1 && st.Type != statementV01 {
		return nil, reject("not an in-toto statement of a known version but %q", st.Type)
	}
	if kind := st.Predicate.Kind(); len(st.Predicate) > 0 && kind != '{' {
		return nil, reject("not an in-toto statement: its predicate is no object")
	}
	return &st, nil
}

// checkStatement tells whether a statement, if it is to be believed, is what is
// looked for: a signature of the target, or an attestation about it.
func (v *verification) checkStatement(st *statement) error {
	if v.attestations {
		if err := checkAttestation(st); err != nil {
			return err
		}
	} else if st.PredicateType != predicateSign {
		return &refusal{reason: fmt.Sprintf("an attestation of type %q, not a signature", st.PredicateType), attestation: true}
	}
	if len(st.Subject) > maxSubjects {
		return reject("statement about %d subjects, more than %d", len(st.Subject), maxSubjects)
	}
	dgst := v.target.Descriptor.Digest
	for _, s := range st.Subject {
		if s.Digest[dgst.Algorithm().String()] != dgst.Encoded() {
			continue
		}
		if v.trust.MatchRepository && s.Name != v.target.Repository {
			return reject("signed for repository %q, not %q", s.Name, v.target.Repository)
		}
		return nil
	}
	if v.attestations {
		return reject("statement about another artifact")
	}
	return reject("signature of another artifact")
}

// same tells whether two statements say the same.
func (st *statement) same(other *statement) bool {
	a, errA := st.encode()
	b, errB := other.encode()
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// encode returns the statement as bytes, the same each time.
func (st *statement) encode() ([]byte, error) {
	return json.Marshal(st, json.Deterministic(true))
}

// longestString returns the length of the longest string of a JSON document.
func longestString(raw []byte) (int, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(raw))
	longest := 0
	for {
		kind := dec.PeekKind()
		if kind == '"' {
			v, err := dec.ReadValue()
			if err != nil {
				return 0, err
			}
			longest = max(longest, len(v))
			continue
		}
		_, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return longest, nil
		}
		if err != nil {
			return 0, err
		}
	}
}
