package variant

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ErrWant says that what somebody typed is no wish for a variant.
var ErrWant = errors.New("variant")

// A Want is what is wanted of a variant. The zero value takes the best there is.
type Want struct {
	// Word is a name, or else a format, quantisation or data type: "q4_k_m",
	// "gguf". Of several that it fits the best is taken.
	Word string

	// Name, Format, Quant, DType and Digest must be those of the variant, but
	// for the case of letters. Empty ones do not matter.
	Name, Format, Quant, DType string
	Digest                     digest.Digest

	// Runtime is the program that is to load it, one of [Runtimes].
	Runtime string

	// Device is what it is to run on: only a variant that needs no other.
	Device string

	// Memory is how many bytes it may need. Zero means what the machine has.
	Memory int64

	// Machine is where it is to run, as far as that is known. It does not
	// matter to who sets Memory.
	Machine Machine
}

// ParseWant reads what follows the # in a reference: a word, or KEY=VALUE pairs
// with commas between. The keys are name, format, quant, dtype, runtime and
// device. Errors wrap [ErrWant].
func ParseWant(text string) (Want, error) {
	var w Want
	for part := range strings.SplitSeq(text, ",") {
		key, value, pair := strings.Cut(part, "=")
		if !pair {
			key, value = "", part
		}
		if !wordForm.MatchString(value) && (key != "device" || value == "") {
			return w, fmt.Errorf("%w %.100q: use a name such as q4_k_m, or format=gguf,quant=Q4_K_M", ErrWant, text)
		}
		field := w.field(key)
		switch {
		case field == nil:
			return w, fmt.Errorf("%w %.100q: %q is no key: use name, format, quant, dtype, runtime or device", ErrWant, text, key)
		case *field != "":
			return w, fmt.Errorf("%w %.100q: it says two things of one kind", ErrWant, text)
		}
		*field = value
	}
	if short := dtypes[strings.ToLower(w.DType)]; short != "" {
		w.DType = short
	}
	return w, w.Check()
}

func (w *Want) field(key string) *string {
	switch key {
	case "":
		return &w.Word
	case "name":
		return &w.Name
	case "format":
		return &w.Format
	case "quant", "quantization":
		return &w.Quant
	case "dtype", "precision":
		return &w.DType
	case "runtime":
		return &w.Runtime
	case "device":
		return &w.Device
	}
	return nil
}

// Check refuses what nothing could fit, such as a runtime that nobody knows.
func (w Want) Check() error {
	if _, ok := runtimeOf(w.Runtime); w.Runtime != "" && !ok {
		return fmt.Errorf("%w for %.64q: the runtimes are %s", ErrWant, w.Runtime, strings.Join(Runtimes(), ", "))
	}
	if _, err := parseDevice(w.Device); w.Device != "" && err != nil {
		return fmt.Errorf("%w for device: %w", ErrWant, err)
	}
	return nil
}

// And returns w with what more says. What both say must be the same.
func (w Want) And(more Want) (Want, error) {
	for _, key := range []string{"", "name", "format", "quant", "dtype", "runtime", "device"} {
		mine, other := w.field(key), *more.field(key)
		if *mine != "" && other != "" && !strings.EqualFold(*mine, other) {
			return w, fmt.Errorf("%w: both %q and %q are asked for", ErrWant, *mine, other)
		}
		if *mine == "" {
			*mine = other
		}
	}
	if w.Digest == "" {
		w.Digest = more.Digest
	}
	if w.Memory == 0 {
		w.Memory = more.Memory
	}
	if w.Machine.IsZero() {
		w.Machine = more.Machine
	}
	return w, nil
}

// IsZero tells whether nothing is asked for, whatever the machine.
func (w Want) IsZero() bool {
	return !w.Selects() && w.Runtime == "" && w.Device == "" && w.Memory == 0
}

// Selects tells whether variants are named, by whatever they are called.
func (w Want) Selects() bool {
	return w.Word != "" || w.Name != "" || w.Format != "" || w.Quant != "" || w.DType != "" || w.Digest != ""
}

// String names the variants that are asked for, as [ParseWant] reads it; empty if
// none are.
func (w Want) String() string {
	parts := []string{}
	for _, key := range []string{"", "name", "format", "quant", "dtype"} {
		switch value := *w.field(key); {
		case value == "":
		case key == "":
			parts = append(parts, value)
		default:
			parts = append(parts, key+"="+value)
		}
	}
	return strings.Join(parts, ",")
}

// A Machine is what a model could run on.
type Machine struct {
	Memory  int64 // bytes; 0 if not known
	Devices []Device
}

// IsZero tells whether nothing is known of it.
func (m Machine) IsZero() bool { return m.Memory == 0 && len(m.Devices) == 0 }

// A Device is a processor beside the machine's own.
type Device struct {
	Kind    string // "cuda", "metal"
	Version string // what it can do: "8.9"; empty if not known
	Memory  int64  // bytes of its own; 0 where it uses the machine's
}

// A deviceNeed is a kind of device and the least version of it.
type deviceNeed struct {
	kind         string
	major, minor int
}

func parseDevice(s string) (deviceNeed, error) {
	kind, version, least := strings.Cut(s, ">=")
	d := deviceNeed{kind: strings.ToLower(kind)}
	if !wordForm.MatchString(kind) {
		return d, fmt.Errorf("device %.64q: use a kind and perhaps a version, such as cuda>=8.0", s)
	}
	if !least {
		return d, nil
	}
	var ok bool
	if d.major, d.minor, ok = parseVersion(version); !ok {
		return d, fmt.Errorf("device %.64q: use a version such as 8.0", s)
	}
	return d, nil
}

func parseVersion(s string) (major, minor int, ok bool) {
	a, b, dotted := strings.Cut(s, ".")
	if !dotted {
		b = "0"
	}
	x, err1 := strconv.ParseUint(a, 10, 16)
	y, err2 := strconv.ParseUint(b, 10, 16)
	return int(x), int(y), err1 == nil && err2 == nil
}

// has tells whether one of the devices will do.
func (m Machine) has(need deviceNeed) bool {
	for _, d := range m.Devices {
		if !strings.EqualFold(d.Kind, need.kind) {
			continue
		}
		major, minor, ok := parseVersion(d.Version)
		if need.major == 0 && need.minor == 0 || ok && (major > need.major || major == need.major && minor >= need.minor) {
			return true
		}
	}
	return false
}

// MachineShare is how many hundredths of a machine's memory a model may need: the
// rest is for the system and for what else runs.
const MachineShare = 85

// limit is how many bytes a variant may need, and what there are; 0 if there is
// no limit. All devices count together, as runtimes divide a model among them,
// but only for runtimes whose weights lie there, or where they are more.
func (w Want) limit() (may, there int64) {
	if w.Memory > 0 {
		return w.Memory, w.Memory
	}
	there = w.Machine.Memory
	var devices int64
	for _, d := range w.Machine.Devices {
		devices += max(d.Memory, 0)
	}
	if r, _ := runtimeOf(w.Runtime); devices > there || r.gpu && devices > 0 {
		there = devices
	}
	return there / 100 * MachineShare, there
}
