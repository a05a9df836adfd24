//go:build unix

package artifact_test

import "syscall"

func mkfifo(name string) error { return syscall.Mkfifo(name, 0o644) }
