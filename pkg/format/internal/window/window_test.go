package window_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// A recorder notes the reads that reach it.
type recorder struct {
	r     io.ReaderAt
	reads [][2]int64 // offset and length
}

func (r *recorder) ReadAt(b []byte, off int64) (int, error) {
	r.reads = append(r.reads, [2]int64{off, int64(len(b))})
	return r.r.ReadAt(b, off)
}

// numbered is n bytes, each different from its neighbours.
func numbered(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8)
	}
	return b
}

func TestReads(t *testing.T) {
	data := numbered(1000)
	r := &recorder{r: bytes.NewReader(data)}
	w := window.New(r, int64(len(data)), "test", window.Options{First: 10})
	var got []byte
	take := func(n int) {
		t.Helper()
		b, err := w.Next(n)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, b...)
	}
	take(4)
	take(4)
	take(4) // two are left: the second read is larger
	if err := w.Skip(3); err != nil {
		t.Fatal(err)
	}
	take(1)
	if err := w.Skip(500); err != nil { // far away: a small read again
		t.Fatal(err)
	}
	take(2)
	want := append(append(append([]byte(nil), data[:12]...), data[15]), data[516:518]...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("bytes (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([][2]int64{{0, 10}, {10, 38}, {516, 10}}, r.reads); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
	if w.Offset() != 518 || w.Left() != 482 {
		t.Errorf("offset %d, left %d", w.Offset(), w.Left())
	}
}

// What lies behind a known end is only read when it is asked for.
func TestUntil(t *testing.T) {
	data := numbered(1000)
	r := &recorder{r: bytes.NewReader(data)}
	w := window.New(r, int64(len(data)), "test", window.Options{First: 10})
	for i, n := range []int{8, 100, 92, 50} {
		if i == 1 {
			w.Until(200)
		}
		if _, err := w.Next(n); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([][2]int64{{0, 10}, {10, 190}, {200, 50}}, r.reads); diff != "" {
		t.Errorf("reads (-want +got):\n%s", diff)
	}
}

func TestReadIsTheRest(t *testing.T) {
	data := numbered(100_000)
	w := window.New(bytes.NewReader(data), int64(len(data)), "test", window.Options{First: 16})
	if err := w.Skip(5); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(w)
	if err != nil || !bytes.Equal(got, data[5:]) {
		t.Errorf("ReadAll = %d bytes, %v; want the rest", len(got), err)
	}
}

func TestEarlierBytesStay(t *testing.T) {
	data := numbered(100)
	w := window.New(bytes.NewReader(data), 100, "test", window.Options{First: 4})
	first, _ := w.Next(4)
	if _, err := w.Next(50); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, data[:4]) {
		t.Errorf("bytes of the first Next have changed to %v", first)
	}
}

func TestLimits(t *testing.T) {
	big := make([]byte, window.MaxRead+1)
	tests := map[string]func(w *window.Reader) error{
		"past the end":      func(w *window.Reader) error { _, err := w.Next(len(big) + 1); return err },
		"negative":          func(w *window.Reader) error { _, err := w.Next(-1); return err },
		"too much at once":  func(w *window.Reader) error { _, err := w.Next(len(big)); return err },
		"skip past the end": func(w *window.Reader) error { return w.Skip(int64(len(big)) + 1) },
		"skip backwards":    func(w *window.Reader) error { return w.Skip(-1) },
		"over budget":       func(w *window.Reader) error { _, err := w.Next(1001); return err },
	}
	for name, call := range tests {
		t.Run(name, func(t *testing.T) {
			w := window.New(bytes.NewReader(big), int64(len(big)), "test", window.Options{First: 1, Budget: 1000})
			if err := call(w); !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("error = %v, want malformed", err)
			}
		})
	}
}

func TestShortReaderIsNoFormatError(t *testing.T) {
	w := window.New(bytes.NewReader(nil), 10, "test", window.Options{})
	if _, err := w.Next(1); !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, malformed.ErrMalformed) {
		t.Errorf("Next error = %v, want io.ErrUnexpectedEOF", err)
	}
}
