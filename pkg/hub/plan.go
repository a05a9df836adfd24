package hub

import (
	"context"
	"fmt"
	"path"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
)

// PullPlan says what [Hub.Pull] would do. Sizes are bytes.
type PullPlan struct {
	Reference    string `json:"reference"`
	Digest       string `json:"digest"`
	Directory    string `json:"directory"`
	Files        int    `json:"files"` // what archives without an index hold is not known
	Size         int64  `json:"size"`
	SkippedFiles int    `json:"skippedFiles"` // that are not selected
	Blobs        int    `json:"blobs"`        // to be fetched, whole or in part
	FetchBytes   int64  `json:"fetchBytes"`
	ReuseBytes   int64  `json:"reuseBytes"` // in the store or in files that are there, or in parts of them

	// BytesPerSecond is the rate of earlier pulls from this host, or the
	// limit that was asked for; null when nobody knows. Seconds is what the
	// fetch takes at that rate.
	BytesPerSecond *int64    `json:"bytesPerSecond"`
	Seconds        *float64  `json:"seconds"`
	Verified       *Verified `json:"verified"`

	// VerificationSkipped says that [Rules] were told to let it pass.
	VerificationSkipped bool `json:"verificationSkipped,omitempty"`

	// Variant is what would be taken of a version that has several.
	Variant *ChosenVariant `json:"variant,omitempty"`

	RepoID   string `json:"repoId,omitempty"`   // of a Hugging Face cache
	Revision string `json:"revision,omitempty"` // of a Hugging Face cache
}

// PlanPull tells what [Hub.Pull] with the same arguments would do. It reads the
// manifest, the config, the signature and the indexes of chunks, and no blob with
// files of the model; it changes nothing on the disk but what the store
// remembers.
func (h *Hub) PlanPull(ctx context.Context, r ref.Reference, dir string, opts PullOptions) (*PullPlan, error) {
	opts.plan = true
	p, err := h.pulled(ctx, r, opts)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = path.Base(r.Repository)
	}
	t := p.target
	plan := &PullPlan{Reference: t.ref.String(), Digest: t.desc.Digest.String(), Directory: dir, Verified: p.verified, VerificationSkipped: p.unpack.Admission.Skipped, Variant: t.chosen()}
	n, err := planUnpack(ctx, p, plan)
	if err != nil {
		return nil, fmt.Errorf("pull %s: %w", t.ref, err)
	}
	plan.Files, plan.Size, plan.SkippedFiles = n.Files, n.Size, n.LeftOut
	plan.Blobs, plan.FetchBytes, plan.ReuseBytes = n.Blobs, n.Fetch, n.Reuse
	rate := opts.Bandwidth
	if s := h.opts.Store; s != nil {
		if known := s.Rate(t.ref.Host); known > 0 && (rate == 0 || known < rate) {
			rate = known
		}
	}
	if rate > 0 {
		seconds := float64(n.Fetch) / float64(rate)
		plan.BytesPerSecond, plan.Seconds = &rate, &seconds
	}
	return plan, nil
}

// planUnpack plans for the layout that is asked for, and notes the directory of
// the files.
func planUnpack(ctx context.Context, p pulled, plan *PullPlan) (*artifact.UnpackPlan, error) {
	if p.hf == nil {
		return artifact.PlanUnpack(ctx, p.artifact, p.target.repo, plan.Directory, p.unpack)
	}
	p.hf.Cache = plan.Directory
	n, err := artifact.PlanUnpackHF(ctx, p.artifact, p.target.repo, *p.hf, p.unpack)
	if err != nil {
		return nil, err
	}
	plan.Directory, plan.RepoID, plan.Revision = n.Snapshot, p.hf.RepoID, n.Revision
	return &n.UnpackPlan, nil
}
