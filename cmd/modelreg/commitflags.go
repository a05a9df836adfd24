package main

import (
	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/hub"
)

// commitFlags adds what is recorded of a version's history.
func commitFlags(cmd *cobra.Command, c *hub.Committing) {
	fl := cmd.Flags()
	fl.StringVarP(&c.Message, "message", "m", "", "the version's message is `TEXT`")
	fl.StringVar(&c.Author, "author", "", "the version's author is `NAME`, as in \"Ada <ada@example.com>\" (a claim: a signature proves who)")
	fl.StringVar(&c.Branch, "branch", "", "continue `BRANCH` and move it too (default: the tag of REF)")
	fl.StringArrayVar(&c.Parents, "parent", nil, "the version was made from `VERSION`, a digest, tag or revision (repeatable; default: where the branch is), or \"none\" to begin a new history")
	fl.StringVar(&c.IfParent, "if-parent", "", "only if the branch points to `DIGEST`, or \"none\" if it is to be new; else exit 4")
	fl.BoolVar(&c.Amend, "amend", false, "take the place of the branch's tip, with its parents, message and author")
}
