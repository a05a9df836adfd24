package zipdir_test

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/internal/zipdir"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

func list(b []byte) ([]zipdir.Member, error) {
	return zipdir.List(bytes.NewReader(b), int64(len(b)), "zip")
}

// two is an archive of a stored and a compressed member.
func two(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	write(t, w, "a.txt", zip.Store)
	write(t, w, "dir/b.txt", zip.Deflate)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t testing.TB, w *zip.Writer, name string, method uint16) {
	t.Helper()
	f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: method})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("content of " + name)); err != nil {
		t.Fatal(err)
	}
}

func TestListAndOpen(t *testing.T) {
	b := two(t)
	members, err := list(b)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, m := range members {
		r, off, err := zipdir.Open(bytes.NewReader(b), m, "zip")
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[m.Name] = string(content)
		if m.Method == zipdir.Store && !bytes.HasPrefix(b[off:], content) {
			t.Errorf("%s does not begin at %d", m.Name, off)
		}
	}
	want := map[string]string{"a.txt": "content of a.txt", "dir/b.txt": "content of dir/b.txt"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("members (-want +got):\n%s", diff)
	}
}

// Places in an archive of one member, counted from its ends.
const (
	endAt  = 22 // of the end record, from the end of the file
	nameOf = 30 // of the name in a local header
)

func TestListRejects(t *testing.T) {
	one := func() []byte { return testmodel.ZipFile(testmodel.Member{Name: "a", Data: []byte("data")}) }
	central := func(b []byte) int { return bytes.Index(b, []byte("PK\x01\x02")) }
	in := func(offset int, v ...byte) []byte { // changes the directory's entry
		b := one()
		copy(b[central(b)+offset:], v)
		return b
	}
	end := func(offset int, v ...byte) []byte { // changes the end record
		b := one()
		copy(b[len(b)-endAt+offset:], v)
		return b
	}
	tests := map[string]struct {
		file []byte
		want string
	}{
		"empty":           {nil, "no zip directory"},
		"text":            {bytes.Repeat([]byte("x"), 100), "no zip directory"},
		"comment":         {end(20, 1, 0), "no zip directory"},
		"bytes behind":    {append(one(), 'x'), "no zip directory"},
		"bytes before":    {append([]byte("x"), one()...), "not at the end"},
		"several parts":   {end(4, 1, 0), "several parts"},
		"too many":        {end(10, 9, 0), "too many"},
		"one more":        {end(8, 0, 0, 0, 0), "0"},
		"directory moved": {end(16, 0, 0, 0, 0), "not at the end"},
		"no entry":        {in(0, 'x'), "no directory entry"},
		"entry too long":  {in(28, 0xff, 0xff), "longer than the directory"},
		"encrypted":       {in(8, 1), "encrypted"},
		"method":          {in(10, 12), "method 12"},
		"sizes differ":    {in(24, 5), "impossible sizes"},
		"no zip64":        {in(24, 0xff, 0xff, 0xff, 0xff), "no zip64 sizes"},
		"size too large":  {in(20, 0xff, 0, 0, 0, 0xff, 0, 0, 0), "runs into the directory"},
		"offset":          {in(42, 1), "belong to none"},
		"same name":       {testmodel.ZipFile(testmodel.Member{Name: "a"}, testmodel.Member{Name: "a"}), "twice"},
		"overlap":         {overlap(), "overlaps"},
		"gap":             {gap(), "belong to no"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := list(test.file)
			if !errors.Is(err, malformed.ErrMalformed) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("List error = %v, want malformed: %q", err, test.want)
			}
		})
	}
}

// overlap is an archive whose two members are the same bytes.
func overlap() []byte {
	b := testmodel.ZipFile(testmodel.Member{Name: "a", Data: []byte("d")}, testmodel.Member{Name: "b", Data: []byte("d")})
	second := bytes.LastIndex(b, []byte("PK\x01\x02"))
	copy(b[second+42:], []byte{0, 0, 0, 0})
	return b
}

// gap is an archive with more before its directory than a member can leave.
func gap() []byte {
	b := testmodel.ZipFile(testmodel.Member{Name: "a", Data: []byte("d")})
	dir := bytes.Index(b, []byte("PK\x01\x02"))
	out := append(bytes.Clone(b[:dir]), make([]byte, 70_000)...)
	out = append(out, b[dir:]...)
	binary.LittleEndian.PutUint32(out[len(out)-6:], uint32(dir+70_000))
	return out
}

func TestOpenRejects(t *testing.T) {
	tests := map[string]func(b []byte){
		"signature":      func(b []byte) { b[0] = 'x' },
		"other name":     func(b []byte) { b[nameOf] = 'x' },
		"other method":   func(b []byte) { b[8] = 8 },
		"encrypted":      func(b []byte) { b[6] |= 1 },
		"long extra":     func(b []byte) { b[28] = 0xff },
		"length of name": func(b []byte) { b[26] = 2 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			b := testmodel.ZipFile(testmodel.Member{Name: "a", Data: []byte("data")})
			change(b)
			members, err := list(b)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := zipdir.Open(bytes.NewReader(b), members[0], "zip"); !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("Open error = %v, want malformed", err)
			}
		})
	}
}

func TestZip64(t *testing.T) {
	b := zip64(1)
	members, err := list(b)
	if err != nil || len(members) != 1 || members[0].Size != 4 {
		t.Errorf("List = %+v, %v; want one of 4 bytes", members, err)
	}
	for name, b := range map[string][]byte{
		"ends differ":  zip64(2),
		"end is moved": bytes.Replace(b, []byte("PK\x06\x06"), []byte("PK\x06\x05"), 1),
	} {
		if _, err := list(b); !errors.Is(err, malformed.ErrMalformed) {
			t.Errorf("%s: List error = %v, want malformed", name, err)
		}
	}
}

// zip64 is an archive of one member with the records of zip64, as PyTorch
// writes them for any size. The old end says that there are count members.
func zip64(count uint16) []byte {
	b := testmodel.ZipFile(testmodel.Member{Name: "a", Data: []byte("data")})
	end := bytes.Clone(b[len(b)-endAt:])
	dir := binary.LittleEndian.Uint32(end[16:])
	size := binary.LittleEndian.Uint32(end[12:])
	at := uint64(len(b) - endAt)
	b = append(b[:at], "PK\x06\x06"...)
	b = binary.LittleEndian.AppendUint64(b, 44)
	b = append(b, make([]byte, 12)...)
	for _, v := range []uint64{1, 1, uint64(size), uint64(dir)} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	b = append(b, "PK\x06\x07\x00\x00\x00\x00"...)
	b = binary.LittleEndian.AppendUint64(b, at)
	b = append(b, 1, 0, 0, 0)
	binary.LittleEndian.PutUint16(end[10:], count)
	return append(b, end...)
}

// FuzzList checks that archive/zip sees the same members in what List accepts.
func FuzzList(f *testing.F) {
	f.Add(two(f))
	f.Add(zip64(1))
	f.Add(overlap())
	f.Fuzz(func(t *testing.T, b []byte) {
		members, err := list(b)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) {
				t.Errorf("List error = %v, want malformed", err)
			}
			return
		}
		if len(members) == 0 {
			return
		}
		want, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
		if want == nil {
			t.Fatalf("archive/zip does not read what List accepts: %v", err)
		}
		for i, m := range members {
			if want.File[i].Name != m.Name || int64(want.File[i].UncompressedSize64) != m.Size {
				t.Errorf("List = %+v, archive/zip %+v", m, want.File[i].FileHeader)
			}
			r, off, err := zipdir.Open(bytes.NewReader(b), m, "zip")
			if err != nil {
				continue
			}
			if other, err := want.File[i].DataOffset(); err != nil || other != off {
				t.Errorf("%s begins at %d, for archive/zip at %d, %v", m.Name, off, other, err)
			}
			if n, _ := io.Copy(io.Discard, r); n > m.Size {
				t.Errorf("%s unpacks to %d bytes of %d", m.Name, n, m.Size)
			}
		}
	})
}
