package index

import (
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds on what one record may hold. [Record.Bound] cuts to them.
const (
	// MaxCard bounds the text of a card, in bytes.
	MaxCard = 32 << 10

	// MaxText bounds every other text, in bytes.
	MaxText = 512

	// MaxList bounds every list.
	MaxList = 64
)

// States of a version.
const (
	Active     = "active"
	Deprecated = "deprecated"
	Yanked     = "yanked"
)

// A Record is what is known of one version. Repository and Digest together are
// its identity; everything else may be absent, and is then the zero value.
type Record struct {
	// Repository is the name with its registry, such as
	// "ghcr.io/acme/support".
	Repository string `json:"repository"`

	// Digest is that of the manifest, or of the index of a version with
	// variants.
	Digest string `json:"digest"`

	// Tags are the tags that lead to the version, without those that only
	// hold it (_k.…) and those of the fallback for referrers.
	Tags []string `json:"tags,omitempty"`

	// Latest tells that the version is the one that the repository's name
	// stands for. A search shows only these unless asked for all.
	Latest bool `json:"latest,omitempty"`

	// Updated is when the version was made, as its manifest or its newest
	// card says. Times are kept to the second.
	Updated time.Time `json:"updated,omitzero"`

	// Status is [Active], [Deprecated] or [Yanked]; empty means active.
	Status string `json:"status,omitempty"`

	// Reason and Replacement are what a status says besides.
	Reason      string `json:"reason,omitempty"`
	Replacement string `json:"replacement,omitempty"`

	// Author is who the manifest says has made it: a claim.
	Author string `json:"author,omitempty"`

	// Title is the name of the model in words, Summary one paragraph about
	// it, and Card the card's text without markup.
	Title   string `json:"title,omitempty"`
	Summary string `json:"summary,omitempty"`
	Card    string `json:"card,omitempty"`

	Task      string   `json:"task,omitempty"`    // pipeline_tag, such as "text-generation"
	Library   string   `json:"library,omitempty"` // such as "transformers"
	Licenses  []string `json:"licenses,omitempty"`
	Languages []string `json:"languages,omitempty"`
	Keywords  []string `json:"keywords,omitempty"` // tags of the card
	Datasets  []string `json:"datasets,omitempty"`

	// Architecture is that of the network, such as "llama".
	Architecture string `json:"architecture,omitempty"`

	// Parameters is how many numbers the weights are, and Context the
	// longest input in tokens.
	Parameters int64 `json:"parameters,omitempty"`
	Context    int64 `json:"context,omitempty"`

	Formats       []string `json:"formats,omitempty"`       // "safetensors", "gguf" …, of all variants
	Quantizations []string `json:"quantizations,omitempty"` // "q4_k_m", "awq" …, of all variants

	// Size is the sum of the files in bytes, and Memory what the smallest
	// variant needs to run, in bytes.
	Size   int64 `json:"size,omitempty"`
	Memory int64 `json:"memory,omitempty"`

	// Code tells that the version brings code that a loader would run.
	Code bool `json:"code,omitempty"`

	// Bases are the models that it was made from: references or names.
	Bases []Base `json:"bases,omitempty"`

	// Inputs are the datasets and the code in registries that it was made of.
	Inputs []Base `json:"inputs,omitempty"`

	Metrics []Metric `json:"metrics,omitempty"`

	// Signed tells that there is a signature, Verified that one of them is
	// by whom the index was told to trust, and Signers who has signed: the
	// verified ones if there are any, else what the signatures claim.
	Signed   bool     `json:"signed,omitempty"`
	Verified bool     `json:"verified,omitempty"`
	Signers  []string `json:"signers,omitempty"`

	// Elsewhere are the repositories besides its own in which something was stated
	// of what the version was measured to do, sorted, as "host/name@sha256:…" with the
	// digest of what is listed there. Joined stands for all that decided what was
	// taken from there. Both are for those who look whether there is more by now.
	Elsewhere []string `json:"elsewhere,omitempty"`
	Joined    string   `json:"joined,omitempty"`

	// Attached stands for all that the record is made of besides the version: the
	// digest of the list of what is attached, or one over that and others,
	// when it was read, for those who look whether there is more by now.
	Attached string `json:"attached,omitempty"`
}

// A Base is something that a version was made from.
type Base struct {
	// Name is a reference ("ghcr.io/acme/base") or a name on another hub
	// ("hf:meta-llama/Llama-3.1-8B").
	Name string `json:"name"`

	// Relation is "finetune", "quantized", "adapter", "merge" …, and "dataset" or
	// "code" of what is no model.
	Relation string `json:"relation,omitempty"`

	// Digest is that of the version, if known.
	Digest string `json:"digest,omitempty"`
}

// A Metric is a number that was measured.
type Metric struct {
	// Name is that of the metric or of the benchmark, such as "mmlu" or
	// "accuracy". Queries name it in lower case.
	Name string `json:"name"`

	// Dataset is what was measured on. A query may name it in place of the
	// metric.
	Dataset string `json:"dataset,omitempty"`

	// Value compares with those of others: percentages are hundredths.
	Value float64 `json:"value"`

	// Class tells whose word it is: "trusted", "publisher", "evaluator",
	// "community", "unsigned" or "claimed" (the card says so).
	Class string `json:"class,omitempty"`

	// By is who has signed it, as far as that was verified: an identity, or the
	// fingerprint of a key.
	By string `json:"by,omitempty"`

	// Repository is where it was stated; empty for the version's own repository.
	Repository string `json:"repository,omitempty"`

	// Disputed tells that somebody who is believed as much as By doubts it.
	Disputed bool `json:"disputed,omitempty"`
}

// How much a number is believed, the most first.
const (
	believed = iota // signed by whom the index was told to trust
	named           // signed by whom the repository names
	said            // everything else
	beliefs
)

// belief tells how much a number is believed.
func (m *Metric) belief() int {
	switch {
	case m.Disputed:
		return said
	case m.Class == "trusted":
		return believed
	case m.Class == "publisher", m.Class == "evaluator":
		return named
	}
	return said
}

// Key identifies a record.
type Key struct {
	Repository string
	Digest     string
}

// Key returns the record's identity.
func (r *Record) Key() Key { return Key{r.Repository, r.Digest} }

// Bound cuts text and lists to what an index keeps, at characters. Texts that
// are not UTF-8 become so.
func (r *Record) Bound() {
	r.Updated = r.Updated.UTC().Truncate(time.Second)
	if _, err := r.Updated.MarshalJSON(); err != nil {
		r.Updated = time.Time{} // of a year that cannot be written
	}
	r.Card = cut(r.Card, MaxCard)
	for _, s := range []*string{
		&r.Repository, &r.Digest, &r.Attached, &r.Joined, &r.Status, &r.Reason, &r.Replacement, &r.Author,
		&r.Title, &r.Summary, &r.Task, &r.Library, &r.Architecture,
	} {
		*s = cut(*s, MaxText)
	}
	for _, l := range []*[]string{
		&r.Tags, &r.Licenses, &r.Languages, &r.Keywords, &r.Datasets,
		&r.Formats, &r.Quantizations, &r.Signers, &r.Elsewhere,
	} {
		*l = cutList(*l)
	}
	for _, l := range []*[]Base{&r.Bases, &r.Inputs} {
		*l = (*l)[:min(len(*l), MaxList)]
		for i := range *l {
			b := &(*l)[i]
			b.Name, b.Relation, b.Digest = cut(b.Name, MaxText), cut(b.Relation, MaxText), cut(b.Digest, MaxText)
		}
	}
	r.Metrics = r.Metrics[:min(len(r.Metrics), MaxList)]
	for i := range r.Metrics {
		m := &r.Metrics[i]
		for _, s := range []*string{&m.Name, &m.Dataset, &m.Class, &m.By, &m.Repository} {
			*s = cut(*s, MaxText)
		}
	}
}

func cutList(list []string) []string {
	list = list[:min(len(list), MaxList)]
	for i := range list {
		list[i] = cut(list[i], MaxText)
	}
	return list
}

func cut(s string, limit int) string {
	if len(s) > limit {
		for limit > 0 && !utf8.RuneStart(s[limit]) {
			limit--
		}
		s = s[:limit]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
