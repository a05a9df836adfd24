package diff

import (
	"cmp"
	"slices"
)

// group sums up the lists.
func (t *Tensors) group() {
	now := func(list []TensorInfo) []TensorChange {
		out := make([]TensorChange, len(list))
		for i, x := range list {
			out[i].To = x
		}
		return out
	}
	for _, g := range []struct {
		what string
		list []TensorChange
	}{
		{Changed, t.Changed},
		{"reshaped", t.Reshaped},
		{"retyped", t.Retyped},
		{Added, now(t.Added)},
		{Removed, now(t.Removed)},
		{"unknown", t.Unknown},
	} {
		t.Groups = append(t.Groups, groups(g.what, g.list)...)
	}
}

// groups sums up tensors by their names. A name that is there more than once is
// told apart by its file.
func groups(what string, list []TensorChange) []Group {
	times := map[string]int{}
	for _, x := range list {
		times[x.To.Name]++
	}
	names := make([]string, len(list))
	for i, x := range list {
		names[i] = x.To.Name
		if times[x.To.Name] > 1 {
			names[i] = x.To.File + ": " + x.To.Name
		}
	}
	var out []Group
	for _, p := range compress(names) {
		first := list[p.members[0]].To
		g := Group{Change: what, Pattern: p.String(), Tensors: len(p.members), DType: first.DType, Shape: first.Shape}
		for _, i := range p.members {
			x := list[i]
			g.Bytes += max(x.To.Bytes, 0)
			if x.To.DType != g.DType {
				g.DType = ""
			}
			if !slices.Equal(x.To.Shape, g.Shape) {
				g.Shape = nil
			}
			g.Values = g.Values.with(x.Values)
		}
		if g.Shape == nil {
			g.Shape = []int64{}
		}
		out = append(out, g)
	}
	slices.SortStableFunc(out, func(x, y Group) int { return cmp.Compare(y.Tensors, x.Tensors) })
	return out
}

// with sums up the values of several tensors; either may be nil.
func (v *Values) with(w *Values) *Values {
	if v == nil || w == nil {
		return cmp.Or(v, w)
	}
	sum := &Values{
		MaxAbs: max(v.MaxAbs, w.MaxAbs), Relative: max(v.Relative, w.Relative), Cosine: min(v.Cosine, w.Cosine),
		Differing: v.Differing + w.Differing, Elements: v.Elements + w.Elements, NotFinite: v.NotFinite + w.NotFinite,
	}
	if sum.Elements > 0 {
		n, m := float64(v.Elements), float64(w.Elements)
		sum.MeanAbs = (v.MeanAbs*n + w.MeanAbs*m) / (n + m)
	}
	return sum
}
