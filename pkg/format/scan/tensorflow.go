package scan

import "regexp"

// tensorflowOps are operations of TensorFlow's graphs that use files of the
// machine or call Python.
var tensorflowOps = []string{
	"ReadFile", "WriteFile", "PyFunc", "PyFuncStateless", "EagerPyFunc", "ImmutableConst", "MatchingFiles",
	"CreateSummaryFileWriter", "CreateSummaryDbWriter", "file://",
}

// checkTensorFlow looks for operations in the graphs of SavedModels and frozen
// models, by the words that name them.
func checkTensorFlow(s *session, in *input) error {
	if ext := in.ext(); in.raw || ext != ".pb" && ext != ".pbtxt" && ext != ".meta" {
		return nil
	}
	found, whole, err := s.grep(in, append(kerasWords[1:], tensorflowOps...))
	if err != nil {
		return err
	}
	for _, op := range tensorflowOps {
		if off, ok := found[op]; ok {
			s.add(in, "tensorflow-op", off, "has the operation %s", op)
		}
	}
	for _, word := range kerasWords[1:] {
		if off, ok := found[word]; ok {
			s.add(in, "keras-lambda", off, "has %s in its configuration", word)
		}
	}
	if in.ext() == ".pbtxt" {
		if err := s.graphText(in); err != nil {
			return err
		}
	}
	if !whole {
		s.add(in, "limit-size", 0, "is a graph too large to be searched")
	}
	return nil
}

// maxGraphText is how long a graph in the text format may be. Those that are
// written so have no weights in them.
const maxGraphText = 64 << 20

var (
	// graphOp finds the operations of a graph in the text format.
	graphOp = regexp.MustCompile(`\bop(?:\s|#[^\n]*\n)*:`)

	// plainOp is one whose name is one text without escapes.
	plainOp = regexp.MustCompile(`^op\s*:\s*(?:"[\w.>]+"|'[\w.>]+')\s*(?:[^"'#\s]|$)`)
)

// graphText reports operations that cannot be told from a graph in the text
// format: names may have escapes, or be put together of several texts.
func (s *session) graphText(in *input) error {
	b, err := in.bytes(maxGraphText)
	if err != nil {
		return err
	}
	if b == nil {
		s.add(in, "limit-size", 0, "is longer than %d bytes", maxGraphText)
		return nil
	}
	for _, m := range graphOp.FindAllIndex(b, -1) {
		if !plainOp.Match(b[m[0]:]) {
			s.add(in, "tensorflow-unread", int64(m[0]), "has an operation whose name cannot be told")
			return nil
		}
	}
	return nil
}
