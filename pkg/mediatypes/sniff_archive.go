package mediatypes

import (
	"bytes"
	"encoding/binary"
	"path"
	"strings"
)

// sniffZip looks at the names of the first members. Local headers may leave
// out the sizes, so what follows the first is searched for, not walked to.
func sniffZip(e entry) (Class, bool) {
	if !bytes.HasPrefix(e.Head, []byte("PK\x03\x04")) || zippedDocument(e.ext) {
		return Class{}, false
	}
	if e.ext == ".skops" {
		return Class{Kind: KindWeight, Format: "skops"}, true
	}
	for _, name := range zipNames(e.Head) {
		base := path.Base(name)
		switch {
		case base == "data.pkl" || base == "constants.pkl" || base == ".format_version" || base == ".storage_alignment":
			return Class{Kind: KindWeight, Format: "pytorch"}, true
		case strings.HasSuffix(base, ".npy"):
			return Class{Kind: KindWeight, Format: "numpy"}, true
		case name == "model.weights.h5" || name == "metadata.json" && e.ext == ".keras":
			return Class{Kind: KindWeight, Format: "keras"}, true
		}
	}
	return Class{}, false
}

// zippedDocument tells whether files of this extension are zip archives by
// their own right.
func zippedDocument(ext string) bool {
	c, ok := extensions[ext]
	return ok && c.Kind != KindWeight
}

// zipNames returns the names of members whose local headers are in head
// (APPNOTE.TXT, 4.3.7).
func zipNames(head []byte) []string {
	const (
		fixed      = 30
		lengthAt   = 26
		maxMembers = 16
	)
	var names []string
	for len(names) < maxMembers {
		i := bytes.Index(head, []byte("PK\x03\x04"))
		if i < 0 || len(head) < i+fixed {
			break
		}
		head = head[i:]
		n := int(binary.LittleEndian.Uint16(head[lengthAt:]))
		if n > len(head)-fixed {
			break
		}
		names = append(names, string(head[fixed:fixed+n]))
		head = head[fixed+n:]
	}
	return names
}

// torchMagic is what torch.save began with before it wrote zip archives: the
// number 0x1950a86a20f9469cfc6c.
const torchMagic = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"

// sniffPickle knows pickles of protocol 2 and up by their first operations.
// Those of protocol 0 and 1 are known by name alone.
func sniffPickle(e entry) (Class, bool) {
	h := e.Head
	if len(h) < 4 || h[0] != 0x80 || !plausiblePickle(h, e.Size) {
		return Class{}, false
	}
	c := Class{Kind: KindWeight, Format: "pickle"}
	switch {
	case bytes.HasPrefix(h[2:], []byte(torchMagic)), bytes.Contains(h, []byte("torch._utils")):
		c.Format = "pytorch"
	case bytes.Contains(h, []byte("sklearn.")):
		c.Format = "sklearn"
	}
	return c, true
}

func plausiblePickle(h []byte, size int64) bool {
	switch rest := h[2:]; h[1] {
	case 2, 3:
		if size <= int64(len(h)) && h[len(h)-1] == '.' {
			return true // all of it is here, and it ends as it must
		}
		return strings.HasPrefix(string(rest), torchMagic) ||
			strings.HasPrefix(string(rest), "}q\x00") ||
			strings.HasPrefix(string(rest), "]q\x00") ||
			rest[0] == 'c' && isGlobal(rest[1:])
	case 4, 5:
		// A frame, unless nothing was worth one.
		if rest[0] == 0x95 && len(rest) >= 9 {
			n := binary.LittleEndian.Uint64(rest[1:])
			return n <= uint64(max(0, size))
		}
		return size <= int64(len(h)) && h[len(h)-1] == '.'
	}
	return false
}

// isGlobal tells whether b begins with a module and a name, one a line.
func isGlobal(b []byte) bool {
	const maxName = 256
	b = b[:min(len(b), maxName)]
	module, rest, ok := bytes.Cut(b, []byte("\n"))
	if !ok || len(module) == 0 {
		return false
	}
	name, _, ok := bytes.Cut(rest, []byte("\n"))
	return ok && len(name) > 0 && isText(module) && isText(name)
}
