package lineage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Verdict says what became of a claim.
type Verdict string

// The verdicts. What is claimed could not be checked, and may be true.
const (
	Claimed      Verdict = "claimed"
	Checked      Verdict = "checked"
	Contradicted Verdict = "contradicted"
)

// A Claim is what became of what a version says that it was made of. Reason is
// for people, and may have names of tensors in it, which are a stranger's text.
type Claim struct {
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason"`
}

// Weights are what headers tell of the weights of a version.
type Weights struct {
	// Architecture as the version says; empty if it does not.
	Architecture string

	Tensors []Tensor

	// Files are the digests of all its files of weights, also of those that
	// have none of Tensors in them; empty if they are not known.
	Files []string
}

// A Tensor is one tensor by its header.
type Tensor struct {
	Name  string
	DType string
	Shape []int64 // outermost dimension first
	Bytes int64   // as stored; -1 if not known
}

// Check compares the weights of a version with those of one of its bases: a
// relation promises how they are alike. Names and shapes are compared, and no
// values: weights that were trained anew in the same shape pass.
//
// A vocabulary may have another size, and a head for a task may be another; the
// reason says so. Weights that are packed as GPTQ, AWQ, compressed-tensors,
// bitsandbytes and MLX do are compared by what they unpack to, and GGUF by the
// names of llama-like models.
func Check(rel Relation, child, base Weights) Claim {
	switch {
	case rel == Origin:
		return checkOrigin(child, base)
	case rel == Distilled:
		return Claim{Claimed, "nothing in weights tells what taught them"}
	case !rel.OfModels():
		return Claim{Claimed, "nothing in weights tells what they were trained on or made by"}
	case len(child.Tensors) == 0:
		return Claim{Claimed, "no header tells its tensors"}
	case len(base.Tensors) == 0:
		return Claim{Claimed, "no header tells the base's tensors"}
	case rel == Adapter:
		return checkAdapter(child, base)
	}
	return checkWhole(rel, child, base)
}

// checkOrigin compares files: an import changes none.
func checkOrigin(child, base Weights) Claim {
	if len(child.Files) == 0 || len(base.Files) == 0 {
		return Claim{Claimed, "there are no files of weights to compare"}
	}
	for _, f := range child.Files {
		if !slices.Contains(base.Files, f) {
			return Claim{Contradicted, "it has weights that are not in what it was imported from"}
		}
	}
	return Claim{Checked, fmt.Sprintf("%s the same, byte for byte", count(len(child.Files), "file of weights is", "files of weights are"))}
}

// checkWhole compares a model with a model.
func checkWhole(rel Relation, child, base Weights) Claim {
	c, b := viewOf(child), viewOf(base)
	unknown := 0
	switch {
	case c.isGGUF() && !b.isGGUF():
		c, unknown = c.renamed(b)
	case b.isGGUF() && !c.isGGUF():
		b, unknown = b.renamed(c)
	default:
		c = c.aligned(b)
		b = b.aligned(c)
	}
	d := compare(c, b)
	if unknown > 0 { // one name may be another
		d.missing, d.extra = nil, nil
		if 2*len(d.matched) < len(b.tensors) {
			return Claim{Claimed, fmt.Sprintf("it cannot be told which tensors are which: %d names are of no family that is known here", unknown)}
		}
	}
	if rel == Merge && c.layers() != b.layers() {
		return checkStacked(c, b)
	}
	if reason := d.against(rel, c.isGGUF() != b.isGGUF()); reason != "" {
		return Claim{Contradicted, reason}
	}
	if rel == Quantized && child.bytes() > 0 && child.bytes() >= base.bytes() && base.bytes() > 0 {
		return Claim{Contradicted, fmt.Sprintf("it is not smaller: %d bytes of tensors, %d in the base", child.bytes(), base.bytes())}
	}
	if a, b := family(child.Architecture), family(base.Architecture); rel == Finetune && a != "" && b != "" && a != b {
		return Claim{Contradicted, fmt.Sprintf("its architecture is %.60s, that of the base is %.60s", child.Architecture, base.Architecture)}
	}
	return Claim{Checked, d.says(b) + sameFiles(child, base)}
}

// sameFiles says when nothing was done to the weights.
func sameFiles(child, base Weights) string {
	if len(child.Files) == 0 {
		return ""
	}
	for _, f := range child.Files {
		if !slices.Contains(base.Files, f) {
			return ""
		}
	}
	return "; the weights are the base's, byte for byte"
}

// family is the architecture without the task: "llama" of LlamaForCausalLM.
// Formats have different words for it, which are not compared.
func family(architecture string) string {
	name, _, transformers := strings.Cut(architecture, "For")
	if !transformers {
		return ""
	}
	return strings.ToLower(name)
}

// checkStacked is for merges of other depth than their parents: layers are taken
// whole, so that each must be shaped as those of the parent.
func checkStacked(c, b *view) Claim {
	shapes := map[string]tensorView{}
	for name, t := range b.tensors {
		if part, _, ok := layerOf(name); ok {
			shapes[part] = t
		}
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(c.tensors)) {
		part, _, ok := layerOf(name)
		if !ok {
			continue
		}
		like, there := shapes[part]
		if !there {
			return Claim{Claimed, fmt.Sprintf("it has parts that the parent has not, as %.100s: what was done to them cannot be told", name)}
		}
		if fits(c.tensors[name], like) == no {
			return Claim{Contradicted, fmt.Sprintf("%.100s: %s, %s in the parent's layers", name, c.tensors[name], like)}
		}
		n++
	}
	return Claim{Checked, fmt.Sprintf("%d tensors have the shapes of the parent's layers: %d layers of %d", n, c.layers(), b.layers())}
}

// difference is how a model differs from its base.
type difference struct {
	matched, missing, extra, misshaped, resized, undecided []string
	words                                                  map[string]string // of those that are misshaped or resized
}

func compare(c, b *view) difference {
	d := difference{words: map[string]string{}}
	for _, name := range slices.Sorted(maps.Keys(b.tensors)) {
		theirs := b.tensors[name]
		ours, ok := c.tensors[name]
		if !ok {
			d.missing = append(d.missing, name)
			continue
		}
		switch fits(ours, theirs) {
		case yes:
			d.matched = append(d.matched, name)
		case unsure:
			d.undecided = append(d.undecided, name)
		case no:
			d.words[name] = fmt.Sprintf("%s, %s in the base", ours, theirs)
			if isVocabulary(name) && sameBut(ours.shape, theirs.shape) {
				d.resized = append(d.resized, name)
			} else {
				d.misshaped = append(d.misshaped, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.tensors)) {
		if _, ok := b.tensors[name]; !ok {
			d.extra = append(d.extra, name)
		}
	}
	return d
}

// against is what speaks against the relation; empty if nothing does. Converters
// to GGUF leave out what sees and hears.
func (d difference) against(rel Relation, converted bool) string {
	newHead := rel == Finetune || rel == Merge
	if i := slices.IndexFunc(d.misshaped, func(n string) bool { return !newHead || !isHead(n) }); i >= 0 {
		name := d.misshaped[i]
		return fmt.Sprintf("%.100s: %s%s", name, d.words[name], more(len(d.misshaped)-1))
	}
	if len(d.resized) > 0 && rel == Quantized && !converted {
		return fmt.Sprintf("%.100s: %s", d.resized[0], d.words[d.resized[0]])
	}
	missing := slices.DeleteFunc(slices.Clone(d.missing), func(n string) bool {
		return isBuffer(n) || strings.HasPrefix(n, "lm_head.") || newHead && isHead(n) || converted && foreignTower(n)
	})
	if len(missing) > 0 {
		return fmt.Sprintf("%.100s of the base is not in it%s", missing[0], more(len(missing)-1))
	}
	extra := slices.DeleteFunc(slices.Clone(d.extra), func(n string) bool {
		return isBuffer(n) || strings.HasPrefix(n, "lm_head.") || newHead && isHead(n)
	})
	if len(extra) > 0 {
		return fmt.Sprintf("%.100s is not in the base%s", extra[0], more(len(extra)-1))
	}
	if len(d.matched) == 0 {
		return "no tensor has the name and shape of one in the base"
	}
	return ""
}

// says what was found where nothing speaks against the claim.
func (d difference) says(b *view) string {
	s := fmt.Sprintf("%d of %d tensors have the base's names and shapes", len(d.matched), len(b.tensors))
	if len(d.resized) > 0 {
		s += fmt.Sprintf("; the vocabulary was resized (%s)", d.words[d.resized[0]])
	}
	if len(d.undecided) > 0 {
		s += fmt.Sprintf("; of %d it cannot be told", len(d.undecided))
	}
	if heads := slices.DeleteFunc(slices.Clone(d.extra), func(n string) bool { return isBuffer(n) || !isHead(n) || strings.HasPrefix(n, "lm_head.") }); len(heads) > 0 {
		s += fmt.Sprintf("; it has a head of its own (%.60s)", heads[0])
	}
	if slices.ContainsFunc(d.missing, foreignTower) {
		s += "; without what sees or hears"
	}
	return s
}

// more tells of further cases.
func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// sameBut tells whether shapes differ in nothing but the first dimension.
func sameBut(a, b []int64) bool {
	return len(a) == len(b) && len(a) > 1 && slices.Equal(a[1:], b[1:])
}

func (w Weights) bytes() int64 {
	var n int64
	for _, t := range w.Tensors {
		if t.Bytes < 0 {
			return 0
		}
		n += t.Bytes
	}
	return n
}
