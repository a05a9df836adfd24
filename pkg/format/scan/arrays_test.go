package scan_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// dtypeState is a type whose state is set by opcodes.
func dtypeState(code, state string) string {
	return string(asm(nil).global("numpy", "dtype").raw("(").text(code).raw("K\x00K\x01tR")) + state + "b"
}

const (
	pointer = "B\x08\x00\x00\x00xxxxxxxx"
	denied  = "(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t"
	objects = "cnumpy\ndtype\n(U\x02O8K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
)

// fields is the state of a type of eight bytes with one field.
func fields(of, flags string) string {
	return "(K\x03U\x01|N(U\x01at}U\x01a(" + of + "K\x00tsK\x08K\x01K" + flags + "t"
}

// Arrays of what looks like objects over bytes that the file gives are pointers
// to anything.
func TestArraysOfPointers(t *testing.T) {
	array := func(dtype string) string {
		return "cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x01\x85" + dtype + "\x89" + pointer + "tb"
	}
	tests := map[string]string{
		"a buffer":                "cnumpy\nndarray\n(K\x01\x85" + objects + pointer + "tR",
		"a buffer, new":           "cnumpy\nndarray\n(K\x01\x85" + objects + pointer + "t\x81",
		"arguments computed":      "cnumpy\nndarray\nc__builtin__\ntuple\n](K\x01\x85" + objects + pointer + "e\x85RR",
		"named arguments":         "cnumpy\nndarray\n)}U\x06bufferU\x01xs\x92",
		"a matrix":                "cnumpy\nmatrix\n(K\x01\x85" + objects + pointer + "tR",
		"objects denied":          array(dtypeState("O8", denied)),
		"subarray denied":         array(dtypeState("V8", "(K\x03U\x01|("+objects+"K\x01\x85tNNK\x08K\x01K\x00t")),
		"subarray larger":         array(dtypeState("V8", "(K\x03U\x01|(cnumpy\ndtype\nU\x02f8\x85RK\x09\x85tNNK\x08K\x01K\x00t")),
		"fields denied":           array(dtypeState("V8", fields(objects, "\x00"))),
		"fields partly denied":    array(dtypeState("V8", fields(objects, "\x01"))),
		"flags computed":          array(dtypeState("O8", strings.Replace(denied, "K\x00t", "c__builtin__\nint\n)Rt", 1))),
		"flags left out":          array(dtypeState("O8", strings.Replace(denied, "K\x00t", "t", 1))),
		"state computed":          array(dtypeState("O8", "c__builtin__\ntuple\n](K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00e\x85R")),
		"old state":               array(dtypeState("V8", "(K\x00U\x01|N}U\x01a("+objects+"K\x00tsK\x08K\x01t")),
		"fields computed":         array(dtypeState("V8", "(K\x03U\x01|N(U\x01atccollections\nOrderedDict\n](](U\x01a("+objects+"K\x00tee\x85RK\x08K\x01K\x00t")),
		"fields of no type":       array(dtypeState("V8", "(K\x03U\x01|N(U\x01at}U\x01aNsK\x08K\x01K\x00t")),
		"changed when in use":     "cnumpy.core.numeric\n_frombuffer\n(" + pointer + "cnumpy\ndtype\n(U\x02V8K\x00K\x01tRq\x00K\x01\x85U\x01CtRh\x00" + fields(objects, "\x1b") + "b",
		"changed when in a list":  "]cnumpy\ndtype\n(U\x02V8K\x00K\x01tRq\x00ah\x00" + fields(objects, "\x1b") + "b",
		"a class":                 "cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\nc__builtin__\nobject\n\x85R" + pointer + "tR",
		"scalar of an odd type":   "cnumpy.core.multiarray\nscalar\n(" + dtypeState("V8", "(K\x03U\x01|NNNNNNt") + pointer + "tR",
		"scalar of hidden fields": "cnumpy.core.multiarray\nscalar\n(" + dtypeState("V8", fields(objects, "\x1b")) + pointer + "tR",
	}
	for name, code := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model.pkl", []byte("\x80\x04"+code+".")); got.Verdict != scan.Dangerous {
				t.Errorf("verdict %s: %v", got.Verdict, got.Findings)
			}
		})
	}
	for name, code := range map[string]string{
		"objects":       objects,
		"a shape":       "cnumpy\nndarray\n(K\x01\x85cnumpy\ndtype\nU\x02f8\x85RtR",
		"fields":        dtypeState("V8", fields("cnumpy\ndtype\nU\x02f8\x85R", "\x00")),
		"object fields": dtypeState("V8", fields(objects, "\x1b")),
		"subarray":      dtypeState("V16", "(K\x03U\x01|(cnumpy\ndtype\nU\x02f8\x85RK\x02\x85tNNK\x10K\x01K\x00t"),
		"a time":        dtypeState("M8", "(K\x04U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00}U\x02nsK\x01K\x01K\x01\x87\x86t"),
		"a number":      "cnumpy\ndtype\ncnumpy\nfloat64\n\x85R",
		"handed around": "](cnumpy\nndarray\ncnumpy\nmatrix\ne",
		"array":         array(dtypeState("f8", strings.Replace(denied, "|", "<", 1))),
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model.pkl", []byte("\x80\x04"+code+".")); got.Verdict != scan.Safe {
				t.Errorf("verdict %s: %v", got.Verdict, got.Findings)
			}
		})
	}
}
