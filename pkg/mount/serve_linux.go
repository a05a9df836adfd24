package mount

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// directFlags are those of a mount that this process makes by itself.
const directFlags = syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC

const device = "/dev/fuse"

// available tells whether the kernel has FUSE, and shows it to this process.
func available() error {
	_, err := os.Stat(device)
	return err
}

// findHelper finds the program that mounts for those who may not.
func findHelper() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount", "/bin/fusermount3", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("fusermount3 is not installed")
}

// detach takes a mount that is in use from its directory.
func detach(dir string, direct bool) error {
	if direct {
		return syscall.Unmount(dir, syscall.MNT_DETACH|syscall.MNT_FORCE)
	}
	helper, err := findHelper()
	if err != nil {
		return err
	}
	if out, err := exec.Command(helper, "-u", "-z", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", helper, err, strings.TrimSpace(string(out)))
	}
	return nil
}
