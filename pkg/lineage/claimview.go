package lineage

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// A view is the tensors of a model by canonical names, with those that belong to
// packed weights put together.
type view struct {
	tensors map[string]tensorView
	blocks  bool // names are those of llama.cpp
}

// packing is how weights are packed into integers.
type packing int

const (
	unpacked packing = iota
	byInput          // GPTQ and AWQ: [in, out], one of them packed
	byOutput         // compressed-tensors, MLX: [out, in packed]
	flat             // bitsandbytes: two in a byte, in one column
)

type tensorView struct {
	shape   []int64
	packing packing
}

// String writes a shape as people do.
func (t tensorView) String() string {
	s := strings.Trim(strings.ReplaceAll(fmt.Sprint(t.shape), " ", "×"), "[]")
	if s == "" {
		s = "a scalar"
	}
	if t.packing != unpacked {
		s += " packed"
	}
	return s
}

func viewOf(w Weights) *view {
	names := make(map[string]bool, len(w.Tensors))
	shapes := make(map[string][]int64)
	for _, t := range w.Tensors {
		name := canonical(t.Name)
		names[name] = true
		if strings.HasSuffix(name, ".scales") || strings.HasSuffix(name, ".qzeros") {
			shapes[name] = t.Shape
		}
	}
	v := &view{tensors: make(map[string]tensorView, len(w.Tensors))}
	experts := stacks{}
	for _, t := range w.Tensors {
		name := canonical(t.Name)
		v.blocks = v.blocks || strings.HasPrefix(name, "blk.")
		if m, ok := isBeside(name); ok && (names[m+".weight"] || names[m+".qweight"] || names[m+".weight_packed"]) || isBuffer(name) {
			continue
		}
		one := tensorView{t.Shape, packingOf(name, t.DType, names)}
		if module, ok := strings.CutSuffix(name, ".qweight"); ok && names[module+".scales"] {
			name, one = module+".weight", unpackedInput(t.Shape, shapes[module+".scales"], shapes[module+".qzeros"])
		} else if module, ok := strings.CutSuffix(name, ".weight_packed"); ok {
			name, one.packing = module+".weight", byOutput
		}
		if expert, ok := expertOf(name); ok {
			experts.add(expert, one)
		} else {
			v.tensors[name] = one
		}
	}
	v.stack(experts)
	return v
}

// aligned takes a part such as "bert." from the front of names, where that makes
// more of them those of other.
func (v *view) aligned(other *view) *view {
	common := func(prefix string) (n int) {
		for name := range v.tensors {
			if rest, ok := strings.CutPrefix(name, prefix); ok {
				if _, there := other.tensors[rest]; there {
					n++
				}
			}
		}
		return n
	}
	fronts := map[string]int{}
	for name := range v.tensors {
		front, _, _ := strings.Cut(name, ".")
		fronts[front+"."]++
	}
	best, most := "", common("")
	for front, n := range fronts {
		if n > len(v.tensors)/2 { // there is at most one
			if c := common(front); c > most {
				best, most = front, c
			}
		}
	}
	if best == "" {
		return v
	}
	out := &view{tensors: make(map[string]tensorView, len(v.tensors)), blocks: v.blocks}
	for name, t := range v.tensors {
		out.tensors[strings.TrimPrefix(name, best)] = t
	}
	return out
}

// unpackedInput is what GPTQ or AWQ packed. The zero points, of which there is
// one for each scale, tell how many bits a number has.
func unpackedInput(packed, scales, zeros []int64) tensorView {
	if len(packed) != 2 || len(scales) != 2 || len(zeros) != 2 || zeros[1] <= 0 || zeros[1] > 1<<40 || packed[0] > 1<<40 || scales[1] <= 0 {
		return tensorView{packed, byInput}
	}
	out, width := scales[1], zeros[1]*32/scales[1]
	switch {
	case width <= 0:
		return tensorView{packed, byInput}
	case packed[1] == out: // GPTQ packs along the input
		return tensorView{[]int64{out, packed[0] * 32 / width}, unpacked}
	}
	return tensorView{[]int64{out, packed[0]}, unpacked}
}

// packingOf tells how a tensor with the name of weights is packed.
func packingOf(name, dtype string, names map[string]bool) packing {
	module, ok := strings.CutSuffix(name, ".weight")
	switch {
	case !ok:
	case dtype == "U8" && names[name+".absmax"]:
		return flat
	case (dtype == "U32" || dtype == "I32") && names[module+".scales"]:
		return byOutput
	}
	return unpacked
}

// An expertName is the name of an expert's tensor, without the number.
type expertName struct{ before, after string }

// expertOf takes the number out of the name of an expert's tensor: files of
// some formats have all experts of a layer in one.
func expertOf(name string) (of expertName, ok bool) {
	before, after, ok := strings.Cut(name, ".experts.")
	if !ok {
		return expertName{}, false
	}
	number, rest, ok := strings.Cut(after, ".")
	if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
		return expertName{}, false
	}
	return expertName{before, rest}, true
}

// stacks are the tensors of experts, one upon the other. Their shapes are their
// own, and never those that a header gave.
type stacks map[expertName]tensorView

// add puts the tensor of one more expert on its stack.
func (s stacks) add(name expertName, one tensorView) {
	t, ok := s[name]
	if !ok {
		t = tensorView{append([]int64{0}, one.shape...), one.packing}
	}
	t.shape[0]++
	s[name] = t
}

// stack adds the tensors of experts. Where the file has a tensor of the name
// that a stack would have, the stack gets another: both are in the model.
func (v *view) stack(experts stacks) {
	for of, t := range experts {
		name := of.before + ".experts." + of.after
		if _, taken := v.tensors[name]; taken {
			name = of.before + ".experts.*." + of.after
		}
		v.tensors[name] = t
	}
}

// layers counts the layers.
func (v *view) layers() int {
	seen := map[string]bool{}
	for name := range v.tensors {
		if _, number, ok := layerOf(name); ok {
			seen[number] = true
		}
	}
	return len(seen)
}

// fit is the answer to whether two tensors can be the same weights.
type fit int

const (
	no fit = iota
	yes
	unsure
)

// fits tells whether two tensors can be the same weights.
func fits(a, b tensorView) fit {
	switch {
	case a.packing == unpacked && b.packing == unpacked:
		return decided(slices.Equal(squeezed(a.shape), squeezed(b.shape)))
	case a.packing != unpacked && b.packing != unpacked:
		if a.packing == b.packing && slices.Equal(a.shape, b.shape) {
			return yes
		}
		return unsure
	case a.packing == unpacked:
		a, b = b, a
	}
	return a.unpacksTo(b.shape)
}

// unpacksTo tells whether packed weights are of this shape.
func (t tensorView) unpacksTo(shape []int64) fit {
	if t.packing == flat {
		n, ok := elements(t.shape)
		m, ok2 := elements(shape)
		return decided(ok && ok2 && (2*n == m || 2*n == m+1))
	}
	if len(shape) == 3 && len(t.shape) == 3 && t.shape[0] == shape[0] { // experts
		return tensorView{t.shape[1:], t.packing}.unpacksTo(shape[1:])
	}
	if len(shape) != 2 || len(t.shape) != 2 {
		return unsure
	}
	out, in := shape[0], shape[1]
	if t.packing == byOutput {
		return decided(t.shape[0] == out && packs(t.shape[1], in))
	}
	return decided(t.shape[1] == out && packs(t.shape[0], in) || t.shape[0] == in && packs(t.shape[1], out))
}

// packs tells whether words of 32 bits can hold n numbers of few bits each.
func packs(words, n int64) bool {
	if words <= 0 || n <= 0 || words > 1<<40 || n > 1<<40 {
		return false
	}
	for _, width := range []int64{2, 3, 4, 5, 6, 8} {
		if words*32 == n*width || words == (n+32/width-1)/(32/width) {
			return true
		}
	}
	return false
}

func decided(ok bool) fit {
	if ok {
		return yes
	}
	return no
}

// squeezed is a shape without dimensions of one.
func squeezed(shape []int64) []int64 {
	return slices.DeleteFunc(slices.Clone(shape), func(n int64) bool { return n == 1 })
}

// elements multiplies the dimensions; it is not ok if that is too much.
func elements(shape []int64) (int64, bool) {
	n := uint64(1)
	for _, d := range shape {
		high, low := bits.Mul64(n, uint64(max(d, 0)))
		if high != 0 || low > 1<<60 {
			return 0, false
		}
		n = low
	}
	return int64(n), true
}
