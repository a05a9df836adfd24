package hub

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
)

// hfOptions completes what a version is called in a Hugging Face cache.
func hfOptions(r ref.Reference, opts artifact.HFOptions) (artifact.HFOptions, error) {
	if opts.RepoID == "" {
		opts.RepoID = path.Base(r.Repository)
		if above := path.Dir(r.Repository); above != "." {
			opts.RepoID = path.Base(above) + "/" + opts.RepoID
		}
	}
	if opts.Ref == "" {
		opts.Ref = ref.DecodeBranch(r.Tag)
	}
	opts.Main = opts.Main || r.Tag == DefaultTag
	if err := artifact.CheckRepoID(opts.RepoID); err != nil {
		return opts, fmt.Errorf("pull %s: %w", r, err)
	}
	return opts, nil
}

// pullHF unpacks into a Hugging Face cache, and says what is in it now.
func pullHF(ctx context.Context, p pulled, res *PullResult) (*artifact.Unpacked, error) {
	u, err := artifact.UnpackHF(ctx, p.artifact, p.target.repo, *p.hf, p.unpack)
	if err != nil {
		return nil, err
	}
	res.Directory, res.RepoID, res.Revision = u.Snapshot, p.hf.RepoID, u.Revision
	for _, name := range slices.Sorted(maps.Keys(u.Kept)) {
		res.Notes = append(res.Notes, fmt.Sprintf(
			"the ref %s is kept as it is: it is %s, which is from another hub; --force replaces it", name, u.Kept[name]))
	}
	if u.Main != u.Revision {
		revision := p.hf.Ref
		if _, kept := u.Kept[revision]; kept || revision == "" {
			revision = u.Revision
		}
		res.Notes = append(res.Notes, fmt.Sprintf("loaders that ask for no revision get main, which is %.12s: ask for %s", u.Main, revision))
	}
	return &u.Unpacked, nil
}
