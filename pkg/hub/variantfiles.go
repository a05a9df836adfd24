package hub

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/variant"
)

// A PushedForm is one variant of a version that is to be pushed: files of a
// directory.
type PushedForm struct {
	// Name is what the variant is called; see [variant.CheckName]. Empty means
	// as its files say: "q4_k_m", "safetensors".
	Name string

	// Dir is the directory, and Only tells which of its files are the
	// variant's; nil takes all.
	Dir  string
	Only func(path string) bool
}

// FormAt is the variant that lies at name: a directory, or a file of weights.
// The other shards of such a file belong to it, and what stands beside it in the
// same directory and every variant needs: card, licences, configuration,
// tokenizer, chat template, and the projector of a GGUF file.
func FormAt(name string) (PushedForm, error) {
	info, err := os.Stat(name)
	if err != nil {
		return PushedForm{}, err
	}
	if info.IsDir() {
		return PushedForm{Dir: name}, nil
	}
	dir, base := filepath.Dir(name), filepath.Base(name)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return PushedForm{}, err
	}
	files := make([]mediatypes.File, len(entries))
	for i, e := range entries {
		files[i] = mediatypes.File{Path: e.Name()}
	}
	keep := map[string]bool{}
	for i, class := range mediatypes.Classify(files) {
		p := files[i].Path
		keep[p] = stemOf(p) == stemOf(base) || isShared(class) || strings.HasSuffix(base, ".gguf") && isProjector(p)
	}
	return PushedForm{Name: nameOfFile(base), Dir: dir, Only: func(p string) bool { return keep[p] || p == artifact.IgnoreFile }}, nil
}

// sharedRoles are those of files that go with every variant.
var sharedRoles = []string{"card", "license", "config", "tokenizer", "chat-template"}

func isShared(class mediatypes.Class) bool {
	return class.Kind != mediatypes.KindWeight && slices.Contains(sharedRoles, class.Role)
}

// FormsIn are the variants that lie side by side in a directory, as GGUF files
// of several quantisations do: one for each GGUF file, shards being one, and one
// for all weights of each other format. Files that are no weights belong to every
// one, and so does the projector of GGUF files to each of these.
func FormsIn(dir string) ([]PushedForm, error) {
	files, err := localFiles(dir)
	if err != nil {
		return nil, err
	}
	group := groupsOf(files)
	var forms []PushedForm
	for _, g := range sortedGroups(group) {
		form := PushedForm{Dir: dir, Only: func(p string) bool {
			mine, weight := group[p]
			return !weight || mine == g || mine == companions && strings.HasSuffix(g, ".gguf")
		}}
		if strings.HasSuffix(g, ".gguf") {
			form.Name = nameOfFile(path.Base(g))
		}
		forms = append(forms, form)
	}
	if len(forms) < 2 {
		return nil, fmt.Errorf("%w: push %s by file: there are no two variants in it: push it as it is", ErrUsage, dir)
	}
	return forms, nil
}

// companions is the group of GGUF files that are of no use by themselves.
const companions = "companions"

// groupsOf tells of each file of weights which of them make one variant.
func groupsOf(files []format.File) map[string]string {
	list := make([]mediatypes.File, len(files))
	for i, f := range files {
		list[i] = mediatypes.File{Path: f.Path, Size: f.Size}
	}
	group := map[string]string{}
	for i, class := range mediatypes.Classify(list) {
		p := list[i].Path
		switch {
		case isProjector(p):
			group[p] = companions
		case strings.HasSuffix(strings.ToLower(p), ".gguf"):
			group[p] = stemOf(p)
		case class.Kind == mediatypes.KindWeight || strings.HasSuffix(p, ".index.json"):
			group[p] = cmp.Or(class.Format, formatByName(p))
		}
	}
	return group
}

// formatByName is the format of an index of shards, such as
// model.safetensors.index.json.
func formatByName(p string) string {
	if strings.HasSuffix(p, ".safetensors.index.json") {
		return "safetensors"
	}
	return "pytorch"
}

func sortedGroups(group map[string]string) []string {
	var names []string
	for _, g := range group {
		if g != companions {
			names = append(names, g)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

var shardForm = regexp.MustCompile(`-\d{5}-of-\d{5}(\.[A-Za-z]+)$`)

// stemOf is the name of a file without the number of its shard.
func stemOf(p string) string { return shardForm.ReplaceAllString(p, "$1") }

// isProjector tells the GGUF files that llama.cpp loads beside others.
func isProjector(p string) bool {
	base := strings.ToLower(path.Base(p))
	return strings.HasSuffix(base, ".gguf") && (strings.Contains(base, "mmproj") || strings.Contains(base, "imatrix"))
}

// quantForm is how the names of GGUF files end: the words that llama.cpp and
// Ollama choose by.
var quantForm = regexp.MustCompile(`(?i)[-._]((?:UD-)?(?:I?Q\d|TQ\d|BF16|FP?16|FP?32|MXFP4|NVFP4)[A-Z0-9_]*)\.gguf$`)

// nameOfFile is what the name of a GGUF file says of its quantisation; empty if
// it says nothing.
func nameOfFile(base string) string {
	m := quantForm.FindStringSubmatch(stemOf(base))
	if m == nil || variant.CheckName(strings.ToLower(m[1])) != nil {
		return ""
	}
	return strings.ToLower(m[1])
}

// Without leaves out of a variant what lies at a path: of a directory, another
// variant in it.
func (f PushedForm) Without(name string) PushedForm {
	dir, err1 := filepath.Abs(f.Dir)
	at, err2 := filepath.Abs(name)
	if err1 != nil || err2 != nil {
		return f
	}
	rel, err := filepath.Rel(dir, at)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return f
	}
	out, only := stemOf(filepath.ToSlash(rel)), f.Only
	f.Only = func(p string) bool {
		return stemOf(p) != out && !strings.HasPrefix(p, out+"/") && (only == nil || only(p))
	}
	return f
}

// suggestVariants says that a version holds GGUF files of which people want one.
func suggestVariants(files []artifact.File) string {
	stems := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(strings.ToLower(f.Path), ".gguf") && !isProjector(f.Path) {
			stems[stemOf(f.Path)] = true
		}
	}
	if len(stems) < 2 {
		return ""
	}
	return fmt.Sprintf("%d GGUF files are one version, and a pull fetches them all; with --variants-by-file each is a variant that is pulled alone", len(stems))
}
