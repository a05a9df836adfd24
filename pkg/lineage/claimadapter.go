package lineage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A pair is the two factors of a low-rank change to one module.
type pair struct {
	down, up  []int64 // A: [rank, in], B: [out, rank]
	embedding bool    // A: [rank, in] of an embedding with [in, out] weights
	name      string  // as written, without what tells the factors
}

// A factorEnd is the ending of a factor's name, and which it is.
type factorEnd struct {
	end                       string
	up, transposed, embedding bool
}

var factorEnds = []factorEnd{
	{end: ".lora_A.weight"},
	{end: ".lora_B.weight", up: true},
	{end: ".lora_A.default.weight"},
	{end: ".lora_B.default.weight", up: true},
	{end: ".lora_embedding_A", embedding: true},
	{end: ".lora_embedding_B", up: true, embedding: true},
	{end: ".weight.lora_a"},
	{end: ".weight.lora_b", up: true}, // GGUF
	{end: ".lora_a", transposed: true},
	{end: ".lora_b", up: true, transposed: true}, // MLX
	{end: ".lora.down.weight"},
	{end: ".lora.up.weight", up: true}, // diffusers
	{end: ".lora_down.weight"},
	{end: ".lora_up.weight", up: true},
}

// checkAdapter compares an adapter with the model that it is for.
func checkAdapter(child, base Weights) Claim {
	pairs, rest := pairsOf(child)
	if len(pairs) == 0 {
		return Claim{Claimed, "it has no pairs of low rank that are known here"}
	}
	b := viewOf(base)
	llama := b.isGGUF()
	known := b.byOtherNames()
	for _, module := range slices.Sorted(maps.Keys(pairs)) {
		p := pairs[module]
		if len(p.down) < 2 || len(p.up) < 2 {
			return Claim{Contradicted, fmt.Sprintf("%.100s: one of its two factors is missing", p.name)}
		}
		name, there := known.find(module + ".weight")
		if !there {
			if strings.HasPrefix(module, "blk.") != llama {
				return Claim{Claimed, fmt.Sprintf("it cannot be told which module of the base %.100s is", p.name)}
			}
			return Claim{Contradicted, fmt.Sprintf("%.100s is not in the base", p.name)}
		}
		if reason := p.against(b.tensors[name], name); reason != "" {
			return Claim{Contradicted, fmt.Sprintf("%.100s: %s", p.name, reason)}
		}
	}
	saved := 0
	for _, t := range rest {
		name := strings.Replace(canonical(t.Name), ".modules_to_save", "", 1)
		name = strings.Replace(strings.Replace(name, ".default.", ".", 1), ".base_layer.", ".", 1)
		whole, there := known.find(name)
		if !there || strings.Contains(name, "lora_") {
			continue // the size of a step, a head of its own
		}
		if theirs := b.tensors[whole]; fits(tensorView{shape: t.Shape}, theirs) == no && (!isVocabulary(whole) || !sameBut(t.Shape, theirs.shape)) {
			return Claim{Contradicted, fmt.Sprintf("%.100s: %s, %s in the base", t.Name, tensorView{shape: t.Shape}, theirs)}
		}
		saved++
	}
	s := fmt.Sprintf("%s in the base, and the shapes fit", count(len(pairs), "target module is", "target modules are"))
	if saved > 0 {
		s += fmt.Sprintf("; %s whole", count(saved, "tensor comes", "tensors come"))
	}
	return Claim{Checked, s}
}

// pairsOf finds the low-rank pairs by module, and returns the other tensors.
func pairsOf(w Weights) (pairs map[string]pair, rest []Tensor) {
	pairs = map[string]pair{}
	for _, t := range w.Tensors {
		at := slices.IndexFunc(factorEnds, func(e factorEnd) bool { return strings.HasSuffix(t.Name, e.end) })
		if at < 0 || len(t.Shape) < 2 {
			rest = append(rest, t)
			continue
		}
		e := factorEnds[at]
		written := strings.TrimSuffix(t.Name, e.end)
		module := strings.TrimSuffix(canonical(written), ".base_layer")
		p := pairs[module]
		p.name, p.embedding = written, p.embedding || e.embedding
		shape := t.Shape[:2]
		if e.transposed {
			shape = []int64{shape[1], shape[0]}
		}
		if e.up {
			p.up = shape
		} else {
			p.down = shape
		}
		pairs[module] = p
	}
	return pairs, rest
}

// names are those of a base's tensors, by all that they may be called.
type names map[string]string

// byOtherNames adds to the names of v's tensors what they are called in files of
// the other kind.
func (v *view) byOtherNames() names {
	n := make(names, len(v.tensors))
	for name := range v.tensors {
		if as, ok := topNames[name]; ok {
			n[as] = name
		}
		for _, as := range layerTensor(name) {
			n[as] = name
		}
	}
	for name := range v.tensors {
		n[name] = name
	}
	return n
}

// find looks for a tensor under the name that it has in the base.
func (n names) find(name string) (string, bool) {
	for _, c := range append([]string{name, topNames[name]}, layerTensor(name)...) {
		if own, ok := n[c]; ok {
			return own, true
		}
	}
	return "", false
}

// against is what speaks against the pair being for weights; empty if nothing
// does.
func (p pair) against(weights tensorView, name string) string {
	rank, in, out := p.down[0], p.down[1], p.up[0]
	if p.up[1] != rank {
		return fmt.Sprintf("its factors have ranks %d and %d", rank, p.up[1])
	}
	shapes := [][]int64{{out, in}}
	if p.embedding || isConv1D(name) {
		shapes = append(shapes, []int64{in, out})
	}
	for _, s := range shapes {
		like := weights
		if weights.packing == unpacked && len(weights.shape) > 2 {
			like.shape = weights.shape[:2] // of a convolution
		}
		if fits(tensorView{shape: s}, like) != no {
			return ""
		}
	}
	return fmt.Sprintf("it is for weights of %d×%d, those of the base are %s", out, in, weights)
}

// isConv1D tells whether weights are stored with the input first, as GPT-2's.
func isConv1D(name string) bool {
	for _, part := range []string{".c_attn.", ".c_proj.", ".c_fc."} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
