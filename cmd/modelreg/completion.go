package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
)

// completionBudget is how long somebody who pressed Tab waits for a registry.
const completionBudget = 300 * time.Millisecond

// A completer proposes what an argument that begins with typed could be.
type completer func(cmd *cobra.Command, typed string) ([]cobra.Completion, cobra.ShellCompDirective)

// positions completes arguments by their position, and proposes nothing after
// the last.
func positions(list ...completer) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(list) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return list[len(args)](cmd, typed)
	}
}

// directories leaves the completion of directories to the shell.
func directories(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

// words proposes words that are known beforehand.
func words(list ...string) completer {
	return func(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return list, cobra.ShellCompDirectiveNoFileComp
	}
}

// references proposes the tags of a repository whose name is complete. Whatever
// goes wrong, it proposes nothing and says nothing: the user is in the middle of
// a line.
func (a *app) references(cmd *cobra.Command, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	const directive = cobra.ShellCompDirectiveNoFileComp
	colon := strings.LastIndexByte(typed, ':')
	if colon < 0 {
		return nil, directive
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionBudget)
	defer cancel()
	var found []cobra.Completion
	for _, tag := range a.tags(ctx, typed[:colon]) {
		if ref := typed[:colon+1] + tag; strings.HasPrefix(ref, typed) {
			found = append(found, ref)
		}
	}
	return found, directive
}

// tags lists the tags of a repository, as far as they are known in time.
func (a *app) tags(ctx context.Context, repository string) []string {
	var err error
	if a.config, err = a.loadConfig(); err != nil {
		return nil
	}
	r, err := a.parse(repository)
	if err != nil || r.Tag != "" || r.Digest != "" || r.Prefix != "" {
		return nil
	}
	client, err := a.client()
	if err != nil {
		return nil
	}
	found, _ := hub.New(hub.Options{Remote: client}).Tags(ctx, r) // as many as came
	return found
}

// noFiles keeps the shell from proposing files for commands that take none.
func noFiles(cmd *cobra.Command) {
	if cmd.ValidArgsFunction == nil && !cmd.HasSubCommands() {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, sub := range cmd.Commands() {
		noFiles(sub)
	}
}

// A choice is a flag that takes one of a few words.
type choice struct {
	value *string
	words []string
}

// choose adds a flag that takes one of words, the first unless the user says
// otherwise. It completes them, too.
func choose(cmd *cobra.Command, flag choiceFlag, words ...string) {
	*flag.value = words[0]
	set := cmd.Flags()
	if flag.persistent {
		set = cmd.PersistentFlags()
	}
	set.Var(choice{flag.value, words}, flag.name, flag.usage)
	complete := cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc(flag.name, complete); err != nil {
		panic(err) // only for a flag that is not there
	}
}

// A choiceFlag is what [choose] adds.
type choiceFlag struct {
	value       *string
	name, usage string
	persistent  bool // for subcommands too
}

// String returns the word that was chosen.
func (c choice) String() string {
	if c.value == nil {
		return ""
	}
	return *c.value
}

// Set takes one of the words.
func (c choice) Set(s string) error {
	if !slices.Contains(c.words, s) {
		return usagef("use %s", orList(c.words))
	}
	*c.value = s
	return nil
}

// Type makes the help show the default in quotes.
func (c choice) Type() string { return "string" }

// orList writes "a, b or c".
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
