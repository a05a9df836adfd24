package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

const (
	maxConfigFiles = 64      // that are read for code that they name
	maxConfigBytes = 1 << 20 // of each of them
)

// modelFacts is what a policy may go by: the manifest, whose digest was signed,
// and files that it names, read whole and compared with their digests. What
// cannot be read counts as what a policy does not want. Of a version that is
// taken for what it is made of, raw, the layers count by their titles too: they
// are what its files are going to be called.
func modelFacts(ctx context.Context, t *target, raw bool) (policy.ModelFacts, error) {
	views, err := views(ctx, t, raw)
	if err != nil {
		return policy.ModelFacts{}, err
	}
	f := policy.ModelFacts{Version: views[0].Manifest.Annotations[ocispec.AnnotationVersion]}
	for _, a := range views {
		f.Size = max(f.Size, filesSize(a))
		formatFacts(a, &f)
		if err := codeFacts(ctx, t, a, &f); err != nil {
			return f, err
		}
		if err := saidFacts(ctx, t, a, &f); err != nil {
			return f, err
		}
	}
	return f, nil
}

// views opens a version as what its files can be taken for.
func views(ctx context.Context, t *target, raw bool) ([]*artifact.Artifact, error) {
	var out []*artifact.Artifact
	a, err := artifact.OpenWith(ctx, t.place(), t.desc, artifact.OpenOptions{AllowCollisions: true})
	switch {
	case errors.Is(err, artifact.ErrNotModel):
		raw = true
	case err != nil:
		return nil, err
	default:
		out = append(out, a)
	}
	if raw {
		if a, err = artifact.OpenRaw(ctx, t.place(), t.desc); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// filesSize is that of all files, in bytes.
func filesSize(a *artifact.Artifact) int64 {
	var size int64
	for _, file := range a.Files {
		size = sum(size, max(file.Size, 0))
	}
	for _, l := range a.Manifest.Layers {
		if l.Size < 0 {
			return math.MaxInt64
		}
	}
	return size
}

// formatFacts adds the formats of all files by their names, and those that the
// manifest says were found in them.
func formatFacts(a *artifact.Artifact, facts *policy.ModelFacts) {
	files := make([]mediatypes.File, len(a.Files))
	for i, f := range a.Files {
		files[i] = mediatypes.File{Path: f.Path, Size: f.Size}
	}
	add := func(name, path string) {
		if name != "" && !slices.ContainsFunc(facts.Formats, func(f policy.Format) bool { return f.Name == name }) {
			facts.Formats = append(facts.Formats, policy.Format{Name: name, Path: path})
		}
	}
	for i, class := range mediatypes.Classify(files) {
		switch f := a.Files[i]; {
		case f.Archive:
			add("archive", f.Path) // nobody knows what is in it before it is fetched
		case class.Format != "":
			add(class.Format, f.Path)
		case f.Kind == mediatypes.KindWeight:
			add("unknown", f.Path)
		}
	}
	for _, name := range split(a.Manifest.Annotations[mediatypes.AnnotationFormats]) {
		add(name, "")
	}
}

// codeFacts adds what of the version could run when it is loaded: Python files,
// and configurations that name code.
func codeFacts(ctx context.Context, t *target, a *artifact.Artifact, facts *policy.ModelFacts) error {
	add := func(found string) {
		if !slices.Contains(facts.CustomCode, found) {
			facts.CustomCode = append(facts.CustomCode, found)
		}
	}
	if a.Manifest.Annotations[mediatypes.AnnotationCode] == "true" {
		add("the manifest says so")
	}
	read := 0
	for _, f := range a.Files {
		base := strings.ToLower(path.Base(f.Path))
		switch {
		case f.Archive:
			add(f.Path + " (an archive whose files are not listed)")
		case slices.Contains([]string{".py", ".pyc", ".pyd", ".so", ".dll", ".dylib"}, path.Ext(base)):
			add(f.Path)
		case strings.HasSuffix(base, "config.json"):
			if read++; read > maxConfigFiles || f.Size > maxConfigBytes {
				add(f.Path + " (not looked into)")
				continue
			}
			raw, err := readWhole(ctx, t, a, f.Path)
			if err != nil {
				return err
			}
			if namesCode(raw) {
				add(f.Path + " (auto_map)")
			}
		}
	}
	return nil
}

// namesCode tells whether a configuration has the key auto_map, at any depth, or
// cannot be read.
func namesCode(raw []byte) bool {
	dec := jsontext.NewDecoder(strings.NewReader(string(raw)), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		token, err := dec.ReadToken()
		if errors.Is(err, io.EOF) {
			return false
		}
		if err != nil {
			return true
		}
		kind, n := dec.StackIndex(dec.StackDepth())
		if kind == '{' && n%2 == 1 && token.Kind() == '"' && token.String() == "auto_map" {
			return true
		}
	}
}

// saidFacts adds what the manifest, the config and the card say: licences and
// base models.
func saidFacts(ctx context.Context, t *target, a *artifact.Artifact, f *policy.ModelFacts) error {
	an := a.Manifest.Annotations
	licences := split(an[ocispec.AnnotationLicenses])
	bases := append(split(an[mediatypes.AnnotationBaseModel]), split(an[ocispec.AnnotationBaseImageName])...)
	inputs, err := lineage.ParseInputs(an[mediatypes.AnnotationInputs])
	if err != nil {
		bases = append(bases, "(inputs that cannot be read)")
	}
	for _, e := range inputs {
		if e.Relation.OfModels() {
			bases = append(bases, strings.TrimPrefix(e.Reference, "hf:"))
		}
	}
	var config struct {
		Descriptor struct {
			Licenses []string `json:"licenses"`
		} `json:"descriptor"`
	}
	if a.Family == mediatypes.ModelPack && json.Unmarshal(a.Config, &config) == nil {
		licences = append(licences, config.Descriptor.Licenses...)
	}
	for _, file := range a.Files {
		if file.Path != "README.md" || file.Archive {
			continue
		}
		meta, err := readCard(ctx, t, a, file)
		if err != nil {
			return err
		}
		licences, bases = append(licences, cardLicences(meta)...), append(bases, meta.BaseModels...)
	}
	for _, l := range licences {
		if l = strings.ToLower(l); !slices.Contains(f.Licenses, l) {
			f.Licenses = append(f.Licenses, l)
		}
	}
	for _, b := range bases {
		if !slices.Contains(f.BaseModels, b) {
			f.BaseModels = append(f.BaseModels, b)
		}
	}
	return nil
}

// cardLicences is what a card calls its licences: "other" stands for the name
// beside it, as in a manifest.
func cardLicences(meta card.Metadata) []string {
	out := slices.Clone(meta.Licenses)
	for i, l := range out {
		if l == "other" && meta.LicenseName != "" {
			out[i] = "LicenseRef-" + meta.LicenseName
		}
	}
	return out
}

// readCard reads what the card says. One that cannot be read says something that
// no policy allows.
func readCard(ctx context.Context, t *target, a *artifact.Artifact, f artifact.File) (card.Metadata, error) {
	const unreadable = "(a card that cannot be read)"
	unknown := card.Metadata{Licenses: []string{unreadable}, BaseModels: []string{unreadable}}
	if f.Size > card.MaxBytes {
		return unknown, nil
	}
	raw, err := readWhole(ctx, t, a, f.Path)
	if err != nil {
		return unknown, err
	}
	c, err := card.Parse(raw)
	if err != nil || c.Problem != nil {
		return unknown, nil
	}
	return c.Meta, nil
}

// readWhole reads a small file to its end, where its digest is compared.
func readWhole(ctx context.Context, t *target, a *artifact.Artifact, name string) ([]byte, error) {
	rc, _, err := a.OpenFile(ctx, t.place(), name)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer rc.Close()
	raw, err := io.ReadAll(io.LimitReader(rc, maxConfigBytes+1))
	if err == nil && len(raw) > maxConfigBytes {
		err = fmt.Errorf("more than %d bytes: %w", maxConfigBytes, artifact.ErrUnsafe)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return raw, nil
}

// split reads a list in an annotation.
func split(list string) []string {
	var out []string
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}
