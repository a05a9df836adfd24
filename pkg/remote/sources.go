package remote

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
)

// maxChecked is how many bytes of a blob that comes whole from a mirror are
// compared with its digest here, so that who reads small ones need not know of
// mirrors. Of larger ones, [Repository.Distrust] must be told.
const maxChecked = 1 << 20

// sources are the places that the content of one repository is read from, and
// what they were found to have.
type sources struct {
	*route
	anyTags bool // mirrors may say what tags point to, if they are trusted with that

	mu     sync.Mutex
	trails map[string]*trail // by digest
	served map[string]int64  // bytes from mirrors, by host
}

// A trail is what is known of one blob or manifest.
type trail struct {
	used []*endpoint // mirrors that gave bytes of it
	bad  []*endpoint // mirrors that do not have it, or gave wrong bytes

	led map[*endpoint]*landing // where places have redirected to
}

// Origin returns the repository without its mirrors: what is read comes from
// the registry. It is for bytes that nobody compares with a digest, such as
// parts of a blob that is not read to its end.
func (r *Repository) Origin() *Repository {
	way := *r.from.route
	way.mirrors = nil
	return r.with(&sources{route: &way, anyTags: r.from.anyTags})
}

// WithMirrorTags returns the repository with the tags of those mirrors that
// are trusted with them ([Mirror.Resolve]). Such tags may be old: it is for
// reading, not for what is written as a consequence.
func (r *Repository) WithMirrorTags() *Repository {
	return r.with(&sources{route: r.from.route, anyTags: true})
}

func (r *Repository) with(from *sources) *Repository {
	return &Repository{client: r.client, ref: r.ref, at: r.at, from: from, sessions: make(map[string]session), memory: r.memory}
}

// Distrust says that bytes of a blob turned out to be wrong. The mirrors that
// gave some of them are not asked for it again. It reports whether there were
// any: then the blob is worth being fetched once more, from elsewhere.
func (r *Repository) Distrust(desc ocispec.Descriptor) bool {
	s := r.from
	s.mu.Lock()
	t := s.trail(desc.Digest.String())
	wrong := t.used
	t.used = nil
	t.bad = append(t.bad, wrong...)
	s.mu.Unlock()
	for _, at := range wrong {
		at.mirror.failed(time.Now(), 0)
	}
	return len(wrong) > 0
}

// Served returns how many bytes of content came from each mirror, by host, in
// the life of this Repository, or nil.
func (r *Repository) Served() map[string]int64 {
	r.from.mu.Lock()
	defer r.from.mu.Unlock()
	return maps.Clone(r.from.served)
}

// trail returns the trail of a digest. The caller holds s.mu.
func (s *sources) trail(name string) *trail {
	t, ok := s.trails[name]
	if !ok {
		if s.trails == nil {
			s.trails = make(map[string]*trail)
		}
		t = new(trail)
		s.trails[name] = t
	}
	return t
}

// forContent returns the places to ask for what has that digest: the mirrors
// that work and may have it, and then the registry.
func (s *sources) forContent(name string) []*endpoint {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var all []*endpoint
	for _, at := range s.mirrors {
		if !at.mirror.resting(now) && !slices.Contains(s.trail(name).bad, at) {
			all = append(all, at)
		}
	}
	return append(all, s.last)
}

// forManifest returns the places to ask for a manifest by tag or digest.
func (s *sources) forManifest(reference string) []*endpoint {
	all := s.forContent(reference)
	if digest.Digest(reference).Validate() == nil {
		return all
	}
	if !s.anyTags {
		return []*endpoint{s.registry}
	}
	all[len(all)-1] = s.tags
	return slices.DeleteFunc(all, func(at *endpoint) bool { return at.mirror != nil && !at.mirror.resolve })
}

// ask lets get try one place after the other. The error is that of the last.
func (s *sources) ask(ctx context.Context, places []*endpoint, name string, get func(at *endpoint) error) error {
	var err error
	for _, at := range places {
		err = get(at)
		if at.mirror == nil || ctx.Err() != nil {
			return err
		}
		if err == nil {
			at.mirror.worked()
			return nil
		}
		s.blame(at, name, err)
	}
	return err
}

// blame draws the consequences from a mirror's error.
func (s *sources) blame(at *endpoint, name string, err error) {
	lacks := errors.Is(err, errdef.ErrNotFound)
	unable := errors.Is(err, errdef.ErrUnsupported)
	if lacks || unable || errors.Is(err, content.ErrMismatchedDigest) {
		s.mu.Lock()
		t := s.trail(name)
		t.bad = append(t.bad, at)
		s.mu.Unlock()
	}
	if lacks || unable {
		return
	}
	var wait time.Duration
	if e, ok := errors.AsType[*Error](err); ok {
		wait = e.Wait
	}
	at.mirror.failed(time.Now(), wait)
}

// readBlob reads a part of a blob from the first place that opens it.
func (r *Repository) readBlob(ctx context.Context, dgst digest.Digest, part byteRange, open opener) (rc io.ReadCloser, err error) {
	name := dgst.String()
	err = r.from.ask(ctx, r.from.forContent(name), name, func(at *endpoint) error {
		rc, err = open(ctx, at, dgst, part)
		if err == nil && at.mirror != nil {
			rc, err = r.from.mirrored(ctx, at, rc, dgst, part)
		}
		return err
	})
	return rc, err
}

// An opener asks one place for a part of a blob.
type opener = func(ctx context.Context, at *endpoint, dgst digest.Digest, part byteRange) (io.ReadCloser, error)

// mirrored returns the body of a mirror's answer, which is watched.
func (s *sources) mirrored(ctx context.Context, at *endpoint, rc io.ReadCloser, dgst digest.Digest, part byteRange) (io.ReadCloser, error) {
	length := part.last - part.first + 1
	if length == part.total && length <= maxChecked {
		defer rc.Close()
		raw, err := io.ReadAll(rc)
		if err == nil && dgst.Algorithm().FromBytes(raw) != dgst {
			err = wrongSize("get "+at.host+" blob "+dgst.String(), "the bytes are others")
		}
		if err != nil {
			return nil, err
		}
		s.count(at, length)
		return checked{io.NopCloser(bytes.NewReader(raw))}, nil
	}
	s.mu.Lock()
	t := s.trail(dgst.String())
	if !slices.Contains(t.used, at) {
		t.used = append(t.used, at)
	}
	s.mu.Unlock()
	return &mirrorBody{ReadCloser: rc, ctx: ctx, from: s, at: at, name: dgst.String(), left: length}, nil
}

// A checked body is a whole blob that was compared with its digest. Where it is not
// what somebody has said of it, nobody who gave it is to be blamed.
type checked struct{ io.ReadCloser }

// Distrust is that of a mirrorBody.
func (checked) Distrust() bool { return false }

func (s *sources) count(at *endpoint, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.served == nil {
		s.served = make(map[string]int64)
	}
	s.served[at.host] += n
}

// A mirrorBody is a part of a blob from a mirror. When it breaks, the mirror
// is left alone for a while, so that whoever goes on is led elsewhere.
type mirrorBody struct {
	io.ReadCloser
	ctx  context.Context // of the request that the body belongs to
	from *sources
	at   *endpoint
	name string
	left int64
	done bool
}

// Distrust is [Repository.Distrust] of the mirror that the body is from, and of no
// other that was asked meanwhile.
func (b *mirrorBody) Distrust() bool {
	s := b.from
	s.mu.Lock()
	t := s.trail(b.name)
	t.used = slices.DeleteFunc(t.used, func(at *endpoint) bool { return at == b.at })
	known := slices.Contains(t.bad, b.at)
	if !known {
		t.bad = append(t.bad, b.at)
	}
	s.mu.Unlock()
	if !known {
		b.at.mirror.failed(time.Now(), 0)
	}
	return true
}

func (b *mirrorBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if n > 0 {
		b.from.count(b.at, int64(n))
	}
	switch {
	case b.done:
	case err != nil && err != io.EOF && b.ctx.Err() == nil:
		b.done = true
		b.from.blame(b.at, b.name, err)
	case b.left <= 0:
		b.done = true
		b.at.mirror.worked()
	}
	return n, err
}
