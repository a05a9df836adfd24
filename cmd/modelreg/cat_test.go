package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/hub"
)

func TestParseRange(t *testing.T) {
	good := map[string]hub.Range{
		"": {First: 0, Last: -1}, "0-0": {First: 0, Last: 0}, "5-9": {First: 5, Last: 9}, "5-": {First: 5, Last: -1}, "-9": {First: -9},
		"9223372036854775807-": {First: 1<<63 - 1, Last: -1},
	}
	for s, want := range good {
		if got, err := parseRange(s); err != nil || got != want {
			t.Errorf("parseRange(%q) = %+v, %v, want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"-", "5", "9-5", "-0", "a-b", "1-2-3", "0x1-2", "+1-2", " 1-2", "1 -2", "9223372036854775808-", "1-9223372036854775808"} {
		if got, err := parseRange(s); err == nil {
			t.Errorf("parseRange(%q) = %+v", s, got)
		}
	}
}

// Of wrong bytes none is written, and the place of the first is told.
func TestCatRangeOfWrongBytes(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	file := string(testmodel.SafetensorsFile(testmodel.Transformer(3, 0), nil))
	model := filepath.Dir(u.file("model/model.safetensors", file))
	ref := reg.Host + "/acme/large:v1"
	u.ok("push", model, ref)
	if got := u.ok("cat", ref, "model.safetensors", "--range", "9000000-9000009"); got != file[9_000_000:9_000_010] {
		t.Errorf("cat wrote %q", got)
	}
	reg.Add(testreg.Rule{Path: "/blobs/", Range: testreg.With, Do: testreg.FlipBit(100)})
	code, out, stderr := u.run(t.Context(), "cat", ref, "model.safetensors", "--range", "9000000-9000009")
	if code != exitIntegrity || out != "" || !strings.Contains(stderr, "model.safetensors: bytes ") {
		t.Errorf("cat of wrong bytes exits with %d, writes %q and says %s", code, out, stderr)
	}
}
