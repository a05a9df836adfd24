package main

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// measuredWorker is the program's own worker. At the end of its work it says
// in the file that its last argument names how much memory that took at most: what
// the kernel tells of a process that has ended counts the one that started it too.
func measuredWorker() {
	// The worker can open nothing later.
	status, err := os.Open("/proc/self/status")
	if err != nil {
		os.Exit(1)
	}
	out, err := os.OpenFile(os.Args[len(os.Args)-1], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		os.Exit(1)
	}
	os.Exit(scanWorker(os.Stdin, lastWriter{func() { _, _ = io.Copy(out, status) }}))
}

// A lastWriter is standard output, which does something before the last message.
type lastWriter struct{ before func() }

func (w lastWriter) Write(p []byte) (int, error) {
	if p[0] == msgDone {
		w.before()
	}
	return os.Stdout.Write(p)
}

func compressed(data []byte, with func(io.Writer) io.WriteCloser) []byte {
	var b bytes.Buffer
	w := with(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func gzipped(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }

func zstdWith(window int) func(io.Writer) io.WriteCloser {
	return func(w io.Writer) io.WriteCloser {
		z, _ := zstd.NewWriter(w, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
		return z
	}
}

// zipOf is an archive with a file n times, under other names.
func zipOf(n int, name string, data []byte) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for i := range n {
		f, _ := w.Create(strconv.Itoa(i) + name)
		_, _ = f.Write(data)
	}
	_ = w.Close()
	return b.Bytes()
}

// nested is an archive in an archive, and so on.
func nested(depth, width, size int) []byte {
	data := make([]byte, size)
	for range depth {
		data = zipOf(width, ".zip", data)
	}
	return data
}

// ggufHead is the beginning of a GGUF file with these numbers of tensors and
// metadata.
func ggufHead(tensors, metadata uint64, rest ...byte) []byte {
	b := []byte("GGUF\x03\x00\x00\x00")
	b = binary.LittleEndian.AppendUint64(b, tensors)
	b = binary.LittleEndian.AppendUint64(b, metadata)
	return append(b, rest...)
}

// ggufArrays is metadata that is an array of arrays, as deep as that.
func ggufArrays(depth int) []byte {
	b := ggufHead(0, 1, []byte("\x01\x00\x00\x00\x00\x00\x00\x00a\x09\x00\x00\x00")...)
	return append(b, strings.Repeat("\x09\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00", depth)...)
}

func long(start, repeated string, n int, end string) []byte {
	return []byte(start + strings.Repeat(repeated, n) + end)
}

// memoOf stores in n places of the memo.
func memoOf(n int) []byte {
	b := []byte("\x80\x04]")
	for i := range n {
		b = binary.LittleEndian.AppendUint32(append(b, 'r'), uint32(i*4099))
	}
	return append(b, '.')
}

// A bomb is a file that is small, or looks so, and whose contents are not. The
// first of a kind has the size that it is made for; i makes the others smaller.
type bomb struct {
	name string
	data func(i int) []byte
	safe bool // it costs its loader no more than any other of that size
}

// less is n for the first of a kind, and a small part of it for the others.
func less(n, i int) int {
	if i == 0 {
		return n
	}
	return n>>6 + i
}

func bombs() []bomb {
	zeros := func(i int) []byte { return make([]byte, less(8<<20, i)) }
	return []bomb{
		{"deep.zip", func(i int) []byte { return nested(6+i, 1, 1<<20) }, false},
		{"wide.zip", func(i int) []byte { return nested(4, 5, less(1<<17, i)) }, false},
		{"zeros.pt", func(i int) []byte { return zipOf(4+i, "/data.pkl", zeros(i)) }, false},
		{"twice.gz", func(i int) []byte { return compressed(compressed(zeros(i), gzipped), gzipped) }, true},
		{"window.zst", func(i int) []byte { return compressed(zeros(i), zstdWith(64<<20)) }, false},
		{"marks.pkl", func(i int) []byte { return long("\x80\x04", "(", less(4<<20, i), ".") }, false},
		{"lists.pkl", func(i int) []byte {
			return long("\x80\x04", "]", less(4<<20, i), strings.Repeat("a", less(4<<20, i))+".")
		}, false},
		{"memo.pkl", func(i int) []byte { return memoOf(less(1<<20, i)) }, false},
		{"memoized.pkl", func(i int) []byte { return long("\x80\x04]", "\x94", less(8<<20, i), ".") }, false},
		{"laughs.pkl", func(i int) []byte { return long("\x80\x04N", "2\x86", less(1<<20, i), ".") }, true},
		{"dicts.pkl", func(i int) []byte { return long("\x80\x04", "}K\x01K\x02s\x94", less(1<<20, i), ".") }, false},
		{"promise.pkl", func(i int) []byte { return append(long("\x80\x04\x8e", "\xff", 7, "\x7f"), byte(i)) }, false},
		{"globals.pkl", func(i int) []byte { return long("\x80\x02", "cnumpy\ndtype\n", less(1<<18, i), ".") }, true},
		{"counts.gguf", func(i int) []byte { return ggufHead(1<<62+uint64(i), 1<<62) }, false},
		{"tensors.gguf", func(i int) []byte { return ggufHead(1<<31, 0, make([]byte, less(4<<20, i))...) }, false},
		{"arrays.gguf", func(i int) []byte { return ggufArrays(less(1<<18, i)) }, false},
		{"header.safetensors", func(i int) []byte {
			text := long(`{"a":`, "[", less(4<<20, i), "")
			return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
		}, false},
		{"shape.npy", func(i int) []byte {
			head := fmt.Sprintf("{'descr': '<f8', 'fortran_order': False, 'shape': (%s%d,), }\n", strings.Repeat("9,", 1<<15), i)
			return append([]byte("\x93NUMPY\x02\x00"), append(binary.LittleEndian.AppendUint32(nil, uint32(len(head))), head...)...)
		}, false},
		{"config.json", func(i int) []byte { return long(`{"auto_map":`, `{"a":`, less(2<<20, i), "") }, false},
		{"chat.jinja", func(i int) []byte { return long("", "{% if a %}{{ (((", less(30_000, i), "") }, false},
	}
}

// A hundred bombs in one repository take no more memory than one of them may, and
// end in time, and the process lives to see the last.
func TestScanProcessBombs(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells the memory of a process in a file")
	}
	const each, most = 5, 256 << 10 // KiB
	report := filepath.Join(t.TempDir(), "status")
	p := process(t, "measured-worker")
	p.args, p.time = append(p.args, report), workTime
	files := func(yield func(scan.File, error) bool) {
		for i := range each {
			for _, b := range bombs() {
				data := b.data(i)
				if !yield(scan.File{Path: fmt.Sprintf("%d/%s", i, b.name), Size: int64(len(data)), At: bytes.NewReader(data)}, nil) {
					return
				}
			}
		}
	}
	started := time.Now()
	got, err := p.scan(t.Context(), files, scan.Options{})
	took := time.Since(started)
	if err != nil || got.Files != each*len(bombs()) || got.Files != 100 {
		t.Fatalf("%d files, %v", got.Files, err)
	}
	found := map[string]string{}
	for _, f := range got.Findings {
		name, _, _ := strings.Cut(f.Path, "!")
		found[name] += " " + f.Rule
	}
	for i := range each {
		for _, b := range bombs() {
			if name := fmt.Sprintf("%d/%s", i, b.name); i == 0 && (found[name] == "") != b.safe || strings.Contains(found[name], "limit-process") {
				t.Errorf("%s: found %q", name, found[name])
			}
		}
	}
	status, err := os.ReadFile(report)
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindAllStringSubmatch(string(status), -1)
	if err != nil || len(m) != 1 {
		t.Fatalf("%d processes have said what they took: %v", len(m), err)
	}
	peak, _ := strconv.Atoi(m[0][1])
	t.Logf("%v, at most %d MiB", took, peak>>10)
	if peak > most || took > time.Minute {
		t.Errorf("%v, at most %d KiB, want no more than %d", took, peak, most)
	}
}
