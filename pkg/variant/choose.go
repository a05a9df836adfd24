package variant

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrNone says that no variant is what is wanted. It is wrapped by a
// *[NoneError].
var ErrNone = errors.New("no variant fits")

// A Choice is the variant that was taken, and why.
type Choice struct {
	Variant Variant
	Index   int    // of it, in what was given
	Reason  string // in words
	Rows    []Row  // all variants, the best first
}

// A Row says of one variant what became of it.
type Row struct {
	Variant Variant
	Chosen  bool
	Fits    bool   // it could have been taken
	Reason  string // in words: what it was passed over for
}

// A NoneError says why each variant was passed over.
type NoneError struct {
	Rows []Row
	Want Want
}

// notAsked is the reason of what is not looked at further.
const notAsked = "not asked for"

// maxTold bounds the variants that an error tells of.
const maxTold = 6

// Error tells what each would need.
func (e *NoneError) Error() string {
	if len(e.Rows) == 0 {
		return ErrNone.Error() + ": there is none"
	}
	var told []string
	for _, r := range e.Rows {
		if r.Reason != notAsked {
			told = append(told, r.Variant.Label()+": "+r.Reason)
		}
	}
	if len(told) == 0 {
		return ErrNone.Error() + ": " + e.unknown()
	}
	if n := len(told) - maxTold; n > 0 {
		told = append(told[:maxTold], fmt.Sprintf("and %d more", n))
	}
	s := ErrNone.Error() + ": " + strings.Join(told, "; ")
	if next, ok := e.Next(); ok {
		s += "; next: " + next.Label() + " " + FormatSize(next.Needs())
	}
	return s
}

// unknown says that nothing is called what was asked for, and what there is.
func (e *NoneError) unknown() string {
	asked := e.Want.String()
	s := "none is " + cmp.Or(asked, "what was asked for") + "; there are " + e.labels()
	if like := e.like(asked); like != "" {
		s += "; did you mean " + like + "?"
	}
	return s
}

// like is the variant whose name begins as what was asked for, or the other way
// round, signs and the case of letters aside; empty if none does.
func (e *NoneError) like(asked string) string {
	asked = bare(asked)
	for _, r := range e.Rows {
		name := bare(r.Variant.Label())
		if min(len(asked), len(name)) > 1 && (strings.HasPrefix(name, asked) || strings.HasPrefix(asked, name)) {
			return r.Variant.Label()
		}
	}
	return ""
}

// bare is a name without its signs, in small letters.
func bare(s string) string {
	return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToLower(s))
}

// labels names the variants that there are.
func (e *NoneError) labels() string {
	all := make([]string, 0, maxTold)
	for _, r := range e.Rows[:min(len(e.Rows), maxTold)] {
		all = append(all, r.Variant.Label())
	}
	if n := len(e.Rows) - maxTold; n > 0 {
		all = append(all, fmt.Sprintf("%d more", n))
	}
	return strings.Join(all, ", ")
}

// Unwrap returns [ErrNone].
func (e *NoneError) Unwrap() error { return ErrNone }

// Next is the best variant that would fit if it had been asked for: the same
// machine, memory and runtime, whatever the name.
func (e *NoneError) Next() (Variant, bool) {
	w := e.Want
	if !w.Selects() {
		return Variant{}, false
	}
	w.Word, w.Name, w.Format, w.Quant, w.DType, w.Digest = "", "", "", "", "", ""
	all := make([]Variant, len(e.Rows))
	for i, r := range e.Rows {
		all[i] = r.Variant
	}
	c, err := Choose(all, w)
	return c.Variant, err == nil
}

// Choose takes the best variant of those that are wanted:
//
//  1. those that are named, by name, format, quantisation or digest;
//  2. of these, those that the runtime loads and that run on the device;
//  3. of these, those that need no more memory than there is: what Want says, or
//     else 85 % of what the machine has;
//  4. of these, the one with the most bits for each weight, of which more than
//     16 count as 16; then one that is no pickle; then the smallest, and of two
//     that are equal in all of it the one whose digest comes first.
//
// A variant that is named and is the only one of that name is taken whatever the
// machine has: who names it may want it for another. Memory that Want sets is a
// limit for it too. The error is a *[NoneError].
func Choose(all []Variant, w Want) (Choice, error) {
	if err := w.Check(); err != nil {
		return Choice{}, err
	}
	order := rank(all)
	named := w.named(all)
	alone := w.Leaves(all)
	rows := make([]Row, len(order))
	c := Choice{Index: -1}
	for i, at := range order {
		v := all[at]
		reason := notAsked
		if slices.Contains(named, at) {
			reason = w.against(v, alone)
		}
		rows[i] = Row{Variant: v, Fits: reason == "", Reason: reason}
		if reason == "" && c.Index < 0 {
			rows[i].Chosen, c.Index, c.Variant = true, at, v
		}
	}
	if c.Index < 0 {
		return Choice{Index: -1, Rows: rows}, &NoneError{Rows: rows, Want: w}
	}
	c.Rows = rows
	c.Reason = w.reason(c.Variant, rows, alone)
	for i := range rows {
		if rows[i].Fits && !rows[i].Chosen {
			rows[i].Reason = "fits, and " + c.Variant.Label() + " comes before it"
		}
		if rows[i].Chosen {
			rows[i].Reason = c.Reason
		}
	}
	return c, nil
}

// named lists the variants that are asked for. A word that is the name of one
// means that one alone.
func (w Want) named(all []Variant) []int {
	var byName, found []int
	for i, v := range all {
		if !w.agrees(v) {
			continue
		}
		if w.Word != "" && equal(v.Name, w.Word) {
			byName = append(byName, i)
		}
		if w.Word == "" || w.fitsWord(v) {
			found = append(found, i)
		}
	}
	if len(byName) > 0 {
		return byName
	}
	return found
}

// Leaves tells whether what is named leaves one variant, which is then taken
// whatever the machine has.
func (w Want) Leaves(all []Variant) bool { return w.Selects() && len(w.named(all)) == 1 }

// agrees tells whether v is all that is asked for but the word.
func (w Want) agrees(v Variant) bool {
	for _, pair := range [][2]string{{w.Name, v.Name}, {w.Format, v.Format}, {w.Quant, cmp.Or(v.Quant, NoQuant)}, {w.DType, v.DType}} {
		if pair[0] != "" && !equal(pair[0], pair[1]) {
			return false
		}
	}
	return w.Digest == "" || w.Digest == v.Digest
}

func (w Want) fitsWord(v Variant) bool {
	return slices.ContainsFunc([]string{v.Name, v.Format, v.Quant, v.DType}, func(s string) bool { return equal(s, w.Word) }) ||
		v.Quant != "" && equal(v.Format+"-"+v.Quant, w.Word)
}

func equal(a, b string) bool { return strings.EqualFold(a, b) }

// against says what speaks against v; nothing if it fits.
func (w Want) against(v Variant, alone bool) string {
	if w.Runtime != "" && !v.Loads(w.Runtime) {
		return w.Runtime + " does not load " + cmp.Or(strings.TrimSpace(v.Format+" "+v.quantised()), "it")
	}
	if reason := w.againstDevice(v, alone); reason != "" {
		return reason
	}
	may, there := w.limit()
	need := v.Needs()
	if may == 0 || need <= may || alone && w.Memory == 0 {
		return ""
	}
	if may == there {
		return fmt.Sprintf("needs %s, you have %s", FormatSize(need), lessThan(need, there))
	}
	return fmt.Sprintf("needs %s, you have %s, of which %d %% count", FormatSize(need), FormatSize(there), MachineShare)
}

// lessThan writes what there is so that it is seen to be less than what is needed.
func lessThan(need, there int64) string {
	if s := FormatSize(there); s != FormatSize(need) {
		return s
	}
	return fmt.Sprintf("%s less", FormatSize(need-there))
}

// againstDevice says whether the device is missing. What is to run elsewhere, by
// name or in memory that was said, may find it there.
func (w Want) againstDevice(v Variant, alone bool) string {
	need, err := parseDevice(v.Device)
	if err != nil {
		return "" // needs none
	}
	if w.Device != "" {
		kind, err := parseDevice(w.Device)
		if err == nil && kind.kind != need.kind {
			return "runs on " + v.Device
		}
		return ""
	}
	if alone || w.Memory > 0 || w.Machine.has(need) {
		return ""
	}
	return "runs on " + v.Device
}

// reason says why v was taken.
func (w Want) reason(v Variant, rows []Row, alone bool) string {
	fit := 0
	for _, r := range rows {
		if r.Fits {
			fit++
		}
	}
	_, there := w.limit()
	size := ""
	if v.Needs() > 0 && there > 0 {
		size = fmt.Sprintf(": needs %s of %s", FormatSize(v.Needs()), FormatSize(there))
	}
	runtime := ""
	if w.Runtime != "" {
		runtime = " for " + w.Runtime
	}
	switch {
	case len(rows) == 1:
		return "the only variant" + size
	case alone:
		return "asked for" + runtime + size
	case fit == 1:
		return "the only one that fits" + runtime + size
	}
	return fmt.Sprintf("the best of %d that fit%s%s", fit, runtime, size)
}

// maxFidelity is the number of bits beyond which more do not make a model better:
// nearly all are trained in 16.
const maxFidelity = 16

// rank orders variants, the best first.
func rank(all []Variant) []int {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		a, b := all[i], all[j]
		return cmp.Or(
			-cmp.Compare(fidelity(a), fidelity(b)),
			cmp.Compare(pickled(a), pickled(b)),
			cmp.Compare(a.Size, b.Size),
			strings.Compare(a.Digest.String(), b.Digest.String()),
		)
	})
	return order
}

func fidelity(v Variant) float64 { return min(cmp.Or(v.Bits, knownBits(v)), maxFidelity) }

// pickled is 1 for formats that can run code when they are loaded.
func pickled(v Variant) int {
	if slices.Contains([]string{"pytorch", "pickle", "sklearn", "nemo", "keras"}, v.Format) {
		return 1
	}
	return 0
}
