package catalog_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/remote"
)

// endless lists on every page as many names as page makes of its number, and always
// has another page, whose URL is about size bytes.
func endless(size int, page func(n int) []string) *internet {
	n := 0
	padding := strings.Repeat("x", size)
	return &internet{hosts: map[string]http.HandlerFunc{"quay.io": func(w http.ResponseWriter, _ *http.Request) {
		n++
		var b strings.Builder
		for i, name := range page(n) {
			if i > 0 {
				b.WriteByte(',')
			}
			fmt.Fprintf(&b, `{"namespace":"a","name":%q}`, name)
		}
		answer(w, http.StatusOK, fmt.Sprintf(`{"repositories":[%s],"next_page":"%d%s"}`, b.String(), n, padding))
	}}}
}

// A list that goes on and on ends with an error, be what it has names or none.
func TestEndlessNames(t *testing.T) {
	for _, prefix := range []string{"a/", "NONE/"} {
		got := 0
		err := catalog.Emit(1000, func(string, error) bool { got++; return got <= 1000 }, func(emit func(...string) error) error {
			for n := 0; ; n++ {
				if err := emit(prefix + strconv.Itoa(n)); err != nil {
					return err
				}
			}
		})
		if got != 1000 || !errors.Is(err, remote.ErrProtocol) || !strings.Contains(err.Error(), "more than 1000 names") {
			t.Errorf("%s: %d names, error %v", prefix, got, err)
		}
	}
}

// What a list has said is not held, however long it is.
func TestHostileListsAreNotHeld(t *testing.T) {
	const pages, size = 8, 4 << 20 // bytes of a page
	tests := map[string]*internet{
		"names": endless(0, func(n int) []string {
			return []string{strings.Repeat("x", size) + fmt.Sprint(n)}
		}),
		"pages": endless(size, func(n int) []string { return []string{fmt.Sprint(n)} }),
	}
	for name, n := range tests {
		t.Run(name, func(t *testing.T) {
			before, held, got := heap(), int64(0), 0
			for _, err := range catalog.Repositories(t.Context(), n.client(t, nil), "quay.io", "a", catalog.Options{}) {
				if _, ok := errors.AsType[*catalog.NameError](err); err != nil && !ok {
					t.Fatal(err)
				}
				n.requests()
				if got++; got == pages {
					held = heap() - before
					break
				}
			}
			// One page and what is made of it are held while it is read.
			if held > pages*size/2 {
				t.Errorf("%d bytes are held after %d pages", held, got)
			}
		})
	}
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
