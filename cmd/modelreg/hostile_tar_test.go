package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A member is an entry of an archive.
type member struct {
	name string
	flag byte
	text string // what is in it, or where it leads
}

// archive writes members as they are told.
func archive(t *testing.T, members ...member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := tar.Header{Name: m.name, Typeflag: m.flag, Mode: 0o644}
		if m.flag == tar.TypeReg {
			h.Size = int64(len(m.text))
		} else {
			h.Linkname = m.text
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if m.flag == tar.TypeReg {
			_, _ = io.WriteString(w, m.text) // into memory
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// relabelled changes the first header of an archive and mends its checksum.
func relabelled(raw []byte, change func(header []byte)) []byte {
	raw = bytes.Clone(raw)
	h := raw[:512]
	change(h)
	copy(h[148:156], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return raw
}

// sized claims a size, in the form of GNU tar, for the first member.
func sized(raw []byte, n int64) []byte {
	return relabelled(raw, func(h []byte) {
		field := h[124:136]
		field[0] = 0x80
		if n < 0 {
			field[0] = 0xff
		}
		for i := 1; i < 12; i++ {
			field[i] = byte(n >> min(8*(11-i), 63))
		}
	})
}

var compressions = map[mediatypes.Encoding]func(raw []byte) []byte{
	mediatypes.Tar: func(raw []byte) []byte { return raw },
	mediatypes.TarGzip: func(raw []byte) []byte {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(raw) // into memory
		_ = w.Close()
		return b.Bytes()
	},
	mediatypes.TarZstd: func(raw []byte) []byte {
		w, _ := zstd.NewWriter(nil) // fails only for bad options
		defer w.Close()
		return w.EncodeAll(raw, nil)
	},
}

// inTar makes a model of one archive.
func inTar(enc mediatypes.Encoding, data []byte) func(l *layout) []byte {
	return func(l *layout) []byte {
		desc := l.blob(mediatypes.LayerType(mediatypes.KindWeight, enc), data)
		desc["annotations"] = map[string]string{mediatypes.AnnotationFilepath: "model"}
		return encoded(l.t, l.model(desc))
	}
}

func TestHostileArchives(t *testing.T) {
	reg := func(name string) member { return member{name, tar.TypeReg, "x"} }
	plain := archive(t, reg("model.bin"))
	one := func(members ...member) []byte { return archive(t, append([]member{reg("model.bin")}, members...)...) }
	// What comes before the member that is wrong may be read: it is whole.
	first := []string{"unknown type", "size 2^60", "size 2^62", "size 2^63-1", "size -1", "cut", "no archive"}
	tests := map[string]struct {
		data []byte
		text string
	}{
		"dot dot":             {one(reg("../x")), "component .."},
		"dot dot inside":      {one(reg("a/../../x")), "component .."},
		"absolute":            {one(reg("/etc/x")), "absolute"},
		"link and through it": {one(member{"l", tar.TypeSymlink, "/tmp"}, reg("l/x")), "symbolic link"},
		"link up":             {one(member{"l", tar.TypeSymlink, "../.."}, reg("l/sentinel")), "symbolic link"},
		"link inside":         {one(member{"l", tar.TypeSymlink, "model.bin"}), "symbolic link"},
		"chain of links":      {one(member{"a", tar.TypeSymlink, "."}, member{"a/b", tar.TypeSymlink, ".."}), "symbolic link"},
		"hard link out":       {one(member{"l", tar.TypeLink, "../sentinel"}), "hard link"},
		"hard link inside":    {one(member{"l", tar.TypeLink, "model.bin"}), "hard link"},
		"device":              {one(member{"d", tar.TypeChar, ""}), "device"},
		"block device":        {one(member{"d", tar.TypeBlock, ""}), "device"},
		"pipe":                {one(member{"p", tar.TypeFifo, ""}), "named pipe"},
		"unknown type":        {relabelled(plain, func(h []byte) { h[156] = 'Z' }), "not a regular file"},
		"duplicate":           {one(reg("model.bin")), "duplicate path"},
		"file and directory":  {one(reg("model.bin/x")), "both a file and a directory"},
		"case":                {one(reg("MODEL.BIN")), "collision"},
		"drive":               {one(reg("C:x")), "colon"},
		"device name":         {one(reg("aux.txt")), "device name"},
		"git":                 {one(reg(".git/config")), ".git"},
		"record":              {one(reg(".modelreg/pull.json")), ".modelreg"},
		"escapes":             {one(reg("a\x1b[2J\n")), "control character"},
		"long":                {one(reg(strings.Repeat("x/", 2000) + "x")), "too long"},
		"size 2^60":           {sized(plain, 1<<60), "limit"},
		"size 2^62":           {sized(plain, 1<<62), "unsafe"},
		"size 2^63-1":         {sized(plain, math.MaxInt64), "unsafe"},
		"size -1":             {sized(plain, -1), "unsafe"},
		"second archive":      {append(bytes.Clone(plain), plain...), "behind the end"},
		"cut":                 {plain[:512], "unsafe"},
		"no archive":          {bytes.Repeat([]byte("text"), 1000), "malformed archive"},
	}
	for name, tt := range tests {
		for _, enc := range slices.Sorted(maps.Keys(compressions)) {
			t.Run(name+"/"+string(enc), func(t *testing.T) {
				c := hostileCase{
					make: inTar(enc, compressions[enc](tt.data)), code: exitUnsafe, text: tt.text, blobs: true,
				}
				if !slices.Contains(first, name) {
					c.cat = new(exitOK)
				}
				if enc != mediatypes.Tar {
					c.inspect = new(exitOK) // does not unpack
				}
				c.try(t)
			})
		}
	}
}

// What expands beyond reason is given up before it fills the disk.
func TestHostileExpansion(t *testing.T) {
	zeros := compressions[mediatypes.TarGzip](make([]byte, 16<<20))
	header := compressions[mediatypes.TarGzip](sized(archive(t, member{"model.bin", tar.TypeReg, ""})[:512], 4<<30))
	entries := make([]member, 100_001)
	for i := range entries {
		entries[i] = member{fmt.Sprintf("d%d/", i%10), tar.TypeDir, ""}
	}
	whole := compressions[mediatypes.TarGzip](archive(t, member{"model.bin", tar.TypeReg, "x"}))
	tests := map[string]struct {
		data []byte
		text string
	}{
		"file of 4 GiB":           {append(header, bytes.Repeat(zeros, 256)...), "limit"},
		"4 GiB behind the end":    {append(whole, bytes.Repeat(zeros, 256)...), "limit"},
		"100,001 entries":         {compressions[mediatypes.TarGzip](archive(t, entries...)), "more than 100000 entries"},
		"garbage behind the gzip": {append(bytes.Clone(whole), "garbage"...), "malformed archive"},
		"gzip that is cut":        {whole[:len(whole)-9], "malformed archive"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			_, ref := l.serve(ocispec.MediaTypeImageManifest, digest.SHA256, inTar(mediatypes.TarGzip, tt.data)(l))
			v := newVictim(t)
			v.atMost = time.Minute // a GiB may come out of it, and the race detector is slow
			v.ends(exitUnsafe, tt.text, "pull", ref, v.out)
			v.untouched()
		})
	}
}

// What an archive says of modes, owners and times does not reach the disk.
func TestOddArchive(t *testing.T) {
	raw := relabelled(archive(t, member{"model.bin", tar.TypeReg, "0123456789"}), func(h []byte) {
		copy(h[100:], "0006777\x00")
		copy(h[136:], "77777777777\x00")
		copy(h[265:], "root\x00")
	})
	l := newLayout(t)
	_, ref := l.serve(ocispec.MediaTypeImageManifest, digest.SHA256, inTar(mediatypes.Tar, raw)(l))
	v := newVictim(t)
	v.ends(exitOK, "pulled 1 file", "pull", ref, v.out)
	if got := filesIn(t, v.out); got["model.bin"] != "0123456789" {
		t.Errorf("files: %v", got)
	}
}
