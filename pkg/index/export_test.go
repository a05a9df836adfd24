package index

// Canonical lets a fuzz test write what it read.
func Canonical(r *Record) ([]byte, error) { return canonical(r) }

// Spill makes a writer write terms to a file whenever it has gathered n.
func (ix *Index) Spill(n int) { ix.bulk = n }
