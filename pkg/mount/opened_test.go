package mount_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/modelreg/modelreg/pkg/mount"
)

// Openings are the files of an FS, each of one byte, and which of them are open.
type openings struct {
	memory int64 // that each of them takes

	mu   sync.Mutex
	now  int // open
	most int // that were open at once
	of   map[string]int
}

type opening struct {
	*source
	of *openings
}

func (o opening) Close() error {
	o.of.mu.Lock()
	defer o.of.mu.Unlock()
	o.of.now--
	return o.source.Close()
}

func (o *openings) file(path, same string) mount.File {
	return mount.File{Path: path, Size: 1, Same: same, Open: func(context.Context) (mount.Content, error) {
		s := newSource(1, 1)
		s.piece, s.memory = 1, o.memory
		o.mu.Lock()
		defer o.mu.Unlock()
		o.now++
		o.most = max(o.most, o.now)
		if o.of == nil {
			o.of = make(map[string]int)
		}
		o.of[path]++
		return opening{s, o}, nil
	}}
}

func (o *openings) count() (now, most int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.now, o.most
}

// fs is an FS without room for what was read, so that each read is one of a
// content, and a way to read all its files.
func (o *openings) fs(t *testing.T, files []mount.File) (*mount.FS, func(path string)) {
	t.Helper()
	m, err := mount.New(t.Context(), files, mount.Options{Memory: 1})
	if err != nil {
		t.Fatal(err)
	}
	return m, func(path string) {
		t.Helper()
		r, err := m.ReaderAt(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 1), 0); err != nil && err != io.EOF {
			t.Errorf("read %s: %v", path, err)
		}
	}
}

// Contents that nobody reads do not stay open: not too many of them, and not what
// takes too much memory. The one that is read all the time stays.
func TestFewStayOpen(t *testing.T) {
	tests := map[string]struct {
		memory int64 // of each
		want   int
	}{
		"many":         {0, 32},
		"large":        {10 << 20, 6},
		"one too many": {100 << 20, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := &openings{memory: tt.memory}
			var files []mount.File
			for i := range 200 {
				files = append(files, o.file(fmt.Sprint(i), ""))
			}
			m, read := o.fs(t, files)
			for i := range 200 {
				read(fmt.Sprint(i))
				if tt.want > 1 {
					read("0")
				}
			}
			// The next is opened before another is closed.
			if now, most := o.count(); now != tt.want || most != tt.want+1 {
				t.Errorf("%d are open, and %d were at once, want %d", now, most, tt.want)
			}
			if n := o.of["0"]; n != 1 {
				t.Errorf("what was read all the time was opened %d times", n)
			}
			read("1") // again
			if n := o.of["1"]; n != 2 {
				t.Errorf("what was read long ago was opened %d times", n)
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
			if now, _ := o.count(); now != 0 {
				t.Errorf("%d are open after Close", now)
			}
		})
	}
}

// What is read is not closed, however many others are.
func TestReadStaysOpen(t *testing.T) {
	o := &openings{}
	s := newSource(2, 1)
	s.piece = 1
	begun, goOn := make(chan struct{}), make(chan struct{})
	s.gate = func(int64) {
		close(begun)
		<-goOn
	}
	files := []mount.File{{Path: "slow", Size: 1, Open: s.open}}
	for i := range 100 {
		f := o.file(fmt.Sprint(i), "")
		files = append(files, f)
	}
	m, err := mount.New(t.Context(), files, mount.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	var slow sync.WaitGroup
	slow.Go(func() {
		r, err := m.ReaderAt("slow")
		if err != nil {
			t.Error(err)
			return
		}
		check(t, r, s.data, 0, 1)
	})
	<-begun
	for i := range 100 {
		r, err := m.ReaderAt(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.ReadAt(make([]byte, 1), 0); err != nil && err != io.EOF {
			t.Error(err)
		}
	}
	s.mu.Lock()
	if s.closed != 0 {
		t.Error("it was closed while it was read")
	}
	s.mu.Unlock()
	close(goOn)
	slow.Wait()
}

// Files with the same bytes are opened once, and fetched once.
func TestSameBytes(t *testing.T) {
	o := &openings{}
	var files []mount.File
	for i := range 50 {
		files = append(files, o.file(fmt.Sprint(i), "sha256:1"))
	}
	other := o.file("other", "sha256:1")
	other.Size = 2 // of another size they are not the same
	m, read := o.fs(t, append(files, other, o.file("apart", "")))
	defer m.Close()
	for i := range 50 {
		read(fmt.Sprint(i))
	}
	read("apart")
	if now, _ := o.count(); now != 2 {
		t.Errorf("%d contents are open, want one of the 50 files and one of the other", now)
	}
}
