package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// A waitValue is a flag of a time above zero, such as 90s or 1h.
type waitValue time.Duration

// String implements pflag.Value.
func (v *waitValue) String() string {
	if *v == 0 {
		return ""
	}
	return time.Duration(*v).String()
}

// Type implements pflag.Value.
func (v *waitValue) Type() string { return "duration" }

// Set implements pflag.Value.
func (v *waitValue) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return errors.New("want a time such as 90s, 30m or 2h")
	}
	*v = waitValue(d)
	return nil
}

// addWaitFlag gives a command that moves blobs the flag that bounds waits.
func (a *app) addWaitFlag(cmd *cobra.Command) {
	cmd.Flags().Var(&a.maxWait, "max-wait", "wait at most `TIME`, such as 30m, for a registry that is busy or broken, until another 16 MiB of a blob have moved (default 5m)")
}
