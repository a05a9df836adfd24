package hub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// MediaTypePolicy is the type of an artifact that is a policy, and of its one
// layer, which is the file.
const MediaTypePolicy = "application/vnd.modelreg.policy.v1+yaml"

// AnnotationPolicyName is an annotation of a policy's manifest, and so signed with
// it: the repository and tag, HOST/NAME:TAG, that it was published for.
const AnnotationPolicyName = "dev.modelreg.policy.name"

// policyTitle is what a policy is called by clients that make files of layers.
const policyTitle = "policy.yaml"

// A PolicyPush says what [Hub.PushPolicy] did.
type PolicyPush struct {
	Reference  string `json:"reference"`
	Digest     string `json:"digest"` // of the artifact
	Tag        string `json:"tag"`
	Policy     string `json:"policy"`     // NAME@sha256:…, of the file
	Created    bool   `json:"created"`    // false when the tag led there before
	Signatures int    `json:"signatures"` // made now
}

// PushPolicy writes a policy to a tag, and has it signed before the tag leads to
// it, unless s is nil. The artifact says which tag it is for: the same file
// behind another tag is another artifact. It also says when it was made, by the
// clock of this machine, so that going back to an older one is noticed by who has
// not seen that one but a newer one. A file that the tag leads to already stays
// the artifact that it is.
func (h *Hub) PushPolicy(ctx context.Context, raw []byte, r ref.Reference, s *signing.Signer) (*PolicyPush, error) {
	p, err := policy.Parse(raw)
	if err != nil {
		return nil, err
	}
	if isFixed(r) {
		return nil, fmt.Errorf("%w: push to %s: push to a tag; the digest comes from the file", ErrUsage, r)
	}
	tags, err := pushTags(&r, PushOptions{})
	if err != nil {
		return nil, err
	}
	repo, err := h.repository(r)
	if err != nil {
		return nil, err
	}
	desc, manifest, err := pushPolicyBlobs(ctx, repo, raw, r)
	if err == nil {
		err = repo.PushManifest(ctx, desc, manifest)
	}
	if err != nil {
		return nil, fmt.Errorf("push policy to %s: %w", r, err)
	}
	t := &target{repo: repo, ref: r.WithDigest(desc.Digest), desc: desc, raw: manifest, signed: desc}
	pushed := &PushResult{}
	if err := h.release(ctx, t, releasing{tags: tags, signer: s}, pushed); err != nil {
		return nil, fmt.Errorf("push policy to %s: %w", r, err)
	}
	return &PolicyPush{
		Reference: t.ref.String(), Digest: desc.Digest.String(), Tag: r.Tag, Policy: p.String(),
		Created: pushed.Created, Signatures: pushed.Signatures,
	}, nil
}

// pushPolicyBlobs writes the file and returns the manifest that is to hold it, and
// that the tag of r is to lead to.
func pushPolicyBlobs(ctx context.Context, repo *remote.Repository, raw []byte, r ref.Reference) (ocispec.Descriptor, []byte, error) {
	layer := content.NewDescriptorFromBytes(MediaTypePolicy, raw)
	blobs := map[*ocispec.Descriptor][]byte{&layer: raw, &ocispec.DescriptorEmptyJSON: ocispec.DescriptorEmptyJSON.Data}
	for desc, data := range blobs {
		d := *desc
		d.Data = nil
		if err := repo.Push(ctx, d, bytes.NewReader(data)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
			return layer, nil, err
		}
	}
	made, err := policyDate(ctx, repo, r.Tag, layer.Digest)
	if err != nil {
		return layer, nil, err
	}
	layer.Annotations = map[string]string{mediatypes.AnnotationTitle: policyTitle}
	manifest, err := json.Marshal(ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: MediaTypePolicy,
		Config: ocispec.DescriptorEmptyJSON, Layers: []ocispec.Descriptor{layer},
		Annotations: map[string]string{AnnotationPolicyName: policyFor(r), ocispec.AnnotationCreated: made.Format(time.RFC3339Nano)},
	}, json.Deterministic(true))
	return content.NewDescriptorFromBytes(ocispec.MediaTypeImageManifest, manifest), manifest, err
}

// policyFor is what a policy behind the tag of r says that it is for.
func policyFor(r ref.Reference) string { return r.Name() + ":" + r.Tag }

// policyDate is when a policy was made: now, unless its tag leads to that file
// already. A date that has yet to come is not taken from there: nothing could
// follow it.
func policyDate(ctx context.Context, repo *remote.Repository, tag string, file digest.Digest) (time.Time, error) {
	now := time.Now().UTC()
	_, manifest, err := repo.Manifest(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return now, nil
	}
	if err != nil {
		return now, fmt.Errorf("look at tag %s: %w", tag, err)
	}
	there, err := policyLayer(manifest)
	if made := created(manifest); err == nil && there.Digest == file && !made.IsZero() && made.Before(now) {
		return made, nil
	}
	return now, nil
}

// PolicyOptions adjusts [Hub.FetchPolicy].
type PolicyOptions struct {
	// Trust must have signed the policy. It may be nil only for a reference
	// with a digest, which says which policy it is.
	Trust *signing.Trust

	// AllowDowngrade accepts a tag that went back to an older policy.
	AllowDowngrade bool
}

// FetchPolicy reads the policy that r resolves to. No other policy is asked
// about it. One that a tag leads to must have been published for that tag, and
// signed for that repository: whoever can move the tag could else put another
// policy by the same key there. With a digest it is kept in the local store, and read from there
// without a network the next time.
func (h *Hub) FetchPolicy(ctx context.Context, r ref.Reference, opts PolicyOptions) (*policy.Policy, error) {
	if err := opts.check(r); err != nil {
		return nil, err
	}
	if raw, ok := h.storedPolicy(ctx, r); ok {
		return policy.Parse(raw)
	}
	t, err := h.find(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("fetch policy: %w", err)
	}
	f, err := h.readPolicy(ctx, r, t, opts)
	if err == nil && opts.Trust == nil {
		h.storePolicy(ctx, t, f.layer, f.raw)
	}
	return f.policy, err
}

// check refuses references that do not say which policy is meant.
func (o PolicyOptions) check(r ref.Reference) error {
	if o.Trust == nil && r.Digest == "" {
		return fmt.Errorf("%w: policy %s: a tag can be moved: name the digest, or the key that has signed it", ErrUsage, r)
	}
	if r.Prefix != "" {
		return fmt.Errorf("%w: policy %s: the beginning of a digest can be that of another policy: give all of it", ErrUsage, r)
	}
	return nil
}

// A policyFile is a policy as it was read.
type policyFile struct {
	policy *policy.Policy
	layer  ocispec.Descriptor
	raw    []byte
}

// readPolicy verifies t, and reads the policy that it is.
func (h *Hub) readPolicy(ctx context.Context, r ref.Reference, t *target, opts PolicyOptions) (f policyFile, err error) {
	if opts.Trust != nil {
		if err := h.verifyPolicy(ctx, r, t, opts); err != nil {
			return f, fmt.Errorf("verify policy %s: %w", t.ref, err)
		}
	}
	if f.layer, err = policyLayer(t.raw); err != nil {
		return f, fmt.Errorf("read policy %s: %w", t.ref, err)
	}
	if f.raw, err = content.FetchAll(ctx, t.reader(), f.layer); err != nil {
		return f, fmt.Errorf("fetch policy %s: %w", t.ref, err)
	}
	if f.policy, err = policy.Parse(f.raw); err != nil {
		return f, fmt.Errorf("read policy %s: %w", t.ref, err)
	}
	return f, nil
}

// verifyPolicy checks who has signed t, and where r has a tag that it was for it,
// and that the tag did not go back.
func (h *Hub) verifyPolicy(ctx context.Context, r ref.Reference, t *target, opts PolicyOptions) error {
	trust := *opts.Trust
	trust.MatchRepository = trust.MatchRepository || r.Digest == ""
	report, err := signing.Verify(ctx, t.reader(), t.signing(), trust)
	if err != nil {
		return err
	}
	t.vouch(report.Signers...)
	if r.Digest == "" {
		m, err := mediatypes.ParseManifest(t.raw)
		if err != nil {
			return err
		}
		if name := m.Annotations[AnnotationPolicyName]; m.ArtifactType == MediaTypePolicy && name != policyFor(t.ref) {
			return fmt.Errorf("%w: the policy was published for %q and not for %s: push it there too, or name it by its digest",
				signing.ErrUntrusted, name, policyFor(t.ref))
		}
	}
	return h.accept(ctx, r, t, acceptOptions{downgrade: opts.AllowDowngrade})
}

// policyLayer is the one layer of the artifact.
func policyLayer(manifest []byte) (ocispec.Descriptor, error) {
	m, err := mediatypes.ParseManifest(manifest)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if m.ArtifactType != MediaTypePolicy || len(m.Layers) != 1 || m.Layers[0].MediaType != MediaTypePolicy {
		return ocispec.Descriptor{}, fmt.Errorf("%w: it is no policy but %s", policy.ErrInvalid, orUnknown(m.ArtifactType))
	}
	if m.Layers[0].Size > policy.MaxBytes || m.Layers[0].Size < 0 {
		return ocispec.Descriptor{}, fmt.Errorf("policy of %d bytes: %w", m.Layers[0].Size, errdef.ErrSizeExceedsLimit)
	}
	return m.Layers[0], nil
}

func orUnknown(s string) string {
	if s == "" {
		return "something of no type"
	}
	return s
}

// storedPolicy reads what an earlier FetchPolicy left. Both digests are
// compared, so that nothing else need be believed.
func (h *Hub) storedPolicy(ctx context.Context, r ref.Reference) ([]byte, bool) {
	if h.opts.Store == nil || r.Digest == "" {
		return nil, false
	}
	desc, err := h.opts.Store.Resolve(ctx, policyName(r.Digest))
	if err != nil || desc.Digest != r.Digest || desc.Size > mediatypes.MaxManifestBytes {
		return nil, false
	}
	manifest, err := content.FetchAll(ctx, h.opts.Store, desc)
	if err != nil {
		return nil, false
	}
	layer, err := policyLayer(manifest)
	if err != nil {
		return nil, false
	}
	raw, err := content.FetchAll(ctx, h.opts.Store, layer)
	return raw, err == nil
}

// policyName is what the local store calls a policy.
func policyName(d digest.Digest) string { return "policy@" + d.String() }

func (h *Hub) storePolicy(ctx context.Context, t *target, layer ocispec.Descriptor, raw []byte) {
	if h.opts.Store == nil {
		return
	}
	err := func() error {
		blobs := []struct {
			desc ocispec.Descriptor
			raw  []byte
		}{{layer, raw}, {ocispec.DescriptorEmptyJSON, ocispec.DescriptorEmptyJSON.Data}, {t.desc, t.raw}}
		for _, b := range blobs {
			if err := h.opts.Store.Push(ctx, b.desc, bytes.NewReader(b.raw)); err != nil && !errors.Is(err, errdef.ErrAlreadyExists) {
				return err
			}
		}
		return h.opts.Store.Tag(ctx, t.desc, policyName(t.desc.Digest))
	}()
	if err != nil {
		h.warn("the policy %s is not kept for use without a network: %v", t.ref, err)
	}
}
