package catalog

// NextLink is nextLink.
func NextLink(values []string) string { return nextLink(values) }
