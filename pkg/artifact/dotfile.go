package artifact

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// harmlessDots are names beginning with a dot that published models carry and
// that no program obeys in a directory that only came with a model: notes to git
// and to packers about files, and what model hubs and file managers leave behind.
var harmlessDots = []string{
	".gitattributes", ".gitignore", ".gitkeep", ".keep",
	".dockerignore", ".kitignore", ".editorconfig", ".nojekyll",
	".eval_results", ".ipynb_checkpoints",
	".mdl", ".msc", ".mv", // ModelScope
	".ds_store", ".localized", // as they are when folded
}

// powerfulDots are names that hold credentials, or that shells and other
// programs obey. They are refused like all other names with a dot, and the
// refusal says more.
var powerfulDots = []string{
	".ssh", ".gnupg", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".config",
	".env", ".envrc", ".netrc", ".npmrc", ".yarnrc", ".pypirc", ".pgpass", ".git-credentials", ".gitconfig",
	".dockercfg", ".dockerconfigjson", ".boto", ".s3cfg", ".htpasswd", ".htaccess",
	".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile",
	".zshrc", ".zshenv", ".zprofile", ".zlogin", ".cshrc", ".tcshrc", ".kshrc", ".xinitrc", ".xprofile", ".inputrc",
	".vimrc", ".exrc", ".emacs", ".gdbinit", ".lldbinit", ".pythonrc",
	".vscode", ".idea", ".hg", ".svn", ".bzr", ".github", ".gitlab-ci.yml", ".gitmodules", ".lfsconfig",
}

// CheckDots refuses a path that [Unpack] refuses unless it is told otherwise: one
// with a component that begins with a dot and is not known to be harmless. The
// error is a [*PathError] that wraps [ErrDotfile].
func CheckDots(p string) error {
	for c := range strings.SplitSeq(p, "/") {
		if !strings.HasPrefix(c, ".") {
			continue
		}
		folded := foldPath(c)
		switch {
		case slices.Contains(harmlessDots, folded) || slices.Contains(neverBut, folded) || strings.HasPrefix(c, "._"):
			// "._x" is what macOS keeps beside x.
		case slices.Contains(powerfulDots, folded) || strings.HasPrefix(folded, ".env."):
			return &PathError{Path: p, Reason: "name " + c + " of credentials, or that programs obey", err: ErrDotfile}
		default:
			return &PathError{Path: p, Reason: "dot file", err: ErrDotfile}
		}
	}
	return nil
}

// dotNote tells of packed files that a pull refuses unless it is told otherwise.
func dotNote(files []source) string {
	var names []string
	for _, f := range files {
		if CheckDots(f.path) == nil {
			continue
		}
		// A directory stands for all that is in it.
		name := f.path
		for d := path.Dir(name); d != "."; d = path.Dir(d) {
			if CheckDots(d) != nil {
				name = d + "/"
			}
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if n := listed("packed", names); n != "" {
		return fmt.Sprintf("%s: dot files, which a pull refuses unless it is told to take them", n)
	}
	return ""
}
