// Package variant tells the variants of one model apart, and chooses among
// them: the same model as safetensors, as GGUF in several quantisations, as
// ONNX.
//
// A version that has several is an image index. What each of them is stands in
// the annotations of the index's descriptors: [Read] takes it from there,
// [Variant.Annotations] puts it there, and [Of] derives it from what the files
// of a model say. [Choose] takes the best for what is wanted, and tells of each
// why it was taken or not.
//
// The same variants and the same [Want] give the same choice on every machine:
// nothing here asks the machine, the network or the clock. What the machine has
// is given as a [Machine].
//
// Annotations come from registries and are taken to be hostile: what is not of
// the form that is expected is left out, as if it was not said.
package variant

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const (
	// MaxNameBytes bounds the name of a variant.
	MaxNameBytes = 64

	// NoQuant is the quantisation of weights that have none.
	NoQuant = "none"

	maxRuntimes = 32 // of one variant
	maxListText = 2048
)

// A Variant is one form of a model. Zero values mean that nobody says so.
type Variant struct {
	// Name is what people call it: lower case, as in "q4_k_m".
	Name string

	Format string // "safetensors", "gguf", "onnx", "mlx"
	Quant  string // "Q4_K_M", "awq", [NoQuant]
	DType  string // of most weights: "bf16"

	// Bits is how many bits there are for each weight.
	Bits float64

	// Runtimes are those that load it, as far as was known when it was made;
	// [Variant.Loads] knows more.
	Runtimes []string

	// Device is what it runs on alone: "cuda", "cuda>=8.0", "metal".
	Device string

	// MinMem is an estimate of the memory that it takes to run, and Size what
	// all its files have, both in bytes.
	MinMem, Size int64

	Digest digest.Digest // of its manifest
}

var (
	nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	wordForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
)

// CheckName tells whether a variant can have this name: lower-case letters,
// digits, dot, dash and underscore, beginning with a letter or digit, of at most
// [MaxNameBytes]. It is then fit to be the end of a tag.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("variant %q: a name is lower-case letters, digits, dot, dash and underscore, at most %d of them", name, MaxNameBytes)
	}
	return nil
}

// Read takes from a descriptor of an index what it says of a variant.
func Read(desc ocispec.Descriptor) Variant {
	a := desc.Annotations
	v := Variant{
		Name: strings.ToLower(word(a[mediatypes.AnnotationVariantName])), Format: strings.ToLower(word(a[mediatypes.AnnotationVariantFormat])),
		Quant: word(a[mediatypes.AnnotationVariantQuant]), DType: strings.ToLower(word(a[mediatypes.AnnotationVariantDType])),
		Runtimes: words(a[mediatypes.AnnotationVariantRuntime]), Digest: desc.Digest,
	}
	if !nameForm.MatchString(v.Name) {
		v.Name = ""
	}
	if _, err := parseDevice(a[mediatypes.AnnotationVariantDevice]); err == nil {
		v.Device = a[mediatypes.AnnotationVariantDevice]
	}
	if bits, err := strconv.ParseFloat(a[mediatypes.AnnotationVariantBits], 64); err == nil && bits > 0 && bits <= maxBits {
		v.Bits = bits
	}
	v.MinMem = parseSize(a[mediatypes.AnnotationVariantMinMem])
	v.Size = parseSize(a[mediatypes.AnnotationVariantSize])
	return v
}

// Annotations are what a descriptor of an index says of v. What is not known is
// left out.
func (v Variant) Annotations() map[string]string {
	out := map[string]string{}
	put := func(key, value string) {
		if value != "" {
			out[key] = value
		}
	}
	put(mediatypes.AnnotationVariantName, v.Name)
	put(mediatypes.AnnotationVariantFormat, v.Format)
	put(mediatypes.AnnotationVariantQuant, v.Quant)
	put(mediatypes.AnnotationVariantDType, v.DType)
	put(mediatypes.AnnotationVariantRuntime, strings.Join(v.Runtimes, ","))
	put(mediatypes.AnnotationVariantDevice, v.Device)
	if v.Bits > 0 {
		put(mediatypes.AnnotationVariantBits, strconv.FormatFloat(v.Bits, 'f', 2, 64))
	}
	if v.MinMem > 0 {
		put(mediatypes.AnnotationVariantMinMem, strconv.FormatInt((v.MinMem-1)/mib+1, 10)+"MiB")
	}
	if v.Size > 0 {
		put(mediatypes.AnnotationVariantSize, strconv.FormatInt(v.Size, 10))
	}
	return out
}

// IsKnown tells whether anything but its digest is known of v.
func (v Variant) IsKnown() bool { return v.Name != "" || v.Format != "" || v.Quant != "" }

// String describes v in the words that [ParseWant] reads, as in
// "name=q4_k_m,format=gguf,quant=Q4_K_M".
func (v Variant) String() string {
	var said []string
	for _, kv := range [][2]string{{"name", v.Name}, {"format", v.Format}, {"quant", v.Quant}, {"dtype", v.DType}} {
		if kv[1] != "" && (kv[0] != "quant" || kv[1] != NoQuant) && (kv[0] != "dtype" || v.quantised() == "") {
			said = append(said, kv[0]+"="+kv[1])
		}
	}
	return strings.Join(said, ",")
}

// Label is what v is called in a list: its name, or else the beginning of its
// digest.
func (v Variant) Label() string {
	const keep = 12
	return cmp.Or(v.Name, v.Digest.String()[:min(len("sha256:")+keep, len(v.Digest))])
}

// quantised is the quantisation, "" for none.
func (v Variant) quantised() string {
	if v.Quant == NoQuant {
		return ""
	}
	return v.Quant
}

// Needs is how much memory v takes, in bytes: the estimate, or else no less than
// its files; 0 if nobody knows.
func (v Variant) Needs() int64 { return cmp.Or(v.MinMem, v.Size) }

func word(s string) string {
	if !wordForm.MatchString(s) {
		return ""
	}
	return s
}

func words(list string) []string {
	if len(list) > maxListText {
		return nil
	}
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		if s = word(strings.TrimSpace(s)); s != "" && len(out) < maxRuntimes {
			out = append(out, strings.ToLower(s))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

const (
	mib = 1 << 20
	gib = 1 << 30

	maxBits = 64
)

// sizeUnits are those in annotations.
var sizeUnits = []struct {
	name string
	n    int64
}{{"KiB", 1 << 10}, {"MiB", mib}, {"GiB", gib}, {"TiB", 1 << 40}}

// parseSize reads a number of bytes, with a unit or without; 0 for anything else.
func parseSize(s string) int64 {
	unit := int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			s, unit = rest, u.n
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/2/unit {
		return 0
	}
	return n * unit
}

// FormatSize writes bytes of memory as people do: "5.4 GiB", "41 GiB", "180 MiB".
func FormatSize(n int64) string {
	switch {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	case n < mib:
		return strconv.FormatInt((n+1<<10-1)>>10, 10) + " KiB"
	case n >= 10*gib:
		return strconv.FormatFloat(float64(n)/gib, 'f', 0, 64) + " GiB"
	case n >= gib:
		return strconv.FormatFloat(float64(n)/gib, 'f', 1, 64) + " GiB"
	}
	return strconv.FormatInt((n+mib-1)/mib, 10) + " MiB"
}
