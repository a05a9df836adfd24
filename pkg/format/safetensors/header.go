package safetensors

import (
	"errors"
	"hash/maphash"
	"io"
	"strconv"
	"strings"
	"unique"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/modelreg/modelreg/pkg/format/internal/window"
	"github.com/modelreg/modelreg/pkg/format/malformed"
)

// A parser takes the header's JSON apart token by token, so that memory holds
// one token and not the header.
type parser struct {
	w        *window.Reader
	dec      *jsontext.Decoder
	length   int64 // of the header's JSON
	data     int64 // offset of the data
	visit    func(Tensor) error
	metadata map[string]string
	spans    []span
	seed     maphash.Seed
	names    []uint64 // hashes
}

func newParser(w *window.Reader, length int64, visit func(Tensor) error) *parser {
	p := &parser{w: w, length: length, data: 8 + length, visit: visit, seed: maphash.MakeSeed()}
	// No more can be in the header; growing would take twice that in the end.
	n := min(length/minEntry, MaxTensors)
	p.names, p.spans = make([]uint64, 0, n), make([]span, 0, n)
	// Duplicates are looked for by the parser: the decoder would hold all
	// names to do so.
	p.dec = jsontext.NewDecoder(&tokenReader{p: p}, jsontext.AllowDuplicateNames(true))
	return p
}

// A tokenReader gives the decoder the bytes of the header, but only so many
// past the last whole token: the decoder buffers a token until it ends.
type tokenReader struct {
	p    *parser
	read int64
}

func (r *tokenReader) Read(b []byte) (int, error) {
	left := r.p.length - r.read
	if left <= 0 {
		return 0, io.EOF
	}
	room := r.p.dec.InputOffset() + maxToken - r.read
	if room <= 0 {
		return 0, malformedAt(8+r.p.dec.InputOffset(), "a piece of the header is over %d bytes", maxToken)
	}
	n, err := r.p.w.Read(b[:min(int64(len(b)), left, room)])
	r.read += int64(n)
	return n, err
}

// header reads the whole object.
func (p *parser) header() error {
	if err := p.expect('{', "the header is no JSON object"); err != nil {
		return err
	}
	if p.dec.InputOffset() != 1 {
		return malformedAt(8, "the header does not begin with {")
	}
	for {
		tok, err := p.token()
		if err != nil {
			return err
		}
		if tok.Kind() == '}' {
			return nil
		}
		name := tok.String()
		if name == "__metadata__" {
			err = p.readMetadata()
		} else {
			err = p.tensor(name)
		}
		if err != nil {
			return err
		}
	}
}

func (p *parser) readMetadata() error {
	if p.metadata != nil {
		return p.malformed("two __metadata__")
	}
	if p.dec.PeekKind() == 'n' {
		_, err := p.token()
		return err
	}
	if err := p.expect('{', "__metadata__ is no object"); err != nil {
		return err
	}
	p.metadata = make(map[string]string)
	total := 0
	for {
		tok, err := p.token()
		if err != nil {
			return err
		}
		if tok.Kind() == '}' {
			return nil
		}
		key := tok.String()
		if tok, err = p.token(); err != nil {
			return err
		}
		if tok.Kind() != '"' {
			return p.malformed("a value of __metadata__ is no string")
		}
		if _, ok := p.metadata[key]; ok {
			return p.malformed("__metadata__ has %.40q twice", key)
		}
		p.metadata[key] = tok.String()
		// 64 is about what an entry of the map takes beside its strings.
		if total += len(key) + len(p.metadata[key]) + 64; total > maxMetadata {
			return p.malformed("__metadata__ is over %d bytes", maxMetadata)
		}
	}
}

func (p *parser) tensor(name string) error {
	if len(p.spans) == MaxTensors {
		return p.malformed("more than %d tensors", MaxTensors)
	}
	e, err := p.entry()
	if err != nil {
		return err
	}
	if reason := e.check(); reason != "" {
		return p.malformed("tensor %.80q: %s", name, reason)
	}
	p.spans = append(p.spans, span{e.begin, e.end})
	p.names = append(p.names, p.hash(name))
	return p.visit(Tensor{
		Name: name, DType: e.dtype, Shape: e.shape,
		Offset: p.data + e.begin, Bytes: e.end - e.begin,
	})
}

// entry reads the object of one tensor. Members that the format does not know
// are ignored, as the reference implementation does.
func (p *parser) entry() (*entry, error) {
	if err := p.expect('{', "a tensor is no object"); err != nil {
		return nil, err
	}
	e, seen := new(entry), 0
	for {
		tok, err := p.token()
		if err != nil {
			return nil, err
		}
		if tok.Kind() == '}' {
			break
		}
		key := tok.String()
		member, err := p.member(e, key)
		if err != nil {
			return nil, err
		}
		if seen&member != 0 {
			return nil, p.malformed("a tensor has %.40q twice", key)
		}
		seen |= member
	}
	if seen != hasDType|hasShape|hasOffsets {
		return nil, p.malformed("a tensor lacks dtype, shape or data_offsets")
	}
	return e, nil
}

// The members that a tensor must have, once each.
const (
	hasDType = 1 << iota
	hasShape
	hasOffsets
)

// member reads one member of a tensor and tells which it was, or 0 for one that
// the format does not know.
func (p *parser) member(e *entry, key string) (int, error) {
	switch key {
	case "dtype":
		tok, err := p.token()
		if err == nil && tok.Kind() != '"' {
			err = p.malformed("dtype is no string")
		}
		if err != nil {
			return 0, err
		}
		e.dtype = unique.Make(tok.String()).Value() // a million tensors share a few strings
		return hasDType, nil
	case "shape":
		var err error
		e.shape, err = p.numbers(maxDims)
		return hasShape, err
	case "data_offsets":
		offsets, err := p.numbers(2)
		if err == nil && len(offsets) != 2 {
			err = p.malformed("data_offsets are not two")
		}
		if err != nil {
			return 0, err
		}
		e.begin, e.end = offsets[0], offsets[1]
		return hasOffsets, nil
	}
	return 0, p.wrap(p.dec.SkipValue())
}

// numbers reads an array of at most limit whole numbers.
func (p *parser) numbers(limit int) ([]int64, error) {
	if err := p.expect('[', "shape and data_offsets are arrays"); err != nil {
		return nil, err
	}
	values := []int64{}
	for {
		tok, err := p.token()
		if err != nil {
			return nil, err
		}
		if tok.Kind() == ']' {
			return values, nil
		}
		text := tok.String()
		// strconv alone would take "-0".
		v, err := strconv.ParseInt(text, 10, 64)
		if tok.Kind() != '0' || err != nil || strings.HasPrefix(text, "-") {
			return nil, p.malformed("%.40q is no size", text)
		}
		if len(values) == limit {
			return nil, p.malformed("more than %d numbers in an array", limit)
		}
		values = append(values, v)
	}
}

func (p *parser) expect(kind jsontext.Kind, reason string) error {
	tok, err := p.token()
	if err == nil && tok.Kind() != kind {
		err = p.malformed("%s", reason)
	}
	return err
}

func (p *parser) token() (jsontext.Token, error) {
	tok, err := p.dec.ReadToken()
	return tok, p.wrap(err)
}

// wrap turns an error of the decoder into a [FormatError], unless it is one of
// reading.
func (p *parser) wrap(err error) error {
	if err == nil {
		return nil
	}
	if fe, ok := errors.AsType[*malformed.Error](err); ok {
		return fe
	}
	if se, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return malformedAt(8+se.ByteOffset, "the header is no JSON: %v", se.Err)
	}
	if err == io.EOF { //nolint:errorlint // a wrapped one comes from reading, and is no fault of the header
		return p.malformed("the header ends too early")
	}
	return err
}

func (p *parser) malformed(reason string, args ...any) error {
	return malformedAt(8+p.dec.InputOffset(), reason, args...)
}
