//go:build !linux && !darwin

package mount

import (
	"context"
	"fmt"
	"runtime"
)

// Serve shows files on Linux and macOS. Here it is an error that wraps
// [ErrUnavailable].
func (m *FS) Serve(ctx context.Context, dir string, _ func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := CheckDir(dir); err != nil {
		return err
	}
	return fmt.Errorf("mount on %s: %w: %s is not supported", dir, ErrUnavailable, runtime.GOOS)
}
