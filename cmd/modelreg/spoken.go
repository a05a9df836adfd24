package main

import (
	"regexp"
	"strings"

	"github.com/modelreg/modelreg/pkg/ref"
)

// storedBranch finds tags that stand for branches with slashes, but for those in
// the path of a URL.
var storedBranch = regexp.MustCompile(`(^|[^/\w.-])(_b\.[\w.-]*\w)`)

// spoken gives branches in a text for people the names that people gave them: a
// registry stores feature/x as _b.feature__x.
func spoken(text string) string {
	return storedBranch.ReplaceAllStringFunc(text, func(found string) string {
		at := strings.Index(found, "_b.")
		return found[:at] + ref.DecodeBranch(found[at:])
	})
}
