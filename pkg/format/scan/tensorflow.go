package scan

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
	if !whole {
		s.add(in, "limit-size", 0, "is a graph too large to be searched")
	}
	return nil
}
