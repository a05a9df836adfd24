package artifact

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/content"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A kitfile is the config of a ModelKit: the Kitfile as JSON, with the digests
// of the layers that hold its entries.
type kitfile struct {
	Model *struct {
		kitEntry

		Parts []kitEntry `json:"parts"`
	} `json:"model"`
	Code     []kitEntry `json:"code"`
	Datasets []kitEntry `json:"datasets"`
	Docs     []kitEntry `json:"docs"`
	Prompts  []kitEntry `json:"prompts"`
	Servers  []kitEntry `json:"mcpServers"`
}

type kitEntry struct {
	Path   string        `json:"path"`
	Digest digest.Digest `json:"digest"`
	DiffID digest.Digest `json:"diffId"`
}

// entries are in the order in which kit writes layers.
func (k *kitfile) entries() []kitEntry {
	var all []kitEntry
	if k.Model != nil {
		all = append(append(all, k.Model.kitEntry), k.Model.Parts...)
	}
	for _, group := range [][]kitEntry{k.Code, k.Datasets, k.Docs, k.Prompts, k.Servers} {
		all = append(all, group...)
	}
	return all
}

// listModelKit lists a KitOps ModelKit. Its tar layers have no names of their
// own: the Kitfile has them. Layers of newer kits that are plain files are
// annotated as in ModelPack.
func listModelKit(a *Artifact, config []byte) ([]File, error) {
	var kit kitfile
	if config != nil {
		if err := json.Unmarshal(config, &kit); err != nil {
			return nil, fmt.Errorf("%w: config: %w", ErrUnsafe, err)
		}
	}
	entries := kit.entries()
	files := make([]File, 0, len(a.Manifest.Layers))
	for i, desc := range a.Manifest.Layers {
		f, err := layerFile(a.Family, i, desc)
		if err != nil {
			return nil, err
		}
		if !f.Archive {
			if f, err = annotatedFile(a.Family, i, desc); err != nil {
				return nil, err
			}
			files = append(files, f)
			continue
		}
		e, err := a.kitEntry(entries, i)
		if err != nil {
			return nil, err
		}
		f.Path = archivePath(e.Path)
		files = append(files, f)
	}
	if kit.Model != nil && !hasLayer(entries[:1], files) && strings.ContainsAny(kit.Model.Path, ":@") {
		a.Parent = kit.Model.Path
	}
	return files, nil
}

// kitEntry finds the entry of layer i: by digest, or, in kits from before there
// were digests in the config, by its place.
func (a *Artifact) kitEntry(entries []kitEntry, i int) (kitEntry, error) {
	desc := a.Manifest.Layers[i]
	l, _ := mediatypes.LayerOf(a.Family, desc)
	for _, e := range entries {
		if e.Digest != desc.Digest {
			continue
		}
		switch {
		case e.DiffID == "" || e.DiffID == desc.Digest:
		case l.Encoding == mediatypes.Tar:
			return kitEntry{}, fmt.Errorf("config: diff id of %+q: %w", e.Path, content.ErrMismatchedDigest)
		default:
			if err := checkDigest(e.DiffID); err != nil {
				return kitEntry{}, fmt.Errorf("config: %w", err)
			}
			a.expect(desc.Digest, e.DiffID)
		}
		return e, nil
	}
	if len(entries) == len(a.Manifest.Layers) && entries[i].Digest == "" {
		return entries[i], nil
	}
	return kitEntry{}, nil
}

func hasLayer(entries []kitEntry, files []File) bool {
	for _, f := range files {
		for _, e := range entries {
			if f.Digest == e.Digest || f.Path == archivePath(e.Path) {
				return true
			}
		}
	}
	return false
}
