package hub

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

const (
	// maxAlternatives bounds the models of one version that are compared: the
	// members of an index, and the files of one that has several.
	maxAlternatives = 16

	// maxComparedTensors bounds the tensors of one version.
	maxComparedTensors = 200_000
)

// A weighing is the reading of a version's headers, which happens once.
type weighing struct {
	once sync.Once
	sets []fileSet // what can be taken for the model
	cut  bool      // there are more than are compared
	err  error
}

// A fileSet is files that make a model together.
type fileSet struct {
	lineage.Weights // its files are those of the whole version

	name string   // the file, or what the names of all of them are like
	own  []string // digests of its own files
}

// compare checks the claim that output was made of input.
func (g *genealogy) compare(ctx context.Context, rel lineage.Relation, output, input *relative) lineage.Claim {
	for _, r := range []*relative{output, input} {
		r.weights.once.Do(func() { r.weights.err = g.weigh(strangers(ctx, r.stranger), r.target, r.weights) })
		if err := r.weights.err; err != nil {
			return lineage.Claim{Verdict: lineage.Claimed, Reason: "its headers could not be read: " + err.Error()}
		}
	}
	return settle(rel, output.weights, input.weights)
}

// A likeness is how a set of files relates to the one of the base that is most
// like it.
type likeness struct {
	child, base *fileSet
	claim       lineage.Claim
	untouched   bool // all its files are the base's
}

// settle judges a claim from what both versions hold. What holds several models
// holds the claim if one of them does, with two exceptions: files that are the
// base's own show nothing of what was made of them, and what the base has in
// files of the same name has to fit these.
func settle(rel lineage.Relation, child, base *weighing) lineage.Claim {
	if len(child.sets) == 0 || len(base.sets) == 0 || rel == lineage.Origin {
		return lineage.Check(rel, child.whole(), base.whole())
	}
	all := make([]likeness, len(child.sets))
	for i := range child.sets {
		all[i] = closest(rel, &child.sets[i], base)
	}
	is := func(v lineage.Verdict, untouched bool) func(likeness) bool {
		return func(l likeness) bool { return l.claim.Verdict == v && l.untouched == untouched }
	}
	same := func(l likeness) bool {
		return l.claim.Verdict == lineage.Contradicted && l.child.name == l.base.name && rel != lineage.Adapter && rel != lineage.Quantized
	}
	for _, wanted := range []func(likeness) bool{same, is(lineage.Checked, false)} {
		if i := slices.IndexFunc(all, wanted); i >= 0 {
			return all[i].told(all, base)
		}
	}
	i := slices.IndexFunc(all, is(lineage.Checked, true))
	j := slices.IndexFunc(all, func(l likeness) bool { return !l.untouched })
	switch {
	case i >= 0 && j >= 0:
		return lineage.Claim{Verdict: lineage.Claimed, Reason: fmt.Sprintf("%.100s: %s; %.100s is the base's, byte for byte", all[j].child.name, all[j].claim.Reason, all[i].child.name)}
	case i >= 0:
		return all[i].told(all, base)
	}
	worst := max(0, slices.IndexFunc(all, func(l likeness) bool { return l.claim.Verdict == lineage.Contradicted }))
	claim := all[worst].told(all, base)
	if claim.Verdict == lineage.Contradicted && (child.cut || base.cut) {
		return lineage.Claim{Verdict: lineage.Claimed, Reason: fmt.Sprintf("of more than %d models not all were compared; %s", maxAlternatives, claim.Reason)}
	}
	return claim
}

// closest compares a set of files with those of the base, first with what has its
// name.
func closest(rel lineage.Relation, child *fileSet, base *weighing) likeness {
	order := make([]*fileSet, len(base.sets))
	for i := range base.sets {
		order[i] = &base.sets[i]
	}
	slices.SortStableFunc(order, func(a, b *fileSet) int { return rank(a.name != child.name) - rank(b.name != child.name) })
	best := likeness{child: child}
	for _, b := range order {
		c := lineage.Check(rel, child.Weights, b.Weights)
		if best.base == nil || preference(c.Verdict) > preference(best.claim.Verdict) {
			best.base, best.claim = b, c
		}
	}
	files := base.whole().Files
	best.untouched = len(child.own) > 0 && !slices.ContainsFunc(child.own, func(f string) bool { return !slices.Contains(files, f) })
	return best
}

func rank(later bool) int {
	if later {
		return 1
	}
	return 0
}

// preference is which of several verdicts about one set of files counts.
func preference(v lineage.Verdict) int {
	return slices.Index([]lineage.Verdict{lineage.Claimed, lineage.Contradicted, lineage.Checked}, v)
}

// told is the claim with the files that it is about, where there are others.
func (l likeness) told(all []likeness, base *weighing) lineage.Claim {
	c := l.claim
	if len(all) == 1 && len(base.sets) == 1 || l.child.name == "" {
		return c
	}
	about := fmt.Sprintf("%.100s", l.child.name)
	if l.base.name != l.child.name {
		about += fmt.Sprintf(" against %.100s", l.base.name)
	}
	c.Reason = about + ": " + c.Reason
	fit := 0
	for _, o := range all {
		if o.claim.Verdict == lineage.Checked {
			fit++
		}
	}
	if fit < len(all) {
		c.Reason += fmt.Sprintf("; %d of %d sets of files fit", fit, len(all))
	}
	return c
}

// whole is all that is known of the weights as one.
func (w *weighing) whole() lineage.Weights {
	if len(w.sets) == 0 {
		return lineage.Weights{}
	}
	return w.sets[0].Weights
}

// weigh reads the headers of a version's weights, as far as policies let its
// files be looked into.
func (g *genealogy) weigh(ctx context.Context, t *target, w *weighing) error {
	models, err := t.models(ctx)
	if err != nil {
		return err
	}
	w.cut = len(models) > maxAlternatives
	var files []string
	known := !w.cut
	for _, m := range models[:min(len(models), maxAlternatives)] {
		if isIndex(m.desc) {
			w.cut, known = true, false
			continue
		}
		if !g.unadmitted {
			if _, err := g.hub.admit(ctx, m.ref, m, admitOptions{checkOnly: true}); err != nil {
				return err
			}
		}
		some, all, err := g.hub.headers(ctx, m)
		if err != nil {
			return err
		}
		w.sets = append(w.sets, some...)
		files, known = append(files, all...), known && all != nil
	}
	if len(w.sets) > maxAlternatives {
		w.sets, w.cut = w.sets[:maxAlternatives], true
	}
	if !known {
		return nil
	}
	if len(w.sets) == 0 {
		w.sets = []fileSet{{}}
	}
	for i := range w.sets {
		w.sets[i].Files = files
	}
	return nil
}

// headers reads the tensors of one version, each set of files apart. files are
// the digests of all files of weights; nil if they are not known.
func (h *Hub) headers(ctx context.Context, t *target) (sets []fileSet, files []string, err error) {
	a, err := artifact.OpenWith(ctx, t.place(), t.desc, artifact.OpenOptions{AllowCollisions: true})
	if errors.Is(err, artifact.ErrNotModel) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	var src content.Fetcher = t.place()
	if t.local == nil {
		src = t.repo.Origin()
	}
	list, err := a.Tensors(ctx, src, "", artifact.ReaderOptions{Indexes: h.chunkIndexes()})
	if err != nil {
		return nil, nil, err
	}
	if len(list.Tensors) > maxComparedTensors {
		return nil, nil, fmt.Errorf("%d tensors: %w", len(list.Tensors), errdef.ErrSizeExceedsLimit)
	}
	return setsOf(a, list), weightFiles(a), nil
}

// setsOf puts tensors together by the files that make a model.
func setsOf(a *artifact.Artifact, list *artifact.TensorList) []fileSet {
	sets := map[string]*fileSet{}
	var keys []string
	for _, one := range list.Tensors {
		key := setOf(one.File)
		s := sets[key]
		if s == nil {
			s = &fileSet{name: strings.TrimPrefix(key, "./"), Weights: lineage.Weights{Architecture: a.Manifest.Annotations[mediatypes.AnnotationArchitecture]}}
			sets[key] = s
			keys = append(keys, key)
		}
		s.Tensors = append(s.Tensors, lineage.Tensor{Name: one.Name, DType: one.DType, Shape: one.Shape, Bytes: one.Bytes})
	}
	for _, f := range a.Files {
		if s := sets[setOf(f.Path)]; f.Kind == mediatypes.KindWeight && s != nil {
			s.own = append(s.own, f.Digest.String())
		}
	}
	slices.Sort(keys)
	out := make([]fileSet, len(keys))
	for i, k := range keys {
		out[i] = *sets[k]
	}
	return out
}

// weightFiles are the digests of all files of weights; nil if there is an
// archive, whose bytes say nothing of the files in it.
func weightFiles(a *artifact.Artifact) []string {
	files := []string{}
	for _, f := range a.Files {
		switch {
		case f.Kind != mediatypes.KindWeight:
		case f.Archive:
			return nil
		default:
			files = append(files, f.Digest.String())
		}
	}
	return files
}

var shardNumber = regexp.MustCompile(`-\d+-of-\d+$`)

// setOf names the files that make a model together: the shards of one GGUF, and
// all files of another format in one directory.
func setOf(file string) string {
	ext := path.Ext(file)
	if strings.EqualFold(ext, ".gguf") {
		return shardNumber.ReplaceAllString(strings.TrimSuffix(file, ext), "") + ext
	}
	return path.Dir(file) + "/*" + ext
}
