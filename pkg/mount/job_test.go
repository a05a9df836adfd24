//go:build !linux

package mount_test

func runJob(string, string) int { return 1 }
