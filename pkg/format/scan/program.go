package scan

import (
	"slices"
	"strings"
)

// checkExecutable reports programs.
func checkExecutable(s *session, in *input) error {
	switch {
	case in.raw: // numbers may begin with any bytes, and nobody starts them
	case in.kind == kindELF || in.kind == kindPE || in.kind == kindMachO:
		s.add(in, "executable", 0, "is a program (%s)", in.kind)
	case in.kind == kindScript:
		line, _, _ := strings.Cut(string(in.head), "\n")
		s.add(in, "script", 0, "is a script (%.80s)", line)
	}
	return nil
}

// checkClosed reports what could hold anything and is not opened.
func checkClosed(s *session, in *input) error {
	switch in.kind {
	case kind7z, kindRar, kindOther:
		if !in.raw {
			s.add(in, ruleClosed, 0, "is packed in a way that is not opened (%s)", in.kind)
		}
	}
	return nil
}

// checkMismatch reports what is not of the format that its name says, so that
// loaders that go by names, and others, see different files.
func checkMismatch(s *session, in *input) error {
	switch {
	case in.raw || in.claimed == "" || in.kind == in.claimed || in.kind == kindEmpty:
	case slices.Contains(carriers[in.claimed], in.kind):
	case in.isPickle(): // and is followed as one
	case in.at != nil && (in.claimed == kindSafetensors || in.claimed == kindGGUF): // has a check of its own
	default:
		s.add(in, "format-mismatch", 0, "is not what its name says (%s) but %s", in.claimed, in.kind)
	}
	return nil
}
