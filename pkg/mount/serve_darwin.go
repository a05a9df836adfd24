package mount

import (
	"errors"
	"os"
	"syscall"
)

// directFlags are none: macFUSE mounts by a program of its own.
const directFlags = 0

const (
	helper = "/Library/Filesystems/macfuse.fs/Contents/Resources/mount_macfuse"

	mntForce = 0x80000 // MNT_FORCE of <sys/mount.h>
)

// available tells whether macFUSE is installed.
func available() error {
	if _, err := os.Stat(helper); err != nil {
		return errors.New("macFUSE is not installed")
	}
	return nil
}

func findHelper() (string, error) { return helper, nil }

// detach takes a mount that is in use from its directory.
func detach(dir string, _ bool) error { return syscall.Unmount(dir, mntForce) }
