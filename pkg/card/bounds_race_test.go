//go:build race

package card_test

// boundsSize is small because the race detector makes goldmark ten times
// slower; nothing here is concurrent.
const boundsSize = 16 << 10
