// Package testcards makes records of models that look like those of a public
// hub, for tests and measurements: names of families and sizes, cards of very
// different lengths whose words are as unevenly frequent as those of a language,
// licences, tasks and formats in about the shares that there are.
//
// The same seed gives the same records on every machine.
package testcards

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/modelreg/modelreg/pkg/index"
)

// Records yields n records. About one in three is an older version of another.
func Records(seed uint64, n int) iter.Seq[index.Record] {
	return func(yield func(index.Record) bool) {
		g := newGenerator(seed)
		for made := 0; made < n; {
			r := g.model()
			versions := min(1+int(g.rand.ExpFloat64()*0.7), n-made)
			for v := range versions {
				g.version(&r, v, v == versions-1)
				if made++; !yield(r) {
					return
				}
			}
		}
	}
}

// A generator draws from distributions.
type generator struct {
	rand  *rand.Rand
	words *rand.Zipf
	vocab []string // the most frequent ones
	orgs  *rand.Zipf
	taken map[string]int

	starts, vowels []string // of words that are invented
}

// vocabulary is how many different words there may be in all cards.
const vocabulary = 2_000_000

func newGenerator(seed uint64) *generator {
	r := rand.New(rand.NewPCG(seed, 1))
	g := &generator{
		rand:  r,
		words: rand.NewZipf(r, 1.07, 8, vocabulary-1),
		orgs:  rand.NewZipf(r, 1.2, 20, 30_000),
		vocab: strings.Fields(common),
		taken: map[string]int{},

		starts: strings.Fields("b bl br c ch cl d dr f fl g gr h j k l m n p pl pr qu r s sh st t tr v w z"),
		vowels: strings.Fields("a e i o u ea ou"),
	}
	return g
}

// word draws a word.
func (g *generator) word() string {
	n := int(g.words.Uint64())
	if n < len(g.vocab) {
		return g.vocab[n]
	}
	return g.invented(n)
}

// invented makes a word out of a number.
func (g *generator) invented(n int) string {
	s, v := g.starts, g.vowels
	var b strings.Builder
	for n > 0 {
		b.WriteString(s[n%len(s)])
		n /= len(s)
		b.WriteString(v[n%len(v)])
		n /= len(v)
	}
	return b.String()
}

// pick draws one of a list, the first ones most often.
func (g *generator) pick(list string) string {
	f := strings.Fields(list)
	return f[int(float64(len(f))*math.Pow(g.rand.Float64(), 2.5))]
}

func (g *generator) chance(p float64) bool { return g.rand.Float64() < p }

// model makes what the versions of a model have in common.
func (g *generator) model() index.Record {
	family, size := g.pick(families), g.pick("7b 8b 1b 3b 0.5b 13b 70b 14b 32b 1.5b 72b 405b")
	name := family + "-" + size
	for range g.rand.IntN(3) {
		name += "-" + g.pick("instruct chat base v2 lora sft dpo gguf awq gptq code math vision "+
			"medical legal german french japanese uncensored merged distill long 4bit rag tool")
	}
	if g.chance(0.4) {
		name += "-" + g.word()
	}
	org := fmt.Sprintf("org%d", g.orgs.Uint64())
	g.taken[org+"/"+name]++
	if n := g.taken[org+"/"+name]; n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	r := index.Record{
		Repository:   "registry.example.com/" + org + "/" + name,
		Title:        strings.ReplaceAll(name, "-", " "),
		Author:       org + " team <team@" + org + ".example.com>",
		Task:         g.pick(tasks),
		Library:      g.pick(libraries),
		Licenses:     []string{g.pick(licenses)},
		Architecture: family,
	}
	for range 1 + g.rand.IntN(2)*g.rand.IntN(6) {
		r.Languages = append(r.Languages, g.pick(languages))
	}
	for range g.rand.IntN(8) {
		r.Keywords = append(r.Keywords, g.pick(keywords))
	}
	var billions float64
	fmt.Sscanf(size, "%fb", &billions)
	r.Parameters = int64(billions * 1e9 * (0.95 + g.rand.Float64()/10))
	r.Context = 1 << (11 + g.rand.IntN(8))
	g.files(&r)
	if g.chance(0.6) {
		r.Bases = []index.Base{{
			Name:     "hf:" + family + "-labs/" + family + "-" + size,
			Relation: g.pick("finetune quantized adapter merge"),
		}}
	}
	if g.chance(0.3) {
		r.Datasets = []string{g.pick("squad ultrachat openorca wikitext c4 the-pile gsm8k alpaca dolly oasst1")}
	}
	r.Code = g.chance(0.08)
	return r
}

func (g *generator) files(r *index.Record) {
	r.Formats = []string{g.pick("safetensors gguf onnx pickle")}
	bits := 16.0
	if r.Formats[0] == "gguf" || g.chance(0.1) {
		r.Quantizations = []string{g.pick("q4_k_m q8_0 q5_k_m q4_0 q6_k q3_k_m iq4_xs awq gptq fp8 q2_k")}
		bits = 5
	}
	r.Size = int64(float64(r.Parameters) * bits / 8)
	r.Memory = r.Size + r.Size/8 + 1<<29
}

// version makes version number v of the model.
func (g *generator) version(r *index.Record, v int, latest bool) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", r.Repository, v))
	r.Digest = "sha256:" + hex.EncodeToString(sum[:])
	r.Tags = []string{fmt.Sprintf("v1.%d", v)}
	if r.Latest = latest; latest {
		r.Tags = append(r.Tags, "main")
	}
	r.Updated = time.Unix(1_700_000_000+g.rand.Int64N(90_000_000), 0).UTC()
	r.Status, r.Metrics, r.Signers = "", nil, nil
	switch {
	case g.chance(0.02):
		r.Status = index.Deprecated
	case g.chance(0.005):
		r.Status = index.Yanked
	}
	r.Signed = g.chance(0.5)
	r.Verified = r.Signed && g.chance(0.6)
	if r.Signed {
		r.Signers = []string{"release@" + g.pick("acme beta corp delta labs") + ".example.com"}
	}
	for range g.rand.IntN(2) * g.rand.IntN(6) {
		r.Metrics = append(r.Metrics, index.Metric{
			Name: "accuracy", Dataset: g.pick("mmlu gsm8k hellaswag arc humaneval truthfulqa winogrande mbpp"),
			Value: math.Round(g.rand.Float64()*1000) / 1000, Class: "claimed",
		})
	}
	r.Card = g.text(min(20+int(math.Exp(5+g.rand.NormFloat64()*0.9)), 3000))
	r.Summary = r.Card[:min(len(r.Card), 160)]
}

// text makes a text of n words.
func (g *generator) text(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(" \n"[btoi(i%70 == 69)])
		}
		b.WriteString(g.word())
		if i%12 == 11 {
			b.WriteByte('.')
		}
	}
	return b.String()
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}
