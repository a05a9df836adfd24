package variant_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/variant"
)

const gib = 1 << 30

// models are the variants of a model of 22 billion parameters.
func models() []variant.Variant {
	gguf := func(quant string, bits float64, need int64) variant.Variant {
		return variant.Variant{
			Name: strings.ToLower(quant), Format: "gguf", Quant: quant, Bits: bits, MinMem: need * gib, Size: (need - 2) * gib,
			Digest: digest.FromString(quant),
		}
	}
	all := []variant.Variant{
		{Name: "safetensors", Format: "safetensors", Quant: "none", DType: "bf16", Bits: 16, MinMem: 48 * gib, Size: 44 * gib, Digest: digest.FromString("st")},
		{Name: "pytorch", Format: "pytorch", Quant: "none", DType: "bf16", Bits: 16, MinMem: 48 * gib, Size: 43 * gib, Digest: digest.FromString("pt")},
		{Name: "safetensors-awq", Format: "safetensors", Quant: "awq", DType: "int32", Bits: 4.5, MinMem: 15 * gib, Size: 13 * gib, Digest: digest.FromString("awq")},
		gguf("Q8_0", 8.5, 41), gguf("Q4_K_M", 4.85, 16), gguf("Q3_K_M", 3.9, 13),
		{Name: "trt", Format: "tensorrt", Bits: 8, MinMem: 26 * gib, Size: 22 * gib, Device: "cuda>=8.9", Digest: digest.FromString("trt")},
		{Name: "mlx", Format: "mlx", MinMem: 14 * gib, Size: 12 * gib, Device: "metal", Digest: digest.FromString("mlx")},
	}
	return all
}

func machine(memory int64, devices ...variant.Device) variant.Want {
	return variant.Want{Machine: variant.Machine{Memory: memory * gib, Devices: devices}}
}

func cuda(version string, memory int64) variant.Device {
	return variant.Device{Kind: "cuda", Version: version, Memory: memory * gib}
}

func TestChoose(t *testing.T) {
	with := func(w variant.Want, text string) variant.Want {
		more, err := variant.ParseWant(text)
		if err != nil {
			t.Fatal(err)
		}
		if w, err = w.And(more); err != nil {
			t.Fatal(err)
		}
		return w
	}
	tests := map[string]struct {
		want   variant.Want
		chosen string // empty: none
	}{
		"nothing known":                    {variant.Want{}, "safetensors"},
		"a large machine":                  {machine(64), "safetensors"},
		"the limit is not reached":         {machine(57), "safetensors"},          // 85 % of 57 are 48.4
		"85 % of it are less":              {machine(56), "q8_0"},                 // 47.6
		"a small machine":                  {machine(24), "q4_k_m"},               // not trt: no cuda
		"with a device":                    {machine(24, cuda("8.9", 32)), "trt"}, // 27.2 of 32
		"with an older device":             {machine(24, cuda("8.6", 32)), "q4_k_m"},
		"several devices":                  {machine(8, cuda("8.0", 24), cuda("8.0", 24), cuda("8.0", 24)), "safetensors"},
		"said memory is all to be had":     {variant.Want{Memory: 48 * gib}, "safetensors"},
		"said memory":                      {variant.Want{Memory: 48*gib - 1}, "q8_0"},
		"said memory, not the machine":     {variant.Want{Memory: 16 * gib, Machine: variant.Machine{Memory: 99 * gib}}, "q4_k_m"},
		"a runtime":                        {with(machine(48), "runtime=vllm"), "safetensors-awq"},
		"a runtime in a GPU":               {with(machine(512, cuda("9.0", 24)), "runtime=vllm"), "safetensors-awq"},
		"a runtime by another name":        {with(machine(24), "runtime=llamacpp"), "q4_k_m"},
		"a runtime that takes pickles too": {with(machine(64), "runtime=transformers"), "safetensors"},
		"a name":                           {with(machine(8), "q8_0"), "q8_0"}, // whatever the machine
		"a name in capitals":               {with(machine(8), "Q8_0"), "q8_0"},
		"a name and too little memory":     {with(variant.Want{Memory: 24 * gib}, "q8_0"), ""},
		"a name that the runtime refuses":  {with(variant.Want{}, "q8_0,runtime=vllm"), ""},
		"a format":                         {with(machine(24), "gguf"), "q4_k_m"},
		"a format and quantisation":        {with(machine(24), "format=safetensors,quant=awq"), "safetensors-awq"},
		"no quantisation":                  {with(machine(64), "quant=none"), "safetensors"},
		"both in a word":                   {with(machine(24), "gguf-q3_k_m"), "q3_k_m"},
		"a digest":                         {variant.Want{Digest: digest.FromString("pt")}, "pytorch"},
		"a device":                         {with(variant.Want{}, "device=metal,format=mlx"), "mlx"},
		"a name without its device":        {with(machine(64), "trt"), "trt"},
		"nothing so small":                 {machine(8), ""},
		"nothing of that name":             {with(variant.Want{}, "q5_k_m"), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := variant.Choose(models(), test.want)
			if (err == nil) != (test.chosen != "") || c.Variant.Name != test.chosen {
				t.Errorf("chose %q, %v; want %q", c.Variant.Name, err, test.chosen)
			}
			if err != nil && !errors.Is(err, variant.ErrNone) {
				t.Errorf("%v is not ErrNone", err)
			}
			if err == nil && models()[c.Index].Name != test.chosen {
				t.Errorf("index %d is another", c.Index)
			}
			if len(c.Rows) != len(models()) {
				t.Errorf("%d rows", len(c.Rows))
			}
			for _, r := range c.Rows {
				if r.Reason == "" {
					t.Errorf("%s: no reason", r.Variant.Name)
				}
			}
		})
	}
}

func TestChooseWords(t *testing.T) {
	w, err := variant.ParseWant("q8_0")
	if err != nil {
		t.Fatal(err)
	}
	w.Memory = 15 * gib
	_, err = variant.Choose(models()[3:6], w)
	want := "no variant fits: q8_0: needs 41 GiB, you have 15 GiB; next: q3_k_m 13 GiB"
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	for asked, want := range map[string]string{
		"q5_k_m":               "none is q5_k_m; there are q8_0, q4_k_m, q3_k_m",
		"q3":                   "none is q3; there are q8_0, q4_k_m, q3_k_m; did you mean q3_k_m?",
		"Q4-K-M":               "none is Q4-K-M; there are q8_0, q4_k_m, q3_k_m; did you mean q4_k_m?",
		"format=gguf,quant=q2": "none is format=gguf,quant=q2; there are q8_0, q4_k_m, q3_k_m",
	} {
		w, err := variant.ParseWant(asked)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = variant.Choose(models()[3:6], w); err == nil || err.Error() != "no variant fits: "+want {
			t.Errorf("%s: got  %v\nwant %s", asked, err, want)
		}
	}
	for memory, want := range map[int64]string{
		1000: "needs 13 GiB, you have 1000 B", 1 << 20: "needs 13 GiB, you have 1 MiB", 1<<20 - 1: "needs 13 GiB, you have 1024 KiB", 13*gib - 100: "needs 13 GiB, you have 100 B less",
	} {
		_, err := variant.Choose(models()[5:6], variant.Want{Memory: memory})
		if err == nil || err.Error() != "no variant fits: q3_k_m: "+want {
			t.Errorf("%d: %v, want %s", memory, err, want)
		}
	}
	c, err := variant.Choose(models(), machine(24))
	if err != nil {
		t.Fatal(err)
	}
	if want := "the best of 3 that fit: needs 16 GiB of 24 GiB"; c.Reason != want {
		t.Errorf("reason %q, want %q", c.Reason, want)
	}
	var told []string
	for _, r := range c.Rows {
		told = append(told, r.Variant.Name+": "+r.Reason)
	}
	if diff := cmp.Diff([]string{
		"safetensors: needs 48 GiB, you have 24 GiB, of which 85 % count",
		"pytorch: needs 48 GiB, you have 24 GiB, of which 85 % count",
		"q8_0: needs 41 GiB, you have 24 GiB, of which 85 % count",
		"trt: runs on cuda>=8.9",
		"q4_k_m: the best of 3 that fit: needs 16 GiB of 24 GiB",
		"safetensors-awq: fits, and q4_k_m comes before it",
		"q3_k_m: fits, and q4_k_m comes before it",
		"mlx: runs on metal",
	}, told); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct {
		n    int
		want string
	}{{1, "the only variant"}, {0, "no variant fits: there is none"}} {
		c, err := variant.Choose(models()[:test.n], variant.Want{})
		if err != nil {
			c.Reason = err.Error()
		}
		if c.Reason != test.want {
			t.Errorf("%d variants: %q, want %q", test.n, c.Reason, test.want)
		}
	}
}

// The order in which variants are listed decides nothing.
func TestChooseIsDeterministic(t *testing.T) {
	twins := models()
	for _, s := range []string{"a", "b", "c"} {
		twins = append(twins, variant.Variant{Name: s, Format: "gguf", Quant: "Q6_K", Size: 18 * gib, Digest: digest.FromString(s)})
	}
	first, err := variant.Choose(twins, variant.Want{Memory: 20 * gib})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		rand.Shuffle(len(twins), func(i, j int) { twins[i], twins[j] = twins[j], twins[i] })
		c, err := variant.Choose(twins, variant.Want{Memory: 20 * gib})
		if err != nil || c.Variant.Digest != first.Variant.Digest {
			t.Fatalf("chose %s, %v, and %s before", c.Variant.Name, err, first.Variant.Name)
		}
		if diff := cmp.Diff(first.Rows, c.Rows); diff != "" {
			t.Fatal(diff)
		}
	}
	if !slices.Contains([]string{"a", "b", "c"}, first.Variant.Name) {
		t.Errorf("chose %s", first.Variant.Name)
	}
}
