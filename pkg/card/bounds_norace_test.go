//go:build !race

package card_test

// boundsSize is the size of the inputs that a renderer without bounds takes
// minutes for.
const boundsSize = 256 << 10
