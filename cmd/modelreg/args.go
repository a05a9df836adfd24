package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// usageError is a command line that cannot be used.
type usageError struct {
	error
	hint string // what to look at, if the error does not say it all
}

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{error: fmt.Errorf(format, args...)} }

// An unknownCommandError is a word that is no command.
type unknownCommandError struct {
	parent *cobra.Command
	word   string
}

func (e *unknownCommandError) Error() string {
	return fmt.Sprintf("unknown command %q for %q", e.word, e.parent.CommandPath())
}

// hint names the commands that are spelled like the word.
func (e *unknownCommandError) hint() string {
	e.parent.SuggestionsMinimumDistance = 2
	alike := e.parent.SuggestionsFor(e.word)
	for i, name := range alike {
		alike[i] = fmt.Sprintf("%q", e.parent.CommandPath()+" "+name)
	}
	if len(alike) == 0 {
		return fmt.Sprintf("see %q", e.parent.CommandPath()+" --help")
	}
	slices.Sort(alike)
	return "did you mean " + orList(slices.Compact(alike)) + "?"
}

// subcommand is the argument check of commands that only hold others.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &unknownCommandError{parent: cmd, word: args[0]}
}

// flagError says what is wrong with the flags. Those of a mistyped command are
// unknown for that reason.
func flagError(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() {
		if unknown := subcommand(cmd, cmd.Flags().Args()); unknown != nil {
			return unknown
		}
	}
	return usageError{err, seeHelp(cmd)}
}

// checkHelp makes "help" refuse what is no command, in place of showing
// something else.
func checkHelp(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Args = func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err != nil {
					return err
				}
				if len(rest) > 0 && found.HasSubCommands() {
					return subcommand(found, rest)
				}
				return nil
			}
		}
	}
}

// wantsJSON tells whether the command line asks for JSON, also when it is too
// wrong for its flags to have been read.
func wantsJSON(args []string) bool {
	for i, arg := range args {
		switch {
		case arg == "--":
			return false
		case arg == "--format=json", arg == "--format" && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}

func seeHelp(cmd *cobra.Command) string { return fmt.Sprintf("see %q", cmd.CommandPath()+" --help") }

// exactArgs and rangeArgs check the number of arguments and name what is
// missing.
func exactArgs(n int) cobra.PositionalArgs { return rangeArgs(n, n) }

func rangeArgs(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (most < 0 || len(args) <= most) {
			return nil
		}
		err := fmt.Errorf("%s takes %s, not %d: %s", cmd.Name(), arguments(least, most), len(args), cmd.UseLine())
		return usageError{err, seeHelp(cmd)}
	}
}

func arguments(least, most int) string {
	plural := "s"
	if most == 1 || (most < 0 && least == 1) {
		plural = ""
	}
	switch {
	case most < 0:
		return fmt.Sprintf("at least %d argument%s", least, plural)
	case least == most:
		return fmt.Sprintf("%d argument%s", least, plural)
	}
	return fmt.Sprintf("%d to %d argument%s", least, most, plural)
}

// pairs reads repeated KEY=VALUE flags.
func pairs(flag string, list []string) (map[string]string, error) {
	m := map[string]string{}
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usagef("--%s %s: use KEY=VALUE", flag, kv)
		}
		m[k] = v
	}
	return m, nil
}

// isUsage tells whether err is about the command line itself.
func isUsage(err error) bool {
	_, usage := errors.AsType[usageError](err)
	_, unknown := errors.AsType[*unknownCommandError](err)
	return usage || unknown
}
