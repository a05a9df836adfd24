package catalog

// NextLink is nextLink.
func NextLink(values []string) string { return nextLink(values) }

// Emit has names handed on to yield, as many as feed emits, but no more than limit.
func Emit(limit int, yield func(string, error) bool, feed func(emit func(...string) error) error) error {
	l := &listing{host: "r.example", yield: yield, seen: make(map[key]struct{}), limit: limit}
	return feed(l.emit)
}
