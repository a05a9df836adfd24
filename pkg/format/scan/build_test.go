package scan_test

import (
	"bytes"
	"compress/flate"
	"hash/crc32"

	"github.com/modelreg/modelreg/internal/testmodel"
)

func crc(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

func deflated(data []byte) []byte {
	var b bytes.Buffer
	w, _ := flate.NewWriter(&b, flate.BestSpeed)
	w.Write(data) //nolint:errcheck // a bytes.Buffer takes everything
	w.Close()     //nolint:errcheck // as above
	return b.Bytes()
}

func member(name string, data []byte) testmodel.Member {
	return testmodel.Member{Name: name, Data: data}
}
