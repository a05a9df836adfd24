//go:build race

package signing_test

const raced = true
