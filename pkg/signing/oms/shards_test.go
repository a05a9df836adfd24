package oms_test

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// part is one shard of a file: its name, and what is in it.
type part struct{ name, content string }

// sharded is a statement that lists parts of files.
func sharded(size, algorithm string, parts ...part) string {
	h := sha256.New()
	var list []string
	for _, p := range parts {
		raw, _ := hex.DecodeString(sum(p.content).Encoded())
		h.Write(raw)
		list = append(list, fmt.Sprintf(`{"name":%q,"digest":%q,"algorithm":%q}`, p.name, sum(p.content).Encoded(), algorithm))
	}
	return `{"_type":"https://in-toto.io/Statement/v1","subject":[{"name":"m","digest":{"sha256":"` + hex.EncodeToString(h.Sum(nil)) + `"}}],` +
		`"predicateType":"https://model_signing/signature/v1.0","predicate":{"resources":[` + strings.Join(list, ",") +
		`],"serialization":{"method":"shards","shard_size":` + size + `,"hash_type":"sha256","allow_symlinks":false}}}`
}

// over is the digest of a file by those of its shards.
func over(contents ...string) digest.Digest {
	var all []byte
	for _, c := range contents {
		raw, _ := hex.DecodeString(sum(c).Encoded())
		all = append(all, raw...)
	}
	return oms.Sharded(digest.FromBytes(all))
}

func TestShards(t *testing.T) {
	f := newForger(t, elliptic.P256())
	good := []part{{"b:0:4", "1234"}, {"b:4:8", "5678"}, {"b:8:9", "9"}, {"a:b:0:3", "abc"}, {"c:0:4", "full"}}
	want := []oms.Resource{{Name: "a:b", Digest: sum("abc")}, {Name: "b", Digest: over("1234", "5678", "9")}, {Name: "c", Digest: sum("full")}}
	backwards := []part{good[4], good[2], good[1], good[3], good[0]}
	for name, text := range map[string]string{
		"plain":           sharded("4", "sha256", good...),
		"size as a float": sharded("4.0", "sha256", good...),
		"long algorithm":  sharded("4", "sha256-sharded-4", good...),
		"any order":       sharded("4", "sha256", backwards...),
	} {
		got, err := oms.Verify(t.Context(), f.bundle(t, text), f.trust(t))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got.Statement.Resources); diff != "" || got.Statement.ShardSize != 4 {
			t.Errorf("%s: files (-want +got):\n%s", name, diff)
		}
		there := map[string]digest.Digest{"a:b": sum("abc"), "b": over("1234", "5678", "9"), "c": sum("full")}
		if d := got.Statement.Compare(there); !d.None() {
			t.Errorf("%s: Compare = %+v", name, d)
		}
		// A file whose bytes are the digests of the shards is not the file.
		var digests []byte
		for _, c := range []string{"1234", "5678", "9"} {
			raw, _ := hex.DecodeString(sum(c).Encoded())
			digests = append(digests, raw...)
		}
		there["b"] = digest.FromBytes(digests)
		if d := got.Statement.Compare(there); len(d.Changed) != 1 {
			t.Errorf("%s: Compare = %+v", name, d)
		}
		if raw, err := got.Statement.Encode(); err == nil {
			t.Errorf("%s: Encode = %s", name, raw)
		}
	}
	without := func(i int) []part {
		return append(append([]part(nil), good[:i]...), good[i+1:]...)
	}
	tests := map[string]struct{ text, want string }{
		"a hole":            {sharded("4", "sha256", without(1)...), "is due"},
		"no beginning":      {sharded("4", "sha256", without(0)...), "is due"},
		"twice":             {sharded("4", "sha256", append(good, good[0])...), "is due"},
		"empty":             {sharded("4", "sha256", part{"b:0:0", ""}), "is due"},
		"backwards":         {sharded("4", "sha256", part{"b:4:0", ""}), "is due"},
		"too large":         {sharded("4", "sha256", part{"b:0:5", "12345"}), "is due"},
		"small in between":  {sharded("4", "sha256", part{"b:0:3", "123"}, part{"b:3:7", "4567"}), "is due"},
		"no offsets":        {sharded("4", "sha256", part{"b", "1234"}), "no shard of a file"},
		"one offset":        {sharded("4", "sha256", part{"b:4", "1234"}), "no shard of a file"},
		"negative":          {sharded("4", "sha256", part{"b:-1:3", "1234"}), "no shard of a file"},
		"a sign":            {sharded("4", "sha256", part{"b:+0:3", "123"}), "no shard of a file"},
		"zeros":             {sharded("4", "sha256", part{"b:00:3", "123"}), "no shard of a file"},
		"too many digits":   {sharded("4", "sha256", part{"b:0:99999999999999999999", "123"}), "no shard of a file"},
		"outside":           {sharded("4", "sha256", part{"../b:0:3", "123"}), "plain relative path"},
		"nothing":           {sharded("4", "sha256"), "0 shards"},
		"no size":           {sharded("0", "sha256", good...), "size of shards"},
		"half a byte":       {sharded("4.5", "sha256", good...), "size of shards"},
		"size as a text":    {sharded(`"4"`, "sha256", good...), "size of shards"},
		"huge size":         {sharded("1e300", "sha256", good...), "size of shards"},
		"another algorithm": {sharded("4", "blake3", good...), "blake3"},
		"another size":      {sharded("4", "sha256-sharded-5", good...), "sharded-5"},
	}
	for name, tt := range tests {
		_, err := oms.Verify(t.Context(), f.bundle(t, tt.text), f.trust(t))
		if !errors.Is(err, signing.ErrUntrusted) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: Verify error = %v, want ErrUntrusted with %q", name, err, tt.want)
		}
	}
}
