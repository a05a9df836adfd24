package store_test

import (
	"bytes"
	"crypto/sha256"
	"os"
	"strconv"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

func benchStore(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	return s
}

// BenchmarkPush is of one large blob: hashing, writing and the closing fsync.
func BenchmarkPush(b *testing.B) {
	s := benchStore(b)
	blob := blobOf(1, 256<<20)
	desc := storetest.Blob(blob)
	b.SetBytes(desc.Size)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Push(b.Context(), desc, bytes.NewReader(blob)); err != nil {
			b.Fatal(err)
		}
		if err := s.Delete(b.Context(), desc); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPushSmall is the price of a blob without its bytes.
func BenchmarkPushSmall(b *testing.B) {
	s := benchStore(b)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n++
		blob := []byte(strconv.Itoa(n))
		if err := s.Push(b.Context(), storetest.Blob(blob), bytes.NewReader(blob)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCheckpoint is of one journal.
func BenchmarkCheckpoint(b *testing.B) {
	s := benchStore(b)
	p, err := s.Partial(ocispec.Descriptor{Digest: storetest.Blob(nil).Digest, Size: 1 << 50})
	if err != nil {
		b.Fatal(err)
	}
	defer p.Close()
	state := sha256.New()
	n := int64(0)
	b.ReportAllocs()
	for b.Loop() {
		n += 8 << 20
		if err := p.Checkpoint(n, state); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMaterialise is of one large blob into a file.
func BenchmarkMaterialise(b *testing.B) {
	s := benchStore(b)
	blob := blobOf(1, 256<<20)
	desc := storetest.Blob(blob)
	if err := s.Push(b.Context(), desc, bytes.NewReader(blob)); err != nil {
		b.Fatal(err)
	}
	root, err := os.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer root.Close()
	b.SetBytes(desc.Size)
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Materialise(b.Context(), root, "f", desc); err != nil {
			b.Fatal(err)
		}
	}
}
