package artifact_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/chunk"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/store"
)

// madeUpIndex is the index of a file of n chunks, and the digest that the file
// has by it. With equal chunks the file is one of zeros.
func madeUpIndex(seed byte, n int, equal bool) (raw []byte, file digest.Digest) {
	raw = append([]byte("MRCX\x02"), 1)
	for _, v := range []uint64{uint64(n) * chunk.Grid, uint64(n), chunk.Grid, 0} {
		raw = binary.AppendUvarint(raw, v)
	}
	hashes := make([]byte, n*16+n*chunk.Grid/chunk.PieceBytes*32)
	src := rand.NewChaCha8([32]byte{seed})
	if !equal {
		_, _ = src.Read(hashes) // never fails
	}
	sum := hashes[len(hashes)-32:]
	_, _ = src.Read(sum)
	return append(raw, hashes...), digest.NewDigestFromEncoded(digest.SHA256, hex.EncodeToString(sum))
}

// known makes a file of n chunks, none of them written, known to a store.
func known(t *testing.T, s *store.Store, seed byte, n int, equal bool) artifact.File {
	t.Helper()
	indexes, err := s.ChunkIndexes()
	if err != nil {
		t.Fatal(err)
	}
	raw, file := madeUpIndex(seed, n, equal)
	base := fmt.Sprintf("%d.safetensors", seed)
	name := filepath.Join(t.TempDir(), base)
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, int64(n)*chunk.Grid); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	k, ok := store.NewKnownFile(name, info, digest.FromBytes(raw))
	if !ok || !indexes.Put(raw) {
		t.Fatalf("the file is told from others: %t; its index was not kept", ok)
	}
	indexes.Know(k)
	return artifact.File{Path: base, Encoding: mediatypes.Raw, Layer: ocispec.Descriptor{
		Digest: file, Size: info.Size(),
		Annotations: map[string]string{mediatypes.AnnotationChunkIndex: fmt.Sprintf("%s;%d", k.Index, len(raw))},
	}}
}

// objects returns the bytes of the heap's objects, dead ones that were not
// collected yet included.
func objects() int64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64())
}

// Four files of 100 GB, all of which is on this machine, are planned in less
// memory than a pull may take.
func TestDeltaMemory(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file there is as long on the disk as it says")
	}
	const n = 380_000                                // chunks: 100 GB
	defer debug.SetGCPercent(debug.SetGCPercent(10)) // dead objects are counted, too
	for name, equal := range map[string]bool{"all chunks differ": false, "zeros": true} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			var layers []artifact.File
			for seed := range byte(4) {
				layers = append(layers, known(t, s, seed+1, n, equal))
			}
			runtime.GC()
			before := objects()
			peak, stop, stopped := before, make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				tick := time.NewTicker(time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						peak = max(peak, objects())
					case <-stop:
						return
					}
				}
			}()
			found, over, err := artifact.PlanCopies(t.Context(), s, layers)
			close(stop)
			<-stopped
			if err != nil {
				t.Fatal(err)
			}
			defer over()
			runtime.GC()
			held := objects() - before
			for i, segs := range found {
				end := int64(0)
				if segs == nil {
					t.Fatal("nothing is found")
				}
				for seg := range segs {
					if seg.Offset != end {
						t.Fatalf("a copy to %d after one up to %d", seg.Offset, end)
					}
					end += seg.Length
				}
				if end != layers[i].Layer.Size {
					t.Errorf("%d bytes are found of %d", end, layers[i].Layer.Size)
				}
			}
			t.Logf("%.1f MB at most, %.1f MB held", float64(peak-before)/1e6, float64(held)/1e6)
			if peak-before > 80e6 || held > 24e6 {
				t.Errorf("%.1f MB at most, %.1f MB held; want 80 and 24", float64(peak-before)/1e6, float64(held)/1e6)
			}
		})
	}
}
