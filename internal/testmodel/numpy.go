package testmodel

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

// NPYFile returns a .npy file of version 1.0. Descr is NumPy's name of the data
// type, such as "<f4".
func NPYFile(descr string, shape []int64, data []byte) []byte {
	var dims strings.Builder
	for _, d := range shape {
		fmt.Fprintf(&dims, "%d,", d)
	}
	return NPYRaw(fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", descr, dims.String()), data)
}

// NPYRaw returns a .npy file of version 1.0 with header as it is, padded as
// NumPy does.
func NPYRaw(header string, data []byte) []byte {
	n := 10 + len(header) + 1
	header += strings.Repeat(" ", (64-n%64)%64) + "\n"
	b := []byte("\x93NUMPY\x01\x00")
	b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	b = append(b, header...)
	return append(b, data...)
}

// Numpy writes weights.npy and, with two arrays, arrays.npz.
func Numpy(t testing.TB, dir string) {
	t.Helper()
	write(t, dir, "weights.npy", NPYFile("<f4", []int64{2, 2}, pattern(16)))
	write(t, dir, "arrays.npz", ZipFile(
		Member{Name: "a.npy", Data: NPYFile("<f8", []int64{3}, pattern(24))},
		Member{Name: "b.npy", Data: NPYFile("|u1", []int64{2, 3}, pattern(6))},
	))
}

// A Member is a file in a zip archive.
type Member struct {
	Name string
	Data []byte
}

// ZipFile returns a zip archive of members, stored without compression.
func ZipFile(members ...Member) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, m := range members {
		f, err := w.CreateHeader(&zip.FileHeader{Name: m.Name, Method: zip.Store})
		if err != nil {
			panic(err) // a name that zip cannot hold: a bug of a test
		}
		f.Write(m.Data) //nolint:errcheck // a bytes.Buffer takes everything
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
