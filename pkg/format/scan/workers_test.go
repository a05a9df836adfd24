package scan_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// Small files are looked at side by side, and told of as if one came after the
// other.
func TestScanWorkers(t *testing.T) {
	type given struct {
		name string
		data []byte
	}
	var all []given
	for i := range 200 {
		data := []byte(`{"a": 1}`)
		if i%3 == 0 {
			data = []byte(`{"auto_map": {"AutoModel": "x.Y"}}`)
		}
		if i == 100 {
			data = append(data, bytes.Repeat([]byte(" "), 2<<20)...) // not a small one
		}
		all = append(all, given{fmt.Sprintf("%03d/config.json", i), data})
	}
	for name, workers := range map[string]int{"one": 0, "four": 4} {
		t.Run(name, func(t *testing.T) {
			var closed atomic.Int64
			told := make(map[string]string)
			files := func(yield func(scan.File, error) bool) {
				for _, g := range all {
					f := scan.File{
						Path: g.name, Size: int64(len(g.data)), At: bytes.NewReader(g.data),
						Close: func() { closed.Add(1) }, Key: "key of " + g.name,
					}
					if !yield(f, nil) {
						return
					}
				}
			}
			got, err := scan.Scan(t.Context(), files, scan.Options{
				Workers: workers, Each: func(f scan.File, _ scan.Result) { told[f.Path] = f.Key },
			})
			if err != nil {
				t.Fatal(err)
			}
			var plain []scan.File
			for _, g := range all {
				plain = append(plain, scan.File{Path: g.name, Size: int64(len(g.data)), At: bytes.NewReader(g.data)})
			}
			want, err := scan.Scan(t.Context(), scan.Files(plain...), scan.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" || len(want.Findings) < 60 {
				t.Errorf("%d findings; -one after the other +at once:\n%s", len(want.Findings), diff)
			}
			if closed.Load() != int64(len(all)) || len(told) != len(all) || told["007/config.json"] != "key of 007/config.json" {
				t.Errorf("%d closed, %d told of", closed.Load(), len(told))
			}
		})
	}
}

type badReader struct{ err error }

func (r badReader) ReadAt([]byte, int64) (int, error) { return 0, r.err }

// The first error of reading ends a scan, and all files are closed.
func TestScanWorkersFail(t *testing.T) {
	broken := errors.New("broken")
	for _, bad := range []int{0, 50, 99} {
		var opened, closed atomic.Int64
		var files iter.Seq2[scan.File, error] = func(yield func(scan.File, error) bool) {
			for i := range 100 {
				f := scan.File{Path: fmt.Sprintf("%d.json", i), Size: 2, At: bytes.NewReader([]byte("{}")), Close: func() { closed.Add(1) }}
				if i == bad {
					f.At = badReader{broken}
				}
				opened.Add(1)
				if !yield(f, nil) {
					return
				}
			}
		}
		if _, err := scan.Scan(t.Context(), files, scan.Options{Workers: 4}); !errors.Is(err, broken) {
			t.Errorf("file %d: error = %v", bad, err)
		}
		if opened.Load() != closed.Load() {
			t.Errorf("file %d: %d opened, %d closed", bad, opened.Load(), closed.Load())
		}
	}
}
