//go:build !linux && !darwin

package store

import (
	"fmt"
	"os"
)

// Clone reports [ErrNoClone] on this system.
func Clone(dst, src *os.File) error {
	return fmt.Errorf("clone %s: %w", src.Name(), ErrNoClone)
}

func cloneNew(_ *os.Root, _ string, src *os.File) (*os.File, error) {
	return nil, fmt.Errorf("clone %s: %w", src.Name(), ErrNoClone)
}
