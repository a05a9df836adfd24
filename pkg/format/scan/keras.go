package scan

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxTree is how long a JSON text may be that is held as values.
const maxTree = 4 << 20

// checkKeras looks at what Keras keeps of a model: config.json in its archives,
// the same text in a file of its own, and HDF5 files.
func checkKeras(s *session, in *input) error {
	switch {
	case in.raw:
		return nil
	case in.kind == kindHDF5:
		return s.kerasHDF5(in)
	}
	member := in.within != nil && in.within.kind == kindZip && (in.base() == "config.json" || in.base() == "metadata.json")
	if !member && (in.kind != kindText || in.ext() != ".json") {
		return nil
	}
	b, err := in.bytes(maxTree)
	switch {
	case err != nil:
		return err
	case b == nil && member:
		s.add(in, "limit-size", 0, "is longer than %d bytes", maxTree)
		return nil
	case b == nil:
		return s.longJSON(in, "class_name", "config")
	case !member && !bytes.Contains(plainText(b), []byte("class_name")):
		return nil
	}
	b = finite(b)
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		if member || isKeras(b) {
			s.add(in, "model-malformed", 0, "%v", err)
		}
		return nil
	}
	s.walk(in, tree, (*session).kerasObject)
	return nil
}

// kerasMembers are the members of all objects that Keras makes.
var kerasMembers = []*regexp.Regexp{regexp.MustCompile(`"class_name"\s*:\s*"`), regexp.MustCompile(`"config"\s*:`)}

// isKeras tells whether Keras may make a model of a text that is no strict
// JSON. It takes one in which a name comes twice, but not several documents.
func isKeras(b []byte) bool {
	dec := jsontext.NewDecoder(bytes.NewReader(b), jsontext.AllowDuplicateNames(true))
	if _, err := dec.ReadValue(); err == nil && len(bytes.TrimSpace(b[dec.InputOffset():])) > 0 {
		return false
	}
	plain := plainText(b)
	return !slices.ContainsFunc(kerasMembers, func(r *regexp.Regexp) bool { return !r.Match(plain) })
}

// escapes are those of letters that nobody has to escape.
var escapes = regexp.MustCompile(`\\(U000000|u00|x)([2-7][0-9a-fA-F])`)

// plainText returns a text without such escapes, for searching.
func plainText(b []byte) []byte {
	if !bytes.Contains(b, []byte(`\u00`)) && !bytes.Contains(b, []byte(`\x`)) && !bytes.Contains(b, []byte(`\U`)) {
		return b
	}
	return escapes.ReplaceAllFunc(b, func(m []byte) []byte {
		c, _ := strconv.ParseUint(string(m[len(m)-2:]), 16, 8)
		return []byte{byte(c)}
	})
}

// walk calls visit for each object of a JSON tree.
func (s *session) walk(in *input, tree any, visit func(*session, *input, map[string]any)) {
	switch v := tree.(type) {
	case map[string]any:
		visit(s, in, v)
		for _, item := range v {
			s.walk(in, item, visit)
		}
	case []any:
		for _, item := range v {
			s.walk(in, item, visit)
		}
	}
}

// kerasLoaders are layers that load other files, or code, when they are made.
var kerasLoaders = []string{"TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"}

// kerasModules are the modules that models name. Functions of other modules of
// Keras fetch and write files.
var kerasModules = regexp.MustCompile(`^(keras|tf_keras|tensorflow\.keras|tensorflow\.python\.keras)(\.src|\.engine)?` +
	`(\.(layers|models|initializers|regularizers|constraints|optimizers|losses|metrics|activations|dtype_policies|mixed_precision|quantizers|engine)(\.[a-z0-9_]+)*)?$`)

// kerasClass is a class by its name, none of which reaches through others.
var kerasClass = regexp.MustCompile(`^(_{0,2}[A-Za-z][A-Za-z0-9_]*|__[a-z]+__)$`)

// kerasObject looks at one object of a configuration.
func (s *session) kerasObject(in *input, o map[string]any) {
	class, ok := o["class_name"].(string)
	if !ok {
		return
	}
	module, hasModule := o["module"].(string)
	registered, _ := o["registered_name"].(string)
	config, _ := o["config"].(map[string]any)
	last := class[strings.LastIndex(class, ">")+1:]
	if vocabulary, isPath := config["vocabulary"].(string); isPath {
		s.add(in, "keras-file", 0, "reads %.80q when it is loaded", vocabulary)
	}
	switch {
	case last == "Lambda" || class == "__lambda__" || strings.HasSuffix(registered, "Lambda"):
		s.add(in, "keras-lambda", 0, "has code in a layer (%.80s)", class)
	case slices.Contains(kerasLoaders, last):
		s.add(in, "keras-module", 0, "has a layer that loads other models (%s)", last)
	case class == "function":
		s.kerasFunction(in, module, o["config"])
	case hasModule && !kerasModules.MatchString(module) && (module != "builtins" || harmful(module, class)):
		s.add(in, "keras-module", 0, "names %.80s.%.80s", module, class)
	case !kerasClass.MatchString(last) || strings.Contains(class, ">") || strings.Contains(registered, ">"):
		s.add(in, "keras-custom", 0, "needs the class %.80q of somebody else", class)
	}
}

// kerasFunction looks at a function that a configuration names.
func (s *session) kerasFunction(in *input, module string, config any) {
	name, _ := config.(string)
	if module == "builtins" && name != "" && harmful("", name) || module != "" && module != "builtins" {
		s.add(in, "keras-module", 0, "names the function %.80s of %.80s", name, module)
		return
	}
	s.add(in, "keras-custom", 0, "needs the function %.80q of somebody else", name)
}

// kerasWords are what an HDF5 file with a model in it has, or one with code.
var kerasWords = []string{"model_config", `"Lambda"`, "__lambda__", "TorchModuleWrapper", "TFSMLayer"}

// kerasHDF5 looks for a model's configuration in an HDF5 file, of which the
// structure is not read.
func (s *session) kerasHDF5(in *input) error {
	found, whole, err := s.grep(in, kerasWords)
	if err != nil {
		return err
	}
	for _, word := range kerasWords[1:] {
		if off, ok := found[word]; ok {
			s.add(in, "keras-lambda", off, "has %s in its configuration", strings.Trim(word, `"`))
			return nil
		}
	}
	if off, ok := found["model_config"]; ok || !whole {
		s.add(in, "keras-unread", off, "has or may have a configuration that cannot be read whole")
	}
	return nil
}

// maxGrep is how much of a file a sparse scan searches for words, at its start
// and at its end.
const maxGrep = 8 << 20

// grep returns where words occur in an input for the first time, and whether
// all of it was searched.
func (s *session) grep(in *input, words []string) (map[string]int64, bool, error) {
	found := make(map[string]int64)
	if in.at == nil {
		return found, false, nil
	}
	if !s.opts.Sparse || in.size <= max(2*maxGrep, s.opts.Fetch) {
		return found, true, s.grepRange(in, words, found, [2]int64{0, in.size})
	}
	err := s.grepRange(in, words, found, [2]int64{0, maxGrep})
	return found, false, errors.Join(err, s.grepRange(in, words, found, [2]int64{in.size - maxGrep, in.size}))
}

// grepRange searches the bytes between two offsets.
func (s *session) grepRange(in *input, words []string, found map[string]int64, span [2]int64) error {
	const overlap = 64 // more than the longest word
	r := &source{r: io.NewSectionReader(in.at, span[0], span[1]-span[0]), s: s}
	b := make([]byte, overlap+1<<20)
	have, off := 0, span[0]
	for {
		n, err := io.ReadFull(r, b[have:])
		for _, word := range words {
			if i := bytes.Index(b[:have+n], []byte(word)); i >= 0 {
				if _, ok := found[word]; !ok {
					found[word] = off + int64(i)
				}
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return r.err
		} else if err != nil {
			return err
		}
		off += int64(have + n - overlap)
		have = copy(b, b[have+n-overlap:have+n])
	}
}
