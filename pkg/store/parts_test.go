package store_test

import (
	"bytes"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/store/storetest"
)

func sumOf(b []byte) uint32 { return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)) }

// keep writes and records steps of b.
func keep(t *testing.T, p *store.Partial, b []byte, steps ...int) {
	t.Helper()
	for _, i := range steps {
		piece := b[i*step : (i+1)*step]
		if _, err := p.WriteAt(piece, int64(i*step)); err != nil {
			t.Fatal(err)
		}
		if err := p.KeepPart(int64(i*step), step, sumOf(piece)); err != nil {
			t.Fatal(err)
		}
	}
}

// kept returns the steps that a partial has kept, with the right checksums.
func kept(t *testing.T, p *store.Partial, b []byte) []int {
	t.Helper()
	var steps []int
	for s, sum := range p.KeptParts() {
		if s[1] != step || sum != sumOf(b[s[0]:s[0]+s[1]]) {
			t.Errorf("part %v has another checksum", s)
		}
		steps = append(steps, int(s[0]/step))
	}
	return steps
}

func TestPartsSurvive(t *testing.T) {
	b := blobOf(1, 8*step)
	desc := storetest.Blob(b)
	tests := []struct {
		name   string
		steps  int // written in order, with checkpoints
		parts  []int
		damage func(t *testing.T, dir string)
		from   int64
		want   []int
	}{
		{"no checkpoint", 0, []int{5, 2, 7}, nil, 0, []int{2, 5, 7}},
		{"behind the checkpoint", 3, []int{5, 1, 4}, nil, 3 * step, []int{4, 5}},
		{"twice", 0, []int{2, 2, 2}, nil, 0, []int{2}},
		{"after a restart", 2, []int{4}, editJournal(otherBootBlock), 2 * step, []int{4}},
		{"after a restart that lost the beginning", 2, []int{1, 4}, both(
			editJournal(otherBootBlock), editData(func(b []byte) []byte { clear(b[:100]); return b })), 0, []int{1, 4}},
		{"record broken", 0, []int{2, 4}, editJournal(func(s string) string { return s[:len(s)-40] + "x" + s[len(s)-39:] }), 0, []int{4}},
		{"record cut off", 0, []int{2, 4}, editJournal(func(s string) string { return s[:len(s)-1] }), 0, []int{2}},
		{"data shorter", 0, []int{2, 4}, editData(func(b []byte) []byte { return b[:4*step] }), 0, []int{2}},
		{"of another blob", 0, []int{2}, editJournal(func(s string) string { return s[:1900] + s[1900:2048] + s[2048:2079] + "y" }), 0, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			root := openRoot(t)
			p := openPartial(t, root, "f", desc)
			writeSteps(t, p, b, test.steps)
			keep(t, p, b, test.parts...)
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			if test.damage != nil {
				test.damage(t, root.Name())
			}
			for range 2 { // the second time without a run in between
				p = openPartial(t, root, "f", desc)
				n, _, err := p.Resume()
				if n != test.from || err != nil {
					t.Errorf("Resume = %d, %v, want %d", n, err, test.from)
				}
				if got := kept(t, p, b); !slices.Equal(got, test.want) {
					t.Errorf("parts %v are kept, want %v", got, test.want)
				}
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
			}
			p = openPartial(t, root, "f", desc)
			if _, err := ingest(p, desc, b); err != nil {
				t.Fatal(err)
			}
			if got, err := root.ReadFile("f"); err != nil || !bytes.Equal(got, b) {
				t.Errorf("file is wrong: %v", err)
			}
			if got := names(t, root); !slices.Equal(got, []string{"f"}) {
				t.Errorf("files after Commit: %v", got)
			}
		})
	}
}

// otherBootBlock changes the boot in the journal's block and leaves the parts.
func otherBootBlock(s string) string { return fill(otherBoot)(s[:2048]) + s[2048:] }

func TestResetForgetsParts(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 4*step)
	p := openPartial(t, root, "f", storetest.Blob(b))
	keep(t, p, b, 2)
	if err := p.Reset(); err != nil {
		t.Fatal(err)
	}
	keep(t, p, b, 3)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = openPartial(t, root, "f", storetest.Blob(b))
	if _, _, err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	if got := kept(t, p, b); !slices.Equal(got, []int{3}) {
		t.Errorf("parts %v are kept", got)
	}
}

// A part that grows is one part.
func TestKeepPartGrows(t *testing.T) {
	root := openRoot(t)
	b := blobOf(1, 4*step)
	p := openPartial(t, root, "f", storetest.Blob(b))
	for n := range 2 {
		piece := b[2*step : (n+3)*step]
		if _, err := p.WriteAt(piece, 2*step); err != nil {
			t.Fatal(err)
		}
		if err := p.KeepPart(2*step, int64(len(piece)), sumOf(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if fi, err := root.Stat("f.journal"); err != nil || fi.Size() != 2048+32 {
		t.Errorf("the journal has %d bytes, %v", fi.Size(), err)
	}
	if fi, err := root.Stat("f.partial"); err != nil || fi.Size() != 4*step || store.Allocated(fi) > fi.Size() {
		t.Errorf("the file has %d bytes, %v", fi.Size(), err)
	}
	p = openPartial(t, root, "f", storetest.Blob(b))
	if _, _, err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	for s, sum := range p.KeptParts() {
		if s != [2]int64{2 * step, 2 * step} || sum != sumOf(b[2*step:]) {
			t.Errorf("part %v is kept", s)
		}
	}
}

func TestKeepPartRefuses(t *testing.T) {
	p := openPartial(t, openRoot(t), "f", storetest.Blob([]byte("12345")))
	for _, s := range [][2]int64{{-1, 2}, {0, 0}, {0, 6}, {5, 1}, {1, 1<<63 - 1}, {1<<63 - 1, 1}} {
		if err := p.KeepPart(s[0], s[1], 0); err == nil {
			t.Errorf("KeepPart(%d, %d) error = nil, want one", s[0], s[1])
		}
	}
}

// FuzzParts puts any records into a journal. What is kept lies within the blob
// and does not overlap.
func FuzzParts(f *testing.F) {
	desc := storetest.Blob(blobOf(9, 3000))
	f.Add([]byte("anything"), int64(3000))
	f.Add(store.Record(desc, 10, 20, 1), int64(3000))
	f.Add(append(store.Record(desc, 0, 1<<62, 1), store.Record(desc, 5, 10, 1)...), int64(12))
	f.Fuzz(func(t *testing.T, raw []byte, written int64) {
		end := int64(0)
		for _, s := range store.ParseParts(raw, desc, written) {
			if s[0] < end || s[1] <= 0 || s[0]+s[1] > min(desc.Size, written) {
				t.Errorf("part %v after %d", s, end)
			}
			end = s[0] + s[1]
		}
	})
}

// What stops in the middle of a reset leaves no part that the bytes agree with.
func TestResetBroken(t *testing.T) {
	b := blobOf(1, 8*step)
	root := openRoot(t)
	p := openPartial(t, root, "f", storetest.Blob(b))
	keep(t, p, b, 2, 4)
	p.SetDisk(&badDisk{})
	if err := p.Reset(); err == nil {
		t.Error("Reset on a full disk is no error")
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	p = openPartial(t, root, "f", storetest.Blob(b))
	n, _, err := p.Resume()
	if steps := kept(t, p, b); n != 0 || err != nil || steps != nil {
		t.Errorf("Resume = %d, %v with the parts %v, want nothing", n, err, steps)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}
