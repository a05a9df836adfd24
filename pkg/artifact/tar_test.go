package artifact_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// A member is one entry of an archive made for a test.
type member struct {
	tar.Header

	body string
	raw  []byte // instead of all else
}

// file is a regular file, or a directory if the name ends in a slash.
func file(name, body string) member {
	m := member{Header: tar.Header{Name: name, Mode: 0o640, Typeflag: tar.TypeReg}, body: body}
	if strings.HasSuffix(name, "/") {
		m.Typeflag = tar.TypeDir
	}
	return m
}

func link(name, to string) member {
	return member{Header: tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink}}
}

func special(name string, flag byte) member {
	return member{Header: tar.Header{Name: name, Typeflag: flag, Linkname: "x"}}
}

// tarOf writes members as they are, whatever they are.
func tarOf(members ...member) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, m := range members {
		if m.raw != nil {
			_ = w.Flush()
			buf.Write(m.raw)
			continue
		}
		m.Size = int64(len(m.body))
		if err := w.WriteHeader(&m.Header); err != nil {
			panic(err)
		}
		if _, err := io.WriteString(w, m.body); err != nil {
			panic(err)
		}
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func gzipOf(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, _ = w.Write(data)
	_ = w.Close()
	return buf.Bytes()
}

func zstdOf(data []byte) []byte {
	var buf bytes.Buffer
	w, err := zstd.NewWriter(&buf)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(data)
	_ = w.Close()
	return buf.Bytes()
}
