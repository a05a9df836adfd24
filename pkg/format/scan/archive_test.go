package scan_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

// evil is a pickle that is dangerous, good one that is not.
var (
	evil = asm(nil).proto(2).global("os", "getcwd").raw(")R").stop()
	good = asm(nil).proto(2).raw("}").stop()
)

// torchZip is a PyTorch archive around a pickle. Nothing is compressed, and
// sizes stand in the headers.
func torchZip(pickle []byte, more ...testmodel.Member) []byte {
	members := append([]testmodel.Member{{Name: "m/data.pkl", Data: pickle}, {Name: "m/version", Data: []byte("3\n")}}, more...)
	return plainZip(zip.Store, members...)
}

func plainZip(method uint16, members ...testmodel.Member) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		data := m.Data
		h := &zip.FileHeader{Name: m.Name, Method: method, CRC32: crc(m.Data), UncompressedSize64: uint64(len(m.Data))}
		if method == zip.Deflate {
			data = deflated(m.Data)
		}
		h.CompressedSize64 = uint64(len(data))
		f, err := w.CreateRaw(h)
		if err != nil {
			panic(err)
		}
		f.Write(data) //nolint:errcheck // a bytes.Buffer takes everything
	}
	w.Close() //nolint:errcheck // as above
	return b.Bytes()
}

// patched returns b with bytes put over those at an offset.
func patched(b []byte, off int, with string) []byte {
	b = slices.Clone(b)
	copy(b[off:], with)
	return b
}

// find returns the offset of the n-th occurrence of s.
func find(b []byte, s string, n int) int {
	off := -1
	for range n {
		off += 1 + bytes.Index(b[off+1:], []byte(s))
	}
	return off
}

func TestZips(t *testing.T) {
	const local, central, end = "PK\x03\x04", "PK\x01\x02", "PK\x05\x06"
	bad, ok := torchZip(evil), torchZip(good)
	other := plainZip(zip.Store, testmodel.Member{Name: "x", Data: []byte("hello")})
	tests := map[string]struct {
		zip     []byte
		verdict scan.Verdict
		rule    string
	}{
		"good":                        {ok, scan.Safe, ""},
		"with descriptors":            {testmodel.ZipFile(testmodel.Member{Name: "a/data.pkl", Data: good}), scan.Safe, ""},
		"compressed":                  {plainZip(zip.Deflate, testmodel.Member{Name: "a/data.pkl", Data: good}), scan.Safe, ""},
		"empty":                       {[]byte(end + strings.Repeat("\x00", 18)), scan.Safe, ""},
		"bad":                         {bad, scan.Dangerous, "pickle-dangerous-import"},
		"bad, compressed":             {plainZip(zip.Deflate, testmodel.Member{Name: "a/data.pkl", Data: evil}), scan.Dangerous, "pickle-dangerous-import"},
		"bad, another name":           {plainZip(zip.Store, testmodel.Member{Name: "a/weights.txt", Data: evil}), scan.Dangerous, "pickle-dangerous-import"},
		"bad, as a storage":           {torchZip(good, testmodel.Member{Name: "m/data/0", Data: evil}), scan.Dangerous, "pickle-dangerous-import"},
		"bad, second archive inside":  {torchZip(good, testmodel.Member{Name: "m/extra/x.zip", Data: bad}), scan.Dangerous, "pickle-dangerous-import"},
		"bad, wrong checksum":         {patched(patched(bad, 14, "\x00\x00\x00\x00"), find(bad, central, 1)+16, "\x00\x00\x00\x00"), scan.Dangerous, "zip-checksum"},
		"wrong checksum":              {patched(patched(ok, 14, "\x00\x00\x00\x00"), find(ok, central, 1)+16, "\x00\x00\x00\x00"), scan.Unscannable, "zip-checksum"},
		"checksums differ":            {patched(ok, 14, "\x00\x00\x00\x00"), scan.Unscannable, "zip-malformed"},
		"encrypted in the header":     {patched(bad, 6, "\x01"), scan.Unscannable, "zip-malformed"},
		"encrypted in the directory":  {patched(bad, find(bad, central, 1)+8, "\x01"), scan.Unscannable, "zip-malformed"},
		"flag 0x20":                   {patched(bad, find(bad, central, 1)+8, "\x20"), scan.Unscannable, "zip-malformed"},
		"flag 0x40":                   {patched(bad, find(bad, central, 1)+8, "\x40"), scan.Unscannable, "zip-malformed"},
		"other name in the header":    {patched(bad, 30, "m/safe.pkl"), scan.Unscannable, "zip-malformed"},
		"other name in the directory": {patched(bad, find(bad, central, 1)+46, "m/safe.pkl"), scan.Unscannable, "zip-malformed"},
		"other method in the header":  {patched(bad, 8, "\x08"), scan.Unscannable, "zip-malformed"},
		"unknown method":              {patched(patched(bad, 8, "\x63"), find(bad, central, 1)+10, "\x63"), scan.Unscannable, "zip-malformed"},
		"other size in the header":    {patched(bad, 22, "\x01"), scan.Unscannable, "zip-malformed"},
		"broken local header":         {patched(bad, 0, "PK\x03\x05"), scan.Unscannable, "zip-prefix"},
		"broken second header":        {patched(bad, find(bad, local, 2), "PK\x03\x05"), scan.Dangerous, "zip-malformed"},
		"broken directory":            {patched(bad, find(bad, central, 1), "PK\x01\x03"), scan.Unscannable, "zip-malformed"},
		"no end":                      {bad[:len(bad)-22], scan.Unscannable, "zip-malformed"},
		"a prefix":                    {append([]byte("junk"), bad...), scan.Unscannable, "zip-prefix"},
		"a pickle before it":          {append(slices.Clone(evil), other...), scan.Dangerous, "zip-prefix"},
		"a harmless pickle before it": {append(slices.Clone(good), bad...), scan.Unscannable, "zip-prefix"},
		"text before it":              {append([]byte("# a text\n"), bad...), scan.Unscannable, "zip-prefix"},
		"two ends":                    {append(slices.Clone(bad), other...), scan.Unscannable, "zip-malformed"},
		"a tail":                      {append(slices.Clone(bad), "junk"...), scan.Unscannable, "zip-malformed"},
		"a comment":                   {append(patched(bad, len(bad)-2, "\x04\x00"), "junk"...), scan.Unscannable, "zip-malformed"},
		"twice the same name": {
			plainZip(zip.Store, testmodel.Member{Name: "m/data.pkl", Data: good}, testmodel.Member{Name: "m/data.pkl", Data: evil}),
			scan.Unscannable, "zip-malformed",
		},
		"twice for some": {
			plainZip(zip.Store, testmodel.Member{Name: "m/data.pkl", Data: good}, testmodel.Member{Name: "/m//data.pkl", Data: good}),
			scan.Unscannable, "zip-name",
		},
		"twice by case":      {plainZip(zip.Store, testmodel.Member{Name: "m/data.pkl", Data: good}, testmodel.Member{Name: "m/DATA.pkl", Data: good}), scan.Unscannable, "zip-name"},
		"NUL in a name":      {plainZip(zip.Store, testmodel.Member{Name: "m/data.pkl\x00.txt", Data: good}), scan.Unscannable, "zip-name"},
		"backslash":          {plainZip(zip.Store, testmodel.Member{Name: `m\data.pkl`, Data: good}), scan.Unscannable, "zip-name"},
		"out of it":          {plainZip(zip.Store, testmodel.Member{Name: "../data.pkl", Data: good}), scan.Unscannable, "zip-name"},
		"two data.pkl":       {torchZip(good, testmodel.Member{Name: "n/data.pkl", Data: evil}), scan.Dangerous, "pickle-dangerous-import"},
		"TorchScript":        {torchZip(good, testmodel.Member{Name: "m/code/__torch__.py", Data: []byte("def f(): pass\n")}), scan.Unknown, "torchscript"},
		"code of a package":  {torchZip(good, testmodel.Member{Name: "m/collections.py", Data: []byte("import os\n")}), scan.Unknown, "custom-code"},
		"a package":          {torchZip(good, testmodel.Member{Name: "m/.data/extern_modules", Data: []byte("os\n")}), scan.Unknown, "custom-code"},
		"7z inside":          {torchZip(good, testmodel.Member{Name: "m/x", Data: []byte("7z\xbc\xaf\x27\x1cjunk")}), scan.Unscannable, "archive-closed"},
		"object in npz":      {plainZip(zip.Store, testmodel.Member{Name: "a.npy", Data: npyObject(evil)}), scan.Dangerous, "pickle-dangerous-import"},
		"pickle as npz":      {evil, scan.Dangerous, "pickle-dangerous-import"},
		"pickle in npz":      {plainZip(zip.Store, testmodel.Member{Name: "a.npy", Data: evil}), scan.Dangerous, "pickle-dangerous-import"},
		"array as a storage": {torchZip(good, testmodel.Member{Name: "m/data/0", Data: npyObject(evil)}), scan.Dangerous, "pickle-dangerous-import"},
		"gzip beside data":   {torchZip(good, testmodel.Member{Name: "m/data/0.gz", Data: deflated(nil)}), scan.Unscannable, "format-mismatch"},
		"numbers like gzip":  {torchZip(good, testmodel.Member{Name: "m/data/0", Data: []byte("\x1f\x8b\x08junk")}), scan.Safe, ""},
		"weights pickled":    {plainZip(zip.Store, testmodel.Member{Name: "model.weights.npz", Data: evil}), scan.Dangerous, "pickle-dangerous-import"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "model.pt", test.zip)
			if got.Verdict != test.verdict || test.rule != "" && !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want %s with %q: %v", got.Verdict, test.verdict, test.rule, got.Findings)
			}
		})
	}
}

// npyObject is an array of objects by a pickle.
func npyObject(pickle []byte) []byte {
	return testmodel.NPYRaw("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", pickle)
}

// Bytes in the room between two members belong to none.
func TestZipGap(t *testing.T) {
	b := torchZip(good)
	dir := find(b, "PK\x01\x02", 1)
	gap := slices.Concat(b[:dir], []byte("gap!"), b[dir:])
	binary.LittleEndian.PutUint32(gap[len(gap)-6:], uint32(dir+4))
	if got := run(t, "m.pt", gap); got.Verdict != scan.Unscannable || !slices.Contains(rules(got), "zip-malformed") {
		t.Errorf("a gap: %s %v", got.Verdict, got.Findings)
	}
}

func packed(t *testing.T, open func(io.Writer) io.WriteCloser, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := open(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(w io.Writer) io.WriteCloser { z, _ := gzip.NewWriterLevel(w, gzip.BestSpeed); return z }
func zlibbed(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
func zstdded(w io.Writer) io.WriteCloser { z, _ := zstd.NewWriter(w); return z }

// tarOf is an archive of one file.
func tarOf(h tar.Header, data []byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if h.Size == 0 {
		h.Size = int64(len(data))
	}
	h.Mode = 0o644
	w.WriteHeader(&h) //nolint:errcheck // a bytes.Buffer takes everything
	w.Write(data)     //nolint:errcheck // as above
	w.Close()         //nolint:errcheck // as above
	return b.Bytes()
}

func TestPackedPickles(t *testing.T) {
	layered := evil
	for range 10 {
		layered = packed(t, gzipped, layered)
	}
	tarred := tarOf(tar.Header{Name: "model.txt"}, evil)
	tests := map[string]struct {
		data    []byte
		verdict scan.Verdict
		rule    string
	}{
		"gzip":              {packed(t, gzipped, evil), scan.Dangerous, "pickle-dangerous-import"},
		"zlib":              {packed(t, zlibbed, evil), scan.Dangerous, "pickle-dangerous-import"},
		"zstd":              {packed(t, zstdded, evil), scan.Dangerous, "pickle-dangerous-import"},
		"good gzip":         {packed(t, gzipped, good), scan.Safe, ""},
		"zip in gzip":       {packed(t, gzipped, torchZip(evil)), scan.Dangerous, "pickle-dangerous-import"},
		"gzip in gzip":      {packed(t, gzipped, packed(t, gzipped, evil)), scan.Dangerous, "pickle-dangerous-import"},
		"too deep":          {layered, scan.Unscannable, "limit-depth"},
		"cut":               {packed(t, gzipped, bytes.Repeat(evil, 999))[:60], scan.Dangerous, "compressed-malformed"},
		"bytes behind":      {append(packed(t, zlibbed, good), "junk"...), scan.Unscannable, "compressed-malformed"},
		"second gzip":       {append(packed(t, gzipped, good), packed(t, gzipped, evil)...), scan.Dangerous, "pickle-dangerous-import"},
		"wrong checksum":    {patched(packed(t, gzipped, good), len(packed(t, gzipped, good))-8, "xxxx"), scan.Unscannable, "compressed-malformed"},
		"tar":               {tarred, scan.Dangerous, "pickle-dangerous-import"},
		"tar in gzip":       {packed(t, gzipped, tarred), scan.Dangerous, "pickle-dangerous-import"},
		"tar in tar":        {tarOf(tar.Header{Name: "a.tar"}, tarred), scan.Dangerous, "pickle-dangerous-import"},
		"good tar":          {tarOf(tar.Header{Name: "a.txt"}, []byte("hello")), scan.Safe, ""},
		"tar, cut":          {tarred[:520], scan.Unscannable, "tar-malformed"},
		"tar, tail":         {append(slices.Clone(tarred), evil...), scan.Dangerous, "tar-malformed"},
		"link in tar":       {tarOf(tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, nil), scan.Unknown, "tar-special"},
		"device in tar":     {tarOf(tar.Header{Name: "a", Typeflag: tar.TypeChar}, nil), scan.Unknown, "tar-special"},
		"tar, odd checksum": {oddTar(evil), scan.Unscannable, ""},
		"tar, old":          {oldTar(evil, "%06o\x00 "), scan.Dangerous, "pickle-dangerous-import"},
		"tar, old and odd":  {oldTar(evil, "0o%05o\x00"), scan.Unscannable, "tar-malformed"},
		"no xz":             {[]byte("\xfd7zXZ\x00junk"), scan.Unscannable, "compressed-malformed"},
		"no lz4":            {[]byte("\x04\x22\x4d\x18\x64\x40\xa7junk"), scan.Unscannable, "compressed-malformed"},
		"rar":               {[]byte("Rar!\x1a\x07\x01\x00"), scan.Unscannable, "archive-closed"},
		"objects":           {npyObject(evil), scan.Dangerous, "pickle-dangerous-import"},
		"harmless objects":  {npyObject(good), scan.Safe, "numpy-object"},
		"array with a tail": {append(testmodel.NPYFile("<f4", []int64{1}, make([]byte, 4)), evil...), scan.Unscannable, "numpy-malformed"},
		"array, cut":        {testmodel.NPYFile("<f4", []int64{9}, make([]byte, 4)), scan.Unscannable, "numpy-malformed"},
		"no array":          {[]byte("\x93NUMPY\x09\x00junk"), scan.Unscannable, "numpy-malformed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := run(t, "model", test.data)
			if got.Verdict != test.verdict || test.rule != "" && !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want %s with %q: %v", got.Verdict, test.verdict, test.rule, got.Findings)
			}
		})
	}
}

// oddTar is an archive with a checksum that is wrong.
func oddTar(data []byte) []byte {
	return patched(tarOf(tar.Header{Name: "model.txt"}, data), 148, "        ")
}

// oldTar is an archive as they were before there was a magic, with its checksum
// in a format.
func oldTar(data []byte, format string) []byte {
	b := tarOf(tar.Header{Name: "model.txt"}, data)
	clear(b[257:512])
	copy(b[148:], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	return patched(b, 148, fmt.Sprintf(format, sum))
}

// A bomb is given up before it has cost anything.
func TestArchiveBombs(t *testing.T) {
	zeros := make([]byte, 28<<20)
	bomb := packed(t, gzipped, zeros)
	tests := map[string]struct {
		data []byte
		rule string
	}{
		"ratio": {plainZip(zip.Deflate, testmodel.Member{Name: "x", Data: zeros}), "limit-size"},
		"pickle too large to hold": {
			packed(t, gzipped, asm(nil).proto(2).bytes(string(zeros)).op('0').global("os", "getcwd").raw(")R").stop()),
			"pickle-dangerous-import",
		},
		"zip too large to hold": {packed(t, gzipped, plainZip(zip.Store, testmodel.Member{Name: "x", Data: zeros})), "limit-size"},
		"gzip in gzip":          {packed(t, gzipped, append(bomb, zeros...)), "limit-size"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "a", test.data); !slices.Contains(rules(got), test.rule) {
				t.Errorf("verdict %s, want rule %s: %v", got.Verdict, test.rule, got.Findings)
			}
		})
	}
}

func TestManyMembers(t *testing.T) {
	members := make([]testmodel.Member, 60_000)
	for i := range members {
		members[i].Name = fmt.Sprint(i)
	}
	b := plainZip(zip.Store, members...)
	outer := plainZip(zip.Store, testmodel.Member{Name: "a", Data: b}, testmodel.Member{Name: "b", Data: b})
	if got := run(t, "a.zip", outer); !slices.Contains(rules(got), "limit-size") {
		t.Errorf("verdict %s: %v", got.Verdict, got.Findings)
	}
}
