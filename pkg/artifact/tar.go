package artifact

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const tarBlock = 512

// newTar lays out files, sorted by path, as an uncompressed tar archive: USTAR
// headers, PAX ones where a name needs them, with the same times, owners and
// modes for everybody. It also returns where the bytes of each file begin.
func newTar(root *os.Root, files []*source) (*stream, []int64, error) {
	s := &stream{root: root}
	offsets := make([]int64, len(files))
	sizes := make(map[string]int, len(files))
	for i, f := range files {
		sizes[f.path] = i
	}
	for _, dir := range directories(files) {
		header, err := tarHeader(dir+"/", tar.TypeDir, 0)
		if err != nil {
			return nil, nil, err
		}
		s.add(segment{data: header, size: int64(len(header))})
	}
	for i, f := range files {
		size := f.info.Size()
		header, err := tarHeader(f.path, tar.TypeReg, size)
		if err != nil {
			return nil, nil, err
		}
		s.add(segment{data: header, size: int64(len(header))})
		offsets[i] = s.size
		s.add(segment{file: f, size: size})
		if pad := -size & (tarBlock - 1); pad > 0 {
			s.add(segment{data: make([]byte, pad), size: pad})
		}
	}
	s.add(segment{data: make([]byte, 2*tarBlock), size: 2 * tarBlock})
	return s, offsets, nil
}

// directories returns those that files are in, parents first.
func directories(files []*source) []string {
	dirs := make(map[string]bool)
	for _, f := range files {
		for d := path.Dir(f.path); d != "." && !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
	}
	return slices.Sorted(maps.Keys(dirs))
}

func tarHeader(name string, typeflag byte, size int64) ([]byte, error) {
	mode := int64(0o644)
	if typeflag == tar.TypeDir {
		mode = 0o755
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := w.WriteHeader(&tar.Header{
		Typeflag: typeflag, Name: name, Size: size, Mode: mode, ModTime: time.Unix(0, 0).UTC(),
	})
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", printable(name), err)
	}
	return buf.Bytes(), nil
}

// When more than manyFiles are packed, those that are no weights and not
// larger than smallFile share layers: one blob per file is 6 to 20 times
// slower than one per directory.
const (
	manyFiles = 500
	smallFile = 1 << 20

	// manyRootFiles of small files at the root of a model share layers too,
	// but for those that people and tools look for there.
	manyRootFiles = 200

	// maxLayers is how many layers the strictest reader takes.
	maxLayers = 4096
)

// A layer is a layer being packed.
type layer struct {
	kind     mediatypes.Kind
	encoding mediatypes.Encoding
	path     string // annotation for the file path, and what layers are sorted by
	title    string
	files    []*source
	offsets  []int64 // of files, in an archive
	body     *stream

	desc    ocispec.Descriptor // once hashed
	digests []digest.Digest    // of files
	diffID  digest.Digest      // of what a compressed layer holds
	index   []byte             // of the chunks of a large raw layer of weights
}

// planLayers says which files share a layer.
func planLayers(root *os.Root, files []source, layout Layout) ([]*layer, error) {
	packed := func(*source) bool { return false }
	if layout == LayoutAuto && len(files) > manyFiles {
		packed = sharesLayer(files)
	}
	var layers []*layer
	groups := make(map[string]*layer)
	for i := range files {
		f := &files[i]
		if f.input.archived() {
			layers = append(layers, f.archive())
			continue
		}
		if !packed(f) {
			body := &stream{root: root}
			body.add(segment{file: f, size: f.info.Size()})
			layers = append(layers, &layer{
				kind: f.class.Kind, encoding: mediatypes.Raw, path: f.path, title: f.path, files: []*source{f}, body: body,
			})
			continue
		}
		dir := "."
		if first, _, ok := strings.Cut(f.path, "/"); ok {
			dir = first
		}
		key := string(f.class.Kind) + " " + dir
		if groups[key] == nil {
			groups[key] = &layer{kind: f.class.Kind, encoding: mediatypes.Tar, path: dir, title: archiveTitle(f.class.Kind, dir)}
			layers = append(layers, groups[key])
		}
		groups[key].files = append(groups[key].files, f)
	}
	for _, g := range groups {
		var err error
		if g.body, g.offsets, err = newTar(root, g.files); err != nil {
			return nil, err
		}
	}
	return layers, nil
}

// archiveTitle is what tools that know only titles call an archive: a name
// that no file of a model can have.
func archiveTitle(k mediatypes.Kind, dir string) string {
	if dir == "." {
		dir = "root"
	} else {
		dir = "dir-" + dir
	}
	return fmt.Sprintf("%s/%s.%s.tar", controlPrefix, dir, k)
}

// sharesLayer returns the rule of [LayoutAuto] for many files.
func sharesLayer(files []source) func(*source) bool {
	small := func(f *source) bool {
		return !f.input.archived() && f.class.Kind != mediatypes.KindWeight && f.info.Size() <= smallFile
	}
	inRoot, left := 0, 0
	for i := range files {
		switch f := &files[i]; {
		case !small(f):
			left++
		case !strings.Contains(f.path, "/"):
			inRoot++
		}
	}
	if left > maxLayers/2 {
		// Larger files share too when they are too many for a manifest.
		small = func(f *source) bool { return !f.input.archived() && f.class.Kind != mediatypes.KindWeight }
	}
	return func(f *source) bool {
		if strings.Contains(f.path, "/") {
			return small(f)
		}
		return small(f) && inRoot > manyRootFiles && !isWellKnown(f.path)
	}
}

// isWellKnown tells whether tools look for this file at the root of a model.
func isWellKnown(name string) bool {
	upper := strings.ToUpper(name)
	for _, prefix := range []string{"README", "LICENSE", "LICENCE", "NOTICE"} {
		if strings.HasPrefix(upper, prefix) {
			return true
		}
	}
	switch name {
	case "config.json", "generation_config.json", "adapter_config.json", "model_index.json", "modules.json",
		"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "preprocessor_config.json",
		"processor_config.json", "chat_template.jinja", "params.json":
		return true
	}
	return strings.HasSuffix(name, ".safetensors.index.json")
}

// mode is what the files of our artifacts have, whatever they had.
const mode fs.FileMode = 0o644
