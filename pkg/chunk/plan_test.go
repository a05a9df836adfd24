package chunk_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/chunk"
)

func TestPlanFindsTensorsWhereverTheyAre(t *testing.T) {
	a, b, c := random(10, 700_000), random(11, 300_000), random(12, 1<<20)
	old := index(t, bytes.Join([][]byte{{1, 2, 3}, a, b}, nil), []int64{3, 700_003})
	other := index(t, bytes.Join([][]byte{{9}, c, a}, nil), []int64{1, 1<<20 + 1})
	want := bytes.Join([][]byte{{4, 5, 6, 7}, c, b, b, a}, nil)
	at := []int64{4, 4 + 1<<20, 300_004 + 1<<20, 600_004 + 1<<20}

	plan := chunk.NewPlan(&index(t, want, at).Table)
	if plan.Missing() != int64(len(want)) {
		t.Errorf("without sources %d bytes of %d are missing", plan.Missing(), len(want))
	}
	if got := plan.Add(&old.Table); got != 1_300_000 {
		t.Errorf("the old file gave %d bytes", got)
	}
	if got := plan.Add(&other.Table); got != 1<<20 {
		t.Errorf("the other file gave %d bytes", got)
	}
	if plan.Missing() != 4 {
		t.Errorf("%d bytes are missing", plan.Missing())
	}
	sources := map[int][]byte{0: bytes.Join([][]byte{{1, 2, 3}, a, b}, nil), 1: bytes.Join([][]byte{{9}, c, a}, nil)}
	last := int64(0)
	for copied := range plan.Recipe().Copies() {
		if copied.Offset < last {
			t.Errorf("a copy to %d comes after one that ends at %d", copied.Offset, last)
		}
		last = copied.Offset + copied.Length
		from := sources[copied.Source][copied.At : copied.At+copied.Length]
		if !bytes.Equal(from, want[copied.Offset:last]) {
			t.Errorf("%d bytes at %d of source %d are not those at %d", copied.Length, copied.At, copied.Source, copied.Offset)
		}
	}
}

// Files of equal chunks must not be compared each with each.
func TestPlanOfEqualChunksIsQuick(t *testing.T) {
	const n, grid = 2048 * 100, 4096
	raw := append([]byte("MRCX\x02"), 1)
	for _, v := range []uint64{n * grid, n, grid, 0} {
		raw = binary.AppendUvarint(raw, v)
	}
	x, err := chunk.Parse(append(raw, make([]byte, n*16+n*grid/chunk.PieceBytes*32)...))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	plan := chunk.NewPlan(&x.Table)
	plan.Add(&x.Table)
	if plan.Missing() != 0 {
		t.Errorf("%d bytes are missing", plan.Missing())
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

// A recipe has the copies of a plan, whatever lies beside what.
func TestRecipe(t *testing.T) {
	const grid = chunk.Grid
	a, b, c := random(13, grid), random(14, grid), random(15, grid)
	tests := map[string]struct {
		want, have [][]byte
		copies     [][2]int64 // to and from, in chunks
	}{
		"nothing":       {[][]byte{a}, [][]byte{b}, nil},
		"all in order":  {[][]byte{a, b, c}, [][]byte{a, b, c}, [][2]int64{{0, 0}, {1, 1}, {2, 2}}},
		"later":         {[][]byte{b, c}, [][]byte{a, b, c}, [][2]int64{{0, 1}, {1, 2}}},
		"the other way": {[][]byte{c, b, a}, [][]byte{a, b, c}, [][2]int64{{0, 2}, {1, 1}, {2, 0}}},
		"one repeated":  {[][]byte{b, b, b}, [][]byte{a, b, c}, [][2]int64{{0, 1}, {1, 1}, {2, 1}}},
		"repeats begin": {[][]byte{a, a, b, c}, [][]byte{a, b, c}, [][2]int64{{0, 0}, {1, 0}, {2, 1}, {3, 2}}},
		"repeats end":   {[][]byte{a, b, b, c, c}, [][]byte{a, b, c}, [][2]int64{{0, 0}, {1, 1}, {2, 1}, {3, 2}, {4, 2}}},
		"gaps":          {[][]byte{a, random(16, grid), b, c}, [][]byte{a, b, c}, [][2]int64{{0, 0}, {2, 1}, {3, 2}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want, have := bytes.Join(tt.want, nil), bytes.Join(tt.have, nil)
			plan := chunk.NewPlan(&index(t, want, []int64{}).Table)
			plan.Add(&index(t, random(17, 10), []int64{}).Table) // has nothing
			plan.Add(&index(t, have, []int64{}).Table)
			var got [][2]int64
			for c := range plan.Recipe().Copies() {
				got = append(got, [2]int64{c.Offset / grid, c.At / grid})
				from := have[c.At : c.At+c.Length]
				if !bytes.Equal(from, want[c.Offset:c.Offset+c.Length]) || !bytes.Equal(c.Sum, sum(chunk.NewHash(), from)[:chunk.SumBytes]) || c.Source != 1 {
					t.Errorf("%+v is another chunk", c)
				}
			}
			if diff := cmp.Diff(tt.copies, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
