package store_test

import (
	"bytes"
	"path"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

// FuzzResume puts any journal beside any data. What is resumed from them must
// be bytes of the blob as far as the hash that comes with them says so, and
// with the right bytes after it give the whole blob or an error.
func FuzzResume(f *testing.F) {
	b := blobOf(9, 3000)
	desc := storetest.Blob(b)
	f.Add([]byte(`{}`), b[:100])
	f.Add([]byte(`{"version":1,"digest":"`+desc.Digest.String()+`","size":3000,"boot":"","from":{"length":0,"state":""},"to":{"length":64,"state":""}}`), b)
	f.Fuzz(func(t *testing.T, journal, data []byte) {
		journal = append(journal, bytes.Repeat([]byte{' '}, max(0, 2048-len(journal)))...)
		root := openRoot(t)
		if root.WriteFile("f.journal", journal, 0o600) != nil || root.WriteFile("f.partial", data, 0o600) != nil {
			t.Skip()
		}
		p := openPartial(t, root, "f", desc)
		n, state, err := p.Resume()
		if err != nil || n < 0 || n > desc.Size || n > int64(len(data)) {
			t.Fatalf("Resume = %d, %v of %d bytes", n, err, len(data))
		}
		if n == 0 && digest.NewDigest(digest.SHA256, state) != digest.FromString("") {
			t.Error("Resume from nothing has a used hash")
		}
		if err := p.Reset(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzJournal reads any journal. What is accepted speaks of bytes that the blob has.
func FuzzJournal(f *testing.F) {
	desc := storetest.Blob(blobOf(9, 3000))
	for _, lengths := range []string{`"from":{"length":0,"state":""},"to":{"length":0,"state":""}`, `"from":{"length":-1,"state":""},"to":{"length":3001,"state":"AA=="}`} {
		f.Add([]byte(`{"version":1,"digest":"` + desc.Digest.String() + `","size":3000,"boot":"",` + lengths + `}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = append(raw, bytes.Repeat([]byte{' '}, max(0, 2048-len(raw)))...)
		from, to, err := store.ParseJournal(raw, desc)
		if err == nil && (from < 0 || from > to || from == to && to != 0 || to > desc.Size) {
			t.Errorf("ParseJournal = %d, %d, which cannot be", from, to)
		}
	})
}

// FuzzIndex reads any index.json. What is accepted names only blobs that can be.
func FuzzIndex(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1,"annotations":{"org.opencontainers.image.ref.name":"v1"}}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":null,"Manifests":[{}]}`))
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"../../x","size":1}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		index, err := store.ParseIndex(raw)
		if err != nil {
			return
		}
		for _, desc := range index.Manifests {
			if desc.Digest.Validate() != nil || desc.Size < 0 || path.Clean("/"+desc.Digest.Encoded()) != "/"+desc.Digest.Encoded() {
				t.Errorf("ParseIndex accepts %v", desc)
			}
		}
	})
}

// FuzzNotes reads any digest cache, any results, and any note of a swap.
func FuzzNotes(f *testing.F) {
	f.Add([]byte(`{"version":1,"entries":[{"dev":1,"ino":2,"size":3,"mtime":4,"ctime":5,"recorded":6,"digest":"sha256:` + strings.Repeat("0", 64) + `"}]}`))
	f.Add([]byte(`{"version":1,"staged":".staged","final":"final"}`))
	f.Add([]byte(`{"version":1,"maker":"maker","entries":[{"key":"a","used":1,"value":{"verdict":"safe"}}]}`))
	f.Add([]byte(`{"version":1,"staged":"../x","final":"final"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if n := store.ParseStat(raw); n > bytes.Count(raw, []byte("{")) {
			t.Errorf("ParseStat finds %d entries in %d bytes", n, len(raw))
		}
		if n := store.ParseResults(store.ResultsOf(raw)); n > bytes.Count(raw, []byte("{")) {
			t.Errorf("ParseResults finds %d entries in %d bytes", n, len(raw))
		}
		if staged, err := store.ParseSwapNote(raw, "final"); err == nil && (path.Base(staged) != staged || staged == ".." || staged == "final") {
			t.Errorf("ParseSwapNote accepts %q", staged)
		}
	})
}

// FuzzDigest asks for any digest. None leads out of the blobs.
func FuzzDigest(f *testing.F) {
	f.Add("sha256:" + strings.Repeat("0", 64))
	f.Add("sha512:../../../../x")
	f.Add("blake3:" + strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, dgst string) {
		name, err := store.BlobName(ocispec.Descriptor{Digest: digest.Digest(dgst), Size: 1})
		if err == nil && (path.Clean(name) != name || strings.Count(name, "/") != 2 || !strings.HasPrefix(name, "blobs/sha")) {
			t.Errorf("blob %q has name %q", dgst, name)
		}
	})
}
