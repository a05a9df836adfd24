package hub

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/provenance"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

// ImportOptions adjusts [Hub.Import]. The zero value takes all files from the
// public hubs, without a token.
type ImportOptions struct {
	PushOptions

	// Source says how other hubs are reached and which files are taken. Its
	// Transport and Warn are the hub's own.
	Source source.Options

	// Scan, if not nil, looks at the files in place of [scan.Scan], such as in a
	// process with limits of its own: they are strangers'.
	Scan ScanRunner

	// Resolved, if not nil, is told what will be imported, once that is known.
	Resolved func(Origin)
}

// An Origin is a model elsewhere, at the commit that it was resolved to.
type Origin struct {
	Name    string // what was asked for, with the commit
	Hub     string // "hf", "ms" or "oci"; "" if not known
	ID      string // on that hub
	Commit  string // or the digest of a manifest
	License string // identifier; "" if not known
	Files   int
	Size    int64 // bytes

	// Claimed is how many files the hub named the SHA-256 of beforehand.
	Claimed int
}

// ImportResult says what [Hub.Import] did.
type ImportResult struct {
	PushResult

	Source string `json:"source"` // such as "hf://org/model@<commit>"
	Commit string `json:"commit"`

	Origin Origin `json:"-"`
}

// Import makes a model that is elsewhere the version that the tag of r points
// to. name is hf://org/model@revision, ms://org/model@revision, the path of a
// model in a Hugging Face cache, or an artifact of any family in a registry:
// oci://, docker:// or ollama://.
//
// The version is the one that [Hub.Push] would make of the same files, and its
// annotations say where they came from. Bytes go from the source straight into
// the registry; what the registry has, or has in a neighbouring repository, does
// not move; files that have a chunk index which this machine has not made yet are
// read once all the same. Import can be stopped at any time: a further one goes on with what
// has arrived.
//
// With opts.DryRun, Reference, Digest and Revision of the result are empty if
// chunk indexes are missing: they are part of the manifest.
func (h *Hub) Import(ctx context.Context, name string, r ref.Reference, opts ImportOptions) (_ *ImportResult, err error) {
	if isFixed(r) {
		return nil, fmt.Errorf("%w: import to %s: import to a tag; the digest comes from the files", ErrUsage, r)
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	tags, err := h.pushInto(ctx, repo, &r, opts.PushOptions)
	if err != nil {
		return nil, err
	}
	repo = repo.Origin() // it is written to
	if h.opts.Store != nil {
		repo.SetMemory(uploads{h.opts.Store})
	}
	from, err := h.openImport(ctx, name, r, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, from.close()) }()
	if opts.Resolved != nil {
		opts.Resolved(from.origin)
	}
	if err := h.madeOf(ctx, importedFiles(from.inputs), &opts.PushOptions); err != nil {
		return nil, err
	}
	made, err := h.making(ctx, provenance.TypeImport, r, opts.PushOptions)
	if err != nil {
		return nil, err
	}
	made.imported(from.origin)
	if opts.commit, err = h.beginCommit(repo, r.WithTag(tags[0]), opts.PushOptions); err != nil {
		return nil, err
	}
	if opts.gate = h.newGate("import", from.origin.Name, opts.PushOptions); opts.gate != nil {
		opts.gate.run = opts.Scan
	}
	packed, err := h.packImport(ctx, from, r, repo, opts.PushOptions)
	if err != nil {
		return nil, fmt.Errorf("import %s: %w", from.origin.Name, opts.commit.cause(err))
	}
	res := &ImportResult{PushResult: *pushResult(packed, r, opts.gate), Source: from.origin.Name, Commit: from.origin.Commit, Origin: from.origin}
	if opts.DryRun {
		return res.planned(packed), nil
	}
	h.remember(r, packed)
	how := releasing{tags: tags, signer: opts.Signer, made: made, commit: opts.commit}
	if err = h.release(ctx, pushed(repo, r, packed), how, &res.PushResult); err == nil {
		h.announcePushed(ctx, &res.PushResult, opts.PushOptions)
	}
	return res, err
}

// planned leaves out what a run that sends nothing cannot know.
func (res *ImportResult) planned(packed *artifact.Packed) *ImportResult {
	if packed.Unindexed > 0 {
		res.Reference, res.Digest, res.Revision = "", "", ""
	}
	return res
}

// An importing is an opened model elsewhere.
type importing struct {
	origin      Origin
	inputs      []artifact.Input
	annotations map[string]string
	mountFrom   string // a repository of the target's registry; "" if none
	close       func() error
}

func (h *Hub) openImport(ctx context.Context, name string, r ref.Reference, opts ImportOptions) (*importing, error) {
	at, ok, err := registrySource(name)
	if err != nil {
		return nil, err
	}
	if ok {
		return h.openForeign(ctx, name, at, r)
	}
	so := opts.Source
	so.Transport, so.Warn = h.opts.Remote.Transport(), func(m string) { h.warn("%s", m) }
	m, err := source.Open(ctx, name, so)
	if err != nil {
		return nil, err
	}
	from := &importing{
		origin: Origin{Name: m.Name, Hub: m.Hub, ID: m.ID, Commit: m.Commit, License: m.License, Files: len(m.Files)},
		annotations: map[string]string{
			ocispec.AnnotationSource: m.Page, ocispec.AnnotationRevision: m.Commit,
			mediatypes.AnnotationOrigin: m.Hub + ":" + m.ID + "@" + m.Commit,
		},
		close: m.Close,
	}
	if m.Hub == "" { // it is not known where it came from
		from.annotations = nil
	}
	for _, f := range m.Files {
		from.inputs = append(from.inputs, artifact.Input{Path: f.Path, Size: f.Size, Digest: f.Digest, Open: f.Open})
		from.origin.Size += f.Size
		if f.Claimed {
			from.origin.Claimed++
		}
	}
	return from, nil
}

// openForeign opens an artifact in a registry.
func (h *Hub) openForeign(ctx context.Context, name string, at, r ref.Reference) (*importing, error) {
	t, err := h.named(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	a, err := artifact.Open(ctx, t.repo, t.desc)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	// Nobody can check a part of a file, so no mirror is asked for one.
	inputs, err := a.Inputs(t.repo.Origin())
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	scheme, _, _ := strings.Cut(name, "://")
	d := t.desc.Digest.String()
	from := &importing{
		origin:      Origin{Name: scheme + "://" + at.Name() + "@" + d, Hub: "oci", ID: at.Name(), Commit: d, Files: len(inputs), Claimed: len(inputs)},
		annotations: map[string]string{ocispec.AnnotationRevision: d, mediatypes.AnnotationOrigin: "oci:" + at.Name() + "@" + d},
		close:       func() error { return nil },
	}
	if at.Host == r.Host && at.Repository != r.Repository {
		from.mountFrom = at.Repository
	}
	for _, in := range inputs {
		in.Open = source.Steady(in.Size, in.Open)
		from.inputs = append(from.inputs, in)
		from.origin.Size += in.Size
	}
	return from, nil
}

// The registries of names without a host.
const (
	ollamaHost = "registry.ollama.ai"
	dockerHost = "docker.io"
)

// registrySource tells whether name is that of an artifact in a registry, and
// which.
func registrySource(name string) (r ref.Reference, ok bool, err error) {
	scheme, rest, _ := strings.Cut(name, "://")
	host := ""
	switch scheme {
	case "oci":
	case "docker":
		host = dockerHost
	case "ollama":
		host = ollamaHost
	default:
		return r, false, nil
	}
	names := ref.Names{Default: host}
	if scheme == "ollama" && !strings.Contains(strings.SplitN(rest, "@", 2)[0], "/") {
		names.Default += "/library"
	}
	r, err = names.Parse(rest)
	return r, true, err
}

func (h *Hub) packImport(ctx context.Context, from *importing, r ref.Reference, repo *remote.Repository, opts PushOptions) (*artifact.Packed, error) {
	annotations := maps.Clone(from.annotations)
	maps.DeleteFunc(annotations, func(_, v string) bool { return v == "" })
	maps.Copy(annotations, opts.Annotations)
	po := artifact.PackOptions{
		Workers: opts.Workers, Layout: opts.Layout, Annotations: annotations, Created: opts.Created,
		IncludeSecrets: opts.IncludeSecrets, Observe: h.opts.Observe,
		MountFrom: func(d digest.Digest) []string {
			known := h.origins(r, d, opts.MountFrom)
			if from.mountFrom == "" {
				return known
			}
			return append([]string{from.mountFrom}, known...)
		},
		Uploads: opts.Uploads, Check: opts.commit.check(ctx, h.preflight(r.Host, opts)), Examine: opts.gate.hook(),
		Commit: opts.commit.hook,
	}
	// Chunk indexes are those that this machine has made. What others say of a
	// file, in the version that the tag points to or elsewhere, is not taken over.
	if indexes := h.chunkIndexes(); indexes != nil {
		po.Indexes = indexes
	}
	if opts.DryRun {
		return artifact.PackFiles(ctx, from.inputs, artifact.Discard, po)
	}
	return artifact.PackFiles(ctx, from.inputs, repo, po)
}
