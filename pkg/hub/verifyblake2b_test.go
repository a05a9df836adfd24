package hub_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/blake2b"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// signBLAKE2b makes a signature over files by BLAKE2b, as other implementations do.
func signBLAKE2b(t *testing.T, names []string, of files) string {
	t.Helper()
	all := sha256.New()
	list := []map[string]string{}
	for _, name := range names {
		sum := blake2b.Sum512([]byte(of[name]))
		all.Write(sum[:])
		list = append(list, map[string]string{"name": name, "digest": hex.EncodeToString(sum[:]), "algorithm": "blake2b"})
	}
	statement, err := json.Marshal(map[string]any{
		"_type": "https://in-toto.io/Statement/v1", "predicateType": oms.PredicateType,
		"subject": []any{map[string]any{"name": "m", "digest": map[string]string{"sha256": hex.EncodeToString(all.Sum(nil))}}},
		"predicate": map[string]any{"resources": list, "serialization": map[string]any{
			"method": "files", "hash_type": "blake2b", "allow_symlinks": false, "ignore_paths": []string{"model.sig"},
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
	return string(raw)
}

// A directory is held against a signature over BLAKE2b digests of its files, also
// where the SHA-256 of each is known.
func TestVerifyDirOfBLAKE2b(t *testing.T) {
	w := newWorld(t)
	good := files{"a.bin": "1234567890", "empty": ""}
	model := dir(t, good)
	write(t, filepath.Join(model, oms.FileName), signBLAKE2b(t, []string{"a.bin", "empty"}, good))
	for range 2 {
		res, err := w.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{Fast: true})
		if err != nil || !res.Verified || res.Files != 2 || res.ReadFiles != 2 {
			t.Fatalf("VerifyDir = %+v, %v", res, err)
		}
	}
	write(t, filepath.Join(model, "a.bin"), "1234567891")
	res, err := w.VerifyDir(t.Context(), model, *alice().trust, hub.VerifyDirOptions{})
	wantErr(t, err, content.ErrMismatchedDigest)
	if diff := cmp.Diff([]string{"a.bin"}, res.Changed); diff != "" {
		t.Error(diff)
	}
}
