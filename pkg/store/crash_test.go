package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

const step = 64 << 10

// blobOf returns the same bytes for the same number, in every process.
func blobOf(n uint64, size int) []byte {
	b := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	return b
}

// ingest brings a blob in the way a transfer does, and returns how much of it
// an earlier run had.
func ingest(p *store.Partial, desc ocispec.Descriptor, b []byte) (int64, error) {
	defer p.Close()
	n, state, err := p.Resume()
	if err != nil {
		return 0, err
	}
	for off := n; off < int64(len(b)); {
		piece := b[off:min(off+step, int64(len(b)))]
		if _, err := p.WriteAt(piece, off); err != nil {
			return n, err
		}
		state.Write(piece)
		off += int64(len(piece))
		if err := p.Checkpoint(off, state); err != nil {
			return n, err
		}
	}
	if got := digest.NewDigest(desc.Digest.Algorithm(), state); got != desc.Digest {
		return n, errors.Join(fmt.Errorf("digest is %s, want %s", got, desc.Digest), p.Reset())
	}
	return n, p.Commit()
}

// childChurn writes, tags, swaps and prunes until it is killed.
func childChurn(dir string, args []string) error {
	seed, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	s, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		return err
	}
	parent, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	if err := store.RecoverSwap(parent, "final"); err != nil {
		return err
	}
	fmt.Println("started")
	for i := seed; ; i++ {
		if err := errors.Join(churnStore(s, i), churnSwap(parent, i)); err != nil {
			return err
		}
	}
}

func churnStore(s *store.Store, i uint64) error {
	ctx := context.Background()
	b := blobOf(i%7, 20*step+int(i%7))
	desc := storetest.Blob(b)
	if ok, err := s.Exists(ctx, desc); err != nil {
		return err
	} else if ok {
		if err := s.Delete(ctx, desc); err != nil {
			return err
		}
	}
	p, err := s.Partial(desc)
	if err != nil {
		return err
	}
	if _, err := ingest(p, desc, b); err != nil {
		return err
	}
	small := []byte("blob " + strconv.FormatUint(i, 10))
	if err := s.Push(ctx, storetest.Blob(small), bytes.NewReader(small)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
		return err
	}
	if err := s.Tag(ctx, storetest.Blob(small), "tag"+strconv.FormatUint(i%5, 10)); err != nil {
		return err
	}
	_, err = s.Prune(ctx, store.PruneOptions{})
	return err
}

func churnSwap(parent *os.Root, i uint64) error {
	staged := ".staged-" + strconv.FormatUint(i, 10)
	if err := parent.RemoveAll(staged); err != nil {
		return err
	}
	if err := parent.Mkdir(staged, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"a", "b"} {
		if err := parent.WriteFile(filepath.Join(staged, name), []byte(staged), 0o600); err != nil {
			return err
		}
	}
	swap := store.SwapDir
	if i%2 == 0 {
		swap = func(parent *os.Root, staged, final string) error {
			return store.SwapByNames(parent, staged, final, store.OSDisk{})
		}
	}
	if err := swap(parent, staged, "final"); err != nil {
		return err
	}
	return parent.RemoveAll(staged)
}

// TestKill kills a process again and again in the middle of everything. What it
// leaves must be whole, and the next one must get on with it.
func TestKill(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	dir := t.TempDir()
	swapped := false
	for round := range rounds {
		c := startChild(t, "churn", dir, strconv.Itoa(round*1000))
		c.line(t)
		// Not a wait for something: the moment of the kill is what is varied.
		time.Sleep(time.Duration(rand.IntN(60_000)) * time.Microsecond)
		c.kill()
		if c.errors.Len() > 0 {
			t.Fatalf("round %d: child failed: %s", round, c.errors)
		}
		checkKilled(t, dir)
		swapped = checkSwapped(t, dir, swapped)
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	s := openStore(t, filepath.Join(dir, "store"))
	for i := range uint64(7) {
		if err := churnStore(s, i); err != nil {
			t.Error(err)
		}
	}
	if u, err := s.Usage(t.Context()); err != nil || u.Damaged != 0 {
		t.Errorf("Usage = %+v, %v, want none damaged", u, err)
	}
}

func checkKilled(t *testing.T, dir string) {
	t.Helper()
	s, err := store.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for f, err := range s.Verify(t.Context()) {
		t.Errorf("Verify found %+v, %v", f, err)
	}
	for e, err := range s.References(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, err := content.FetchAll(t.Context(), s, e.Descriptor); err != nil {
			t.Errorf("tag %s: %v", e.Reference, err)
		}
	}
	partials, err := filepath.Glob(filepath.Join(dir, "store", "ingest", "*"))
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string]int)
	for _, name := range partials {
		hex, _, _ := strings.Cut(filepath.Base(name), ".")
		if of[hex]++; hex != "tmp" && of[hex] > 2 {
			t.Errorf("more than two partials of %s", hex)
		}
	}
}

// checkSwapped tells whether there is a directory final. It must be whole, and
// there for good once it was.
func checkSwapped(t *testing.T, dir string, was bool) bool {
	t.Helper()
	parent, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	if err := store.RecoverSwap(parent, "final"); err != nil {
		t.Error(err)
	}
	a, errA := parent.ReadFile("final/a")
	b, errB := parent.ReadFile("final/b")
	if errors.Is(errA, fs.ErrNotExist) && errors.Is(errB, fs.ErrNotExist) {
		if _, err := parent.Stat("final"); err == nil || was {
			t.Error("final is empty or gone")
		}
		return false // killed before the first swap
	}
	if errA != nil || errB != nil || len(a) == 0 || !bytes.Equal(a, b) {
		t.Errorf("final has a = %q, %v, and b = %q, %v", a, errA, b, errB)
	}
	return true
}

// childHold writes the first half of a blob and then waits to be killed.
func childHold(dir string, _ []string) error {
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	b := blobOf(1, 4*step)
	p, err := s.Partial(storetest.Blob(b))
	if err != nil {
		return err
	}
	_, state, err := p.Resume()
	if err != nil {
		return err
	}
	for off := int64(0); off < 2*step; off += step {
		if _, err := p.WriteAt(b[off:off+step], off); err != nil {
			return err
		}
		state.Write(b[off : off+step])
		if err := p.Checkpoint(off+step, state); err != nil {
			return err
		}
	}
	fmt.Println("holding")
	select {}
}

func TestPartialOfRunningAndKilledProcess(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	b := blobOf(1, 4*step)
	desc := storetest.Blob(b)
	c := startChild(t, "hold", dir)
	c.line(t)

	p, err := s.Partial(desc)
	if err != nil {
		t.Fatal(err)
	}
	if n, _, err := p.Resume(); n != 0 || err != nil {
		t.Errorf("Resume beside a running process = %d, %v, want 0", n, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}

	c.kill()
	if p, err = s.Partial(desc); err != nil {
		t.Fatal(err)
	}
	n, err := ingest(p, desc, b)
	if n != 2*step || err != nil {
		t.Errorf("resumed from %d, %v, want %d", n, err, 2*step)
	}
	if got, err := content.FetchAll(t.Context(), s, desc); err != nil || !bytes.Equal(got, b) {
		t.Errorf("blob after resume is wrong: %v", err)
	}
	if u, err := s.Usage(t.Context()); err != nil || u.Partials != 0 {
		t.Errorf("Usage = %+v, %v, want no partials", u, err)
	}
}

// childTag pushes blobs that all children push, and tags of its own.
func childTag(dir string, args []string) error {
	ctx := context.Background()
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	for i := range uint64(6) {
		b := blobOf(i, 3*step)
		desc := storetest.Blob(b)
		var err error
		if i%2 == 0 {
			err = s.Push(ctx, desc, bytes.NewReader(b))
		} else {
			var p *store.Partial
			if p, err = s.Partial(desc); err == nil {
				_, err = ingest(p, desc, b)
			}
		}
		if err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return err
		}
		err = errors.Join(s.Tag(ctx, desc, fmt.Sprint("child", args[0], ".", i)), s.Tag(ctx, desc, "shared"))
		if err != nil {
			return err
		}
		s.Remember(desc.Digest, "registry.example/child/"+args[0])
	}
	return s.Close()
}

// TestProcessesShareStore has eight processes make and fill one store.
func TestProcessesShareStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	const processes = 8
	var running []*child
	for i := range processes {
		running = append(running, startChild(t, "tag", dir, strconv.Itoa(i)))
	}
	for _, c := range running {
		if err := c.wait(); err != nil {
			t.Error(err)
		}
	}
	s := openStore(t, dir)
	for f, err := range s.Verify(t.Context()) {
		t.Errorf("Verify found %+v, %v", f, err)
	}
	u, err := s.Usage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if u.Blobs != 6 || u.References != processes*6+1 || u.Partials != 0 || u.Damaged != 0 {
		t.Errorf("Usage = %+v, want 6 blobs, %d references and no more", u, processes*6+1)
	}
	if got := s.Origins(storetest.Blob(blobOf(0, 3*step)).Digest, "registry.example"); len(got) != processes {
		t.Errorf("Origins = %v, want %d", got, processes)
	}
}

// childFetch brings in a blob unless it is there, and notes that it did.
func childFetch(dir string, _ []string) error {
	ctx := context.Background()
	s, err := store.Open(dir)
	if err != nil {
		return err
	}
	b := blobOf(3, 8*step)
	desc := storetest.Blob(b)
	release, err := s.Claim(ctx, desc.Digest)
	if err != nil {
		return err
	}
	defer release()
	if ok, err := s.Exists(ctx, desc); ok || err != nil {
		return err
	}
	f, err := os.OpenFile(dir+".fetched", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString("fetched\n")
	return errors.Join(err, f.Close(), s.Push(ctx, desc, bytes.NewReader(b)))
}

func TestClaimFetchesOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	var running []*child
	for range 8 {
		running = append(running, startChild(t, "fetch", dir))
	}
	for _, c := range running {
		if err := c.wait(); err != nil {
			t.Error(err)
		}
	}
	got, err := os.ReadFile(dir + ".fetched")
	if err != nil || string(got) != "fetched\n" {
		t.Errorf("blob was brought in by %q, %v, want one process", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "locks", "claim.*")); len(left) > 0 {
		t.Errorf("claims left: %v", left)
	}
}

func TestClaimHonoursContext(t *testing.T) {
	s := openStore(t, t.TempDir())
	dgst := digest.FromString("x")
	release, err := s.Claim(t.Context(), dgst)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Claim(ctx, dgst); !errors.Is(err, store.ErrLocked) || !errors.Is(err, context.Canceled) {
		t.Errorf("Claim of what is claimed error = %v, want ErrLocked and context.Canceled", err)
	}
	release()
	again, err := s.Claim(t.Context(), dgst)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
