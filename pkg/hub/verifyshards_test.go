package hub_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// signShards writes a signature over parts of files, of four bytes each, as other
// implementations make them.
func signShards(t *testing.T, dir string, parts [][2]string) {
	t.Helper()
	all := sha256.New()
	list := []map[string]string{}
	for _, p := range parts {
		dgst := digest.FromString(p[1])
		raw, _ := hex.DecodeString(dgst.Encoded())
		all.Write(raw)
		list = append(list, map[string]string{"name": p[0], "digest": dgst.Encoded(), "algorithm": "sha256"})
	}
	statement, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": oms.PredicateType,
		"subject": []any{map[string]any{"name": "m", "digest": map[string]string{"sha256": hex.EncodeToString(all.Sum(nil))}}},
		"predicate": map[string]any{"resources": list, "serialization": map[string]any{
			"method": "shards", "hash_type": "sha256", "shard_size": 4, "allow_symlinks": false, "ignore_paths": []string{"model.sig"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	hint := sha256.Sum256(alice().signer.Public().PEM())
	raw, err := signing.SignDetached(t.Context(), alice().signer, statement, hex.EncodeToString(hint[:]))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, oms.FileName), string(raw))
}

// A directory is held against a signature over parts of its files: all of them,
// in their places, and nothing after.
func TestVerifyDirOfShards(t *testing.T) {
	model := dir(t, files{"a.bin": "1234567890", "b.bin": "12345678", "c.bin": "1234", "d.txt": "12"})
	signShards(t, model, [][2]string{
		{"a.bin:0:4", "1234"}, {"a.bin:4:8", "5678"}, {"a.bin:8:10", "90"}, {"b.bin:0:4", "1234"}, {"b.bin:4:8", "5678"}, {"c.bin:0:4", "1234"}, {"d.txt:0:2", "12"},
	})
	res, err := aground.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{})
	if err != nil || !res.Verified || res.Files != 4 || res.ReadFiles != 4 || res.Size != 24 {
		t.Fatalf("VerifyDir = %+v, %v", res, err)
	}
	for name, change := range map[string][2]string{
		"last byte":            {"a.bin", "1234567891"},
		"first byte":           {"a.bin", "0234567890"},
		"parts in other order": {"b.bin", "56781234"},
		"a part too many":      {"b.bin", "123456789"},
		"a part too few":       {"b.bin", "1234"},
		"one that was whole":   {"c.bin", "12341"},
		"one that got shorter": {"d.txt", "1"},
		"empty":                {"a.bin", ""},
	} {
		t.Run(name, func(t *testing.T) {
			was := map[string]string{"a.bin": "1234567890", "b.bin": "12345678", "c.bin": "1234", "d.txt": "12"}[change[0]]
			write(t, filepath.Join(model, change[0]), change[1])
			res, err := aground.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{})
			wantErr(t, err, content.ErrMismatchedDigest)
			if diff := cmp.Diff([]string{change[0]}, res.Changed); diff != "" {
				t.Error(diff)
			}
			write(t, filepath.Join(model, change[0]), was)
		})
	}
	// With a memory of digests, which does not know of parts.
	w := newWorld(t)
	for range 2 {
		res, err := w.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{Fast: true})
		if err != nil || res.Files != 4 {
			t.Fatalf("VerifyDir = %+v, %v", res, err)
		}
	}
	// What has no bytes has no part that could be listed.
	write(t, filepath.Join(model, "__init__.py"), "")
	res, err = aground.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{})
	if err != nil || !slices.Contains(res.Ignored, "__init__.py") {
		t.Fatalf("VerifyDir = %+v, %v", res, err)
	}
	write(t, filepath.Join(model, "e.bin"), "x")
	res, err = aground.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{})
	wantErr(t, err, content.ErrMismatchedDigest)
	if diff := cmp.Diff([]string{"e.bin"}, res.Extra); diff != "" {
		t.Error(diff)
	}
}
