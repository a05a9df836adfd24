package scan

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/format/gguf"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/onnx"
	"github.com/modelreg/modelreg/pkg/format/safetensors"
)

// malformedAs reports an error of a reader that says what is wrong with the
// bytes, and returns any other.
func (s *session) malformedAs(in *input, rule string, err error) error {
	if e, ok := errors.AsType[*malformed.Error](err); ok {
		s.add(in, rule, e.Offset, "%s", e.Reason)
		return nil
	}
	return err
}

// reader is the input with the context of the scan, for readers that know none.
func (s *session) reader(in *input) io.ReaderAt { return contextReader{s, in.at} }

type contextReader struct {
	s  *session
	at io.ReaderAt
}

func (r contextReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.s.ctx.Err(); err != nil {
		return 0, err
	}
	return r.at.ReadAt(p, off)
}

// checkSafetensors reads the header of a safetensors file, which explains every
// byte of it or is malformed.
func checkSafetensors(s *session, in *input) error {
	if in.at == nil || in.ext() != ".safetensors" && !looksLikeSafetensors(in) {
		return nil
	}
	_, err := safetensors.Walk(s.reader(in), in.size, func(safetensors.Tensor) error { return nil })
	return s.malformedAs(in, "safetensors-malformed", err)
}

// looksLikeSafetensors tells a file with another name by its first bytes.
func looksLikeSafetensors(in *input) bool {
	if len(in.head) < 16 || in.head[8] != '{' || in.raw {
		return false
	}
	n := binary.LittleEndian.Uint64(in.head)
	return n <= safetensors.MaxHeader && int64(n) <= in.size-8 && bytes.Contains(in.head, []byte(`"data_offsets"`))
}

// checkGGUF reads the header of a GGUF file, and the templates in it.
func checkGGUF(s *session, in *input) error {
	if in.at == nil || in.ext() != ".gguf" && !bytes.HasPrefix(in.head, []byte("GGUF")) {
		return nil
	}
	end, known := int64(0), true
	h, err := gguf.Walk(s.reader(in), in.size, func(t gguf.Tensor) error {
		end = max(end, t.Offset+max(t.Bytes, 0))
		known = known && t.Bytes >= 0
		return nil
	})
	if err != nil {
		return s.malformedAs(in, "gguf-malformed", err)
	}
	// Writers pad the last tensor like any other.
	if left := in.size - h.DataOffset - end; known && left > h.Alignment {
		s.add(in, "gguf-malformed", h.DataOffset+end, "%d bytes after the last tensor", left)
	}
	for _, kv := range h.KV {
		if kv.Key != "tokenizer.chat_template" && !strings.HasPrefix(kv.Key, "tokenizer.chat_template.") {
			continue
		}
		if text, ok := kv.Value.(string); ok {
			s.template(in, kv.Key, kv.Offset, text)
		} else {
			s.add(in, ruleTemplateUnread, kv.Offset, "%.80s is no text, or one too large to be read", kv.Key)
		}
	}
	return nil
}

// pythonOps are the domains of operators that run Python code.
var pythonOps = []string{"ai.onnx.contrib", "aten", "org.pytorch.aten", "com.microsoft.python"}

// checkONNX walks through an ONNX file.
func checkONNX(s *session, in *input) error {
	if in.at == nil || in.ext() != ".onnx" {
		return nil
	}
	m, err := onnx.Read(s.reader(in), in.size)
	if e, ok := errors.AsType[*malformed.Error](err); ok && strings.HasPrefix(e.Reason, "external data lies outside") {
		return s.malformedAs(in, "onnx-external-data", err)
	}
	if err != nil {
		return s.malformedAs(in, "onnx-malformed", err)
	}
	for _, o := range m.Opsets {
		if slices.Contains(pythonOps, o.Domain) {
			s.add(in, "onnx-custom-op", 0, "needs operators of %s", o.Domain)
		}
	}
	return nil
}
