package layout_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/modelreg/modelreg/pkg/layout"
)

// An index.json that can be read has entries within bounds, each with a digest, and
// no name twice for different things; any other is malformed.
func FuzzIndex(f *testing.F) {
	const one = `{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:` +
		`e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":2`
	f.Add([]byte(`{"schemaVersion":2,"manifests":[]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[` + one + `,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[` + one + `,"annotations":{"org.opencontainers.image.ref.name":"reg.example/a/b:v1"}},` + one + `}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:0","size":-1}]}`))
	f.Add([]byte(`{"schemaVersion":1}`))
	f.Add([]byte(`{`))
	dir := f.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o600); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if err := os.WriteFile(filepath.Join(dir, "index.json"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := layout.Open(dir)
		if err != nil {
			if !errors.Is(err, layout.ErrMalformed) {
				t.Fatalf("Open: %v", err)
			}
			return
		}
		defer l.Close()
		entries, err := l.Entries()
		if err != nil {
			if !errors.Is(err, layout.ErrMalformed) {
				t.Errorf("Entries: %v", err)
			}
			return
		}
		if len(entries) > layout.MaxEntries {
			t.Errorf("%d entries", len(entries))
		}
		named := map[[2]string]string{}
		for _, e := range entries {
			if e.Descriptor.Digest.Validate() != nil || e.Descriptor.Size < 0 {
				t.Errorf("entry %+v", e)
			}
			key := [2]string{e.Repository, e.Tag}
			if other, twice := named[key]; e.Tag != "" && twice && other != e.Descriptor.Digest.String() {
				t.Errorf("%q stands for two things", e.Tag)
			}
			named[key] = e.Descriptor.Digest.String()
		}
	})
}
