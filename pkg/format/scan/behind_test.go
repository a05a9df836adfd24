package scan_test

import (
	"archive/tar"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// command is a pickle that runs one, of protocol 0.
var command = string(asm(nil).global("os", "getcwd").raw("(tR").stop())

// Loaders that take several pickles from one file come to those behind one that
// does nothing, in files that do not say that they are pickles.
func TestCodeBehindNothing(t *testing.T) {
	tests := map[string]string{
		"a number":              "I1\n." + command,
		"three":                 "I1\n.N.}." + command,
		"an allowed call":       "I1\n.ccollections\nOrderedDict\n(tR.N." + command,
		"PyTorch's magic, text": "L119547037146038801333356L\n." + command,
		"PyTorch's magic":       "\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + command,
		"cut":                   "I1\n." + strings.TrimSuffix(command, "R."),
		"broken":                "I1\n." + strings.TrimSuffix(command, ".") + "\xff",
		"many marks":            strings.Repeat("(", 1<<17) + command,
		"many numbers":          strings.Repeat("N", 2<<20) + command,
		"many dictionaries":     strings.Repeat("}0", 2<<20) + command,
		"far in the memo":       "Nr\xff\xff\xff\x7f0" + command,
		"far in the memo, text": "Np4000000000\n0" + command,
		"index with a sign":     "Np+1\n0g+1\n0" + command,
		"index with spaces":     "Np 1 \n0g1\n0" + command,
		"index with a line":     "Np1_0\n0g10\n0" + command,
		"index with a zero":     "Np1\x00x\n0g1\n0" + command,
		"frame too short":       "\x95\x02\x00\x00\x00\x00\x00\x00\x00\x8c\x04abcd0" + command,
		"frame in a frame":      "\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x01\x00\x00\x00\x00\x00\x00\x00N0" + command,
	}
	for name, b := range tests {
		for _, file := range []string{"weights.bin", "weights", "notes.txt", "model.pkl"} {
			t.Run(name+" in "+file, func(t *testing.T) {
				if got := run(t, file, []byte(b)); got.Verdict != scan.Dangerous && got.Verdict != scan.Unscannable {
					t.Errorf("verdict %s: %v", got.Verdict, got.Findings)
				}
			})
		}
	}
}

// A file with PyTorch's magic is one, however the number is written.
func TestTorchMagicByValue(t *testing.T) {
	const n = "119547037146038801333356"
	for _, magic := range []string{
		"L" + n + "L\n", "L" + n + "\n", "I" + n + "\n", "I 119_547037" + n[9:] + " \n", "L0x1950a86a20f9469cfc6cL\n",
		"\x8a\x0bl\xfc\x9cF\xf9 j\xa8P\x19\x00", "\x8b\x0a\x00\x00\x00l\xfc\x9cF\xf9 j\xa8P\x19",
	} {
		got := run(t, "weights.bin", []byte(magic+".cmylib.model\nModel\nN"))
		if want := []string{"pickle-import", "pickle-broken"}; !slices.Equal(rules(got), want) {
			t.Errorf("%q: %v", magic, got.Findings)
		}
	}
	if got := run(t, "weights.bin", []byte("L1"+n+"L\n.cmylib.model\nModel\nN")); got.Verdict != scan.Safe {
		t.Errorf("another number: %v", got.Findings)
	}
}

// PyTorch's oldest files are tar archives of pickles with bytes between them.
func TestTorchTar(t *testing.T) {
	for _, name := range []string{"storages", "tensors", "pickle", "./pickle"} {
		for what, b := range map[string]string{
			"behind a number": "I1\n." + command,
			"behind bytes":    "I1\n.(I1\nS'cpu'\nNt.\x00\x00\x00\x00" + command,
		} {
			if got := run(t, "model.pt", tarOf(tar.Header{Name: name}, []byte(b))); got.Verdict == scan.Safe {
				t.Errorf("%s %s is safe", name, what)
			}
		}
	}
	for _, name := range []string{"docs/pickle", "tensors.txt"} {
		if got := run(t, "data.tar", tarOf(tar.Header{Name: name}, []byte("About tensors.\n"))); got.Verdict != scan.Safe {
			t.Errorf("%s: %v", name, got.Findings)
		}
	}
}

// Texts and numbers that happen to begin with a whole pickle are none.
func TestNothingBehindNothing(t *testing.T) {
	for i, b := range []string{
		"N.", "N.N.N.", "N.\ncat\ndog\n", "I1\n.\x00\x00\x00\x00", "I1\n.cat\ndog\nbird\n", "F1.5\n.}\n", "good\nday\n", "pip\ninstall\n",
		"I1\n.good\nday\n", "Np1x\n0" + command,
	} {
		if got := run(t, fmt.Sprintf("%d.bin", i), []byte(b)); got.Verdict != scan.Safe {
			t.Errorf("%q: %v", b, got.Findings)
		}
	}
}
