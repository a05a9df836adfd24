package index

// Canonical lets a fuzz test write what it read.
func Canonical(r *Record) ([]byte, error) { return canonical(r) }
