package scan

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// maxHydra is how long a configuration may be.
const maxHydra = 16 << 20

var (
	hydraWord  = []byte("_target_")
	hydraValue = regexp.MustCompile(`^_target_["']?\s*:\s*["']?([A-Za-z_][\w.]*)["']?\s*([,}\]\r\n#]|$)`)

	// joined is what YAML leaves out of a text in quotes that goes over lines.
	joined = regexp.MustCompile(`\\(?:\r\n|[\n\r\x{85}\x{2028}\x{2029}])[ \t]*`)

	// hydraHidden is a key in quotes with escapes, which may be any word.
	hydraHidden = regexp.MustCompile(`"[^"\n]*\\[xuU0-7][^"\n]*"\s*:`)
)

// checkHydra looks for the names of classes and functions that NeMo, Hydra and
// others import and call by a configuration.
func checkHydra(s *session, in *input) error {
	ext := in.ext()
	if in.raw || in.kind == kindEmpty || !slices.Contains([]string{".yaml", ".yml", ".json"}, ext) {
		return nil
	}
	if in.kind != kindText && ext != ".json" {
		s.add(in, "format-mismatch", 0, "is a configuration by its name, but no plain text (%s)", in.kind)
	}
	b, err := in.bytes(maxHydra)
	if err != nil {
		return err
	}
	if b == nil && ext == ".json" {
		return s.hydraLong(in)
	} else if b == nil {
		s.add(in, "limit-size", 0, "is longer than %d bytes", maxHydra)
	}
	if b = plainText(b); bytes.IndexByte(b, '\\') >= 0 {
		b = joined.ReplaceAll(b, nil)
	}
	for off := 0; ; {
		i := bytes.Index(b[off:], hydraWord)
		if i < 0 {
			break
		}
		off += i
		s.hydraTarget(in, b, off)
		off += len(hydraWord)
	}
	if ext == ".json" || bytes.IndexByte(b, '\\') < 0 {
		return nil // no such key, or one that does not count: the search takes longer than all else
	}
	if at := hydraHidden.FindIndex(b); at != nil {
		s.add(in, "hydra-target", int64(at[0]), "has a key in escapes, which may name what is called")
	}
	return nil
}

// hydraLong looks for targets in JSON that is too long to be held. What reads it
// as YAML needs no quotes.
func (s *session) hydraLong(in *input) error {
	found := make(map[string]int64)
	if in.at != nil && (!s.opts.Sparse || in.size <= max(maxSearched, s.opts.Fetch)) {
		if err := s.grepRange(in, []string{string(hydraWord)}, found, [2]int64{0, in.size}); err != nil {
			return err
		}
	}
	if off, ok := found[string(hydraWord)]; ok {
		s.add(in, "hydra-target", off, "names by _target_ what cannot be told")
	}
	return s.longJSON(in, string(hydraWord))
}

// hydraTarget looks at one target.
func (s *session) hydraTarget(in *input, b []byte, off int) {
	m := hydraValue.FindSubmatch(b[off:])
	if m == nil {
		s.add(in, "hydra-target", int64(off), "names by _target_ what cannot be told")
		return
	}
	name := string(m[1])
	module, last := "", name
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		module, last = name[:i], name[i+1:]
	}
	rule := "hydra-target"
	if harmful(module, last) {
		rule = "hydra-dangerous"
	}
	s.add(in, rule, int64(off), "calls %.200s", name)
}
