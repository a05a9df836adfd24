package oms_test

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/blake2b"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// ofBLAKE2b is a statement about one file, and its digest in it.
func ofBLAKE2b(text string) (string, string) {
	sum := blake2b.Sum512([]byte(text))
	root := sha256.Sum256(sum[:])
	return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"` + hex.EncodeToString(root[:]) + `"}}],` +
		`"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[{"algorithm":"blake2b","digest":"` + hex.EncodeToString(sum[:]) +
		`","name":"a"}],"serialization":{"method":"files","hash_type":"blake2b","allow_symlinks":false}}}`, hex.EncodeToString(sum[:])
}

func TestBLAKE2b(t *testing.T) {
	f := newForger(t, elliptic.P256())
	text, sum := ofBLAKE2b("bytes")
	v, err := oms.Verify(t.Context(), f.bundle(t, text), f.trust(t))
	if err != nil {
		t.Fatal(err)
	}
	st := v.Statement
	h := st.NewHash()
	_, _ = h.Write([]byte("bytes"))
	if d := st.Compare(map[string]digest.Digest{"a": oms.BLAKE2b(h.Sum(nil))}); !st.BLAKE2b || !d.None() {
		t.Errorf("%+v differs: %+v", st, d)
	}
	if d := st.Compare(map[string]digest.Digest{"a": digest.FromString("bytes")}); len(d.Changed) != 1 {
		t.Errorf("by another hash: %+v", d)
	}
	for name, tt := range map[string]struct{ from, to, want string }{
		"short":         {sum, sum[:64], "no BLAKE2b-512"},
		"long":          {sum, sum + "00", "no BLAKE2b-512"},
		"capitals":      {sum, strings.Repeat("A", 128), "no BLAKE2b-512"},
		"other bytes":   {sum, strings.Repeat("0", 128), "subject is"},
		"mixed":         {`"algorithm":"blake2b"`, `"algorithm":"sha256"`, "digest by"},
		"called sha256": {`"hash_type":"blake2b"`, `"hash_type":"sha256"`, "digest by"},
		"blake3":        {"blake2b", "blake3", "blake3"},
		"shards":        {`"method":"files"`, `"method":"shards","shard_size":4`, "hashed by"},
	} {
		_, err := oms.Verify(t.Context(), f.bundle(t, strings.ReplaceAll(text, tt.from, tt.to)), f.trust(t))
		if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: Verify error = %v, want ErrUntrusted with %q", name, err, tt.want)
		}
	}
}
