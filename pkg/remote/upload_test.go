package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A memory is a [remote.Memory] that lasts as long as the test.
type memory struct {
	mu     sync.Mutex
	at     map[string]string
	habits map[string]string
}

func newMemory() *memory { return &memory{at: map[string]string{}, habits: map[string]string{}} }

func (m *memory) Upload(repository, key string) remote.Note { return &note{m, repository + " " + key} }

func (m *memory) Habit(host string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.habits[host]
}

func (m *memory) SetHabit(host, text string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.habits[host] = text
}

type note struct {
	m    *memory
	name string
}

func (n *note) Location() string {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	return n.m.at[n.name]
}

func (n *note) Keep(location string) {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	n.m.at[n.name] = location
	if location == "" {
		delete(n.m.at, n.name)
	}
}

func (n *note) Close() {}

// A bytesStream is a stream of bytes in memory.
type bytesStream struct{ data []byte }

func (s bytesStream) Key() string { return "bytes" }
func (s bytesStream) Size() int64 { return int64(len(s.data)) }
func (s bytesStream) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	return opener(s.data)(ctx, offset)
}

func (s bytesStream) Digest(context.Context) (digest.Digest, error) {
	return digest.FromBytes(s.data), nil
}

// remembering returns a repository of a new client, as in another process.
func remembering(t *testing.T, s *testreg.Server, m remote.Memory) *remote.Repository {
	t.Helper()
	r := newRepo(t, s)
	r.SetMemory(m)
	return r
}

// TestUploadModes lets registries refuse some ways to upload: another is
// found, and tried first the next time.
func TestUploadModes(t *testing.T) {
	const size = 5 << 20
	patchless := []string{"no-patch-405", "no-patch-404", "no-patch-501", "no-patch-code", "patch-201", "patch-4m"}
	tests := map[string]struct {
		rules []string
		known bool // takes blobs whose digest is known
		given bool // takes streams
	}{
		"all":                {nil, true, true},
		"minimum":            {[]string{"min-chunk"}, true, true},
		"PUT without a body": {[]string{"no-put"}, true, true},
		"limit of 2 MiB":     {[]string{"body-2m"}, true, true},
		"nothing":            {[]string{"no-put", "no-patch-405"}, false, false},
	}
	for _, name := range patchless {
		tests[name] = struct {
			rules        []string
			known, given bool
		}{[]string{name}, true, false}
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{Data: t.TempDir()})
			for _, rule := range tt.rules {
				s.Add(testreg.Fault(rule))
			}
			m := newMemory()
			desc, data := content(11, size)
			err := remembering(t, s, m).PushFrom(t.Context(), desc, opener(data), nil)
			if tt.known != (err == nil) {
				t.Fatalf("PushFrom: %v, want success: %v", err, tt.known)
			}
			other, more := content(12, size)
			got, err := remembering(t, s, m).PushStream(t.Context(), bytesStream{more}, nil)
			if tt.given && (err != nil || got != other.Digest) {
				t.Fatalf("PushStream = %s, %v", got, err)
			}
			if !tt.given && !errors.Is(err, errdef.ErrUnsupported) {
				t.Fatalf("PushStream: %v, want ErrUnsupported", err)
			}
			if got := remembering(t, s, m).Streams(); got != tt.given {
				t.Errorf("Streams = %v, want %v", got, tt.given)
			}
			if len(m.at) > 0 {
				t.Errorf("uploads that are over are remembered: %v", m.at)
			}
			if !tt.known {
				return
			}
			checkLearnt(t, s, m)
		})
	}
}

// checkLearnt pushes another blob, and wants nothing refused.
func checkLearnt(t *testing.T, s *testreg.Server, m remote.Memory) {
	t.Helper()
	before := len(s.Requests())
	desc, data := content(13, 5<<20)
	r := remembering(t, s, m)
	if err := r.PushFrom(t.Context(), desc, opener(data), nil); err != nil {
		t.Fatal(err)
	}
	for _, q := range s.Requests()[before:] {
		if q.Status >= 400 {
			t.Errorf("%s %s = %d: nothing was learnt", q.Method, q.Path, q.Status)
		}
	}
	got, err := readAll(r.Fetch(t.Context(), desc))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("the registry has %d bytes, %v", len(got), err)
	}
}

func TestUploadMinimumLength(t *testing.T) {
	s := testreg.New(t, testreg.Options{Data: t.TempDir()})
	s.Add(testreg.Fault("min-chunk"), testreg.Fault("no-put"), testreg.Rule{
		Method: "PATCH", Path: "/blobs/uploads/", Do: testreg.LargerThan(6<<20, testreg.Status(http.StatusRequestEntityTooLarge, nil, "")),
	})
	m := newMemory()
	m.SetHabit(s.Host, "chunked 1048576")
	desc, data := content(14, 12<<20)
	if err := remembering(t, s, m).PushFrom(t.Context(), desc, opener(data), nil); err != nil {
		t.Fatal(err)
	}
	var pieces []int64
	for _, q := range s.Requests() {
		if q.Method == "PATCH" {
			pieces = append(pieces, q.BytesIn)
		}
	}
	if want := []int64{5 << 20, 5 << 20, 2 << 20}; !slices.Equal(pieces, want) {
		t.Errorf("pieces of %v bytes, want %v", pieces, want)
	}
}

// TestUploadGoesOnElsewhere breaks an upload off, and goes on with another
// client, as another process does.
func TestUploadGoesOnElsewhere(t *testing.T) {
	const size = 8 << 20
	_, data := content(15, size)
	push := map[string]func(ctx context.Context, r *remote.Repository) error{
		"known": func(ctx context.Context, r *remote.Repository) error {
			return r.PushFrom(ctx, describe("x/y", data), opener(data), nil)
		},
		"stream": func(ctx context.Context, r *remote.Repository) error {
			_, err := r.PushStream(ctx, bytesStream{data}, nil)
			return err
		},
	}
	after := map[string]struct {
		do   func(s *testreg.Server, m *memory)
		most int64
	}{
		"nothing happened": {nil, size / 2},
		"session gone":     {func(s *testreg.Server, _ *memory) { s.Add(forgotten()) }, size},
		"junk noted":       {func(_ *testreg.Server, m *memory) { m.replace("::") }, size},
		"noted elsewhere":  {func(s *testreg.Server, m *memory) { m.replace(s.Sink.URL + "/v2/org/model/blobs/uploads/1") }, size},
	}
	for way, push := range push {
		for name, tt := range after {
			t.Run(way+", "+name, func(t *testing.T) {
				t.Parallel()
				s := testreg.New(t, testreg.Options{Data: t.TempDir()})
				m := newMemory()
				ctx, cancel := context.WithCancel(t.Context())
				s.Add(testreg.Rule{Method: "PUT,PATCH", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
					defer cancel()
					testreg.TakeThenDrop(size * 3 / 4)(x)
				}})
				if err := push(ctx, remembering(t, s, m)); !errors.Is(err, context.Canceled) {
					t.Fatalf("first push: %v, want context.Canceled", err)
				}
				s.Reset()
				if !remembering(t, s, m).Begun("bytes", size) == (way == "stream") {
					t.Error("whether it was begun is not known")
				}
				if tt.do != nil {
					tt.do(s, m)
				}
				err := push(t.Context(), remembering(t, s, m))
				if way == "stream" && name == "session gone" { // it may be the end that it has come to
					if !errors.Is(err, errdef.ErrUnsupported) || bytesIn(s) > 0 {
						t.Errorf("%d bytes sent, %v, want that the digest is found out first", bytesIn(s), err)
					}
					err = push(t.Context(), remembering(t, s, m))
				}
				if err != nil {
					t.Fatal(err)
				}
				if n := bytesIn(s); n > tt.most {
					t.Errorf("%d bytes sent, want at most %d", n, tt.most)
				}
				if len(s.Sink.Requests()) > 0 {
					t.Error("a stranger was asked")
				}
				s.Reset()
				got, err := readAll(remembering(t, s, m).Fetch(t.Context(), describe("x/y", data)))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("the registry has %d bytes, %v", len(got), err)
				}
			})
		}
	}
}

// TestUploadWasClosed closes an upload that an earlier process has sent all of: the
// registry knows no such upload then, and has the blob.
func TestUploadWasClosed(t *testing.T) {
	const size = 8 << 20
	_, data := content(15, size)
	s := testreg.New(t, testreg.Options{Data: t.TempDir()})
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	s.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
		defer cancel()
		testreg.Reset()(x)
	}})
	if _, err := remembering(t, s, m).PushStream(ctx, bytesStream{data}, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("first push: %v, want context.Canceled", err)
	}
	s.Reset()
	s.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
		x.Pass(httptest.NewRecorder()) // of the earlier process
		testreg.Status(http.StatusNotFound, nil, "")(x)
	}})
	if _, err := remembering(t, s, m).PushStream(t.Context(), bytesStream{data}, nil); err != nil {
		t.Fatal(err)
	}
	if n := bytesIn(s); n > 0 {
		t.Errorf("%d bytes sent again", n)
	}
}

// TestUploadOutlivesOutage has a registry that cannot tell how far an upload has
// come, for a while: that is no reason to send all of it again.
func TestUploadOutlivesOutage(t *testing.T) {
	const size = 8 << 20
	desc, data := content(20, size)
	tests := map[string]struct {
		status testreg.Action
		want   error
	}{
		"unauthorized": {testreg.Status(http.StatusUnauthorized, nil, ""), remote.ErrUnauthorized},
		"forbidden":    {testreg.Status(http.StatusForbidden, nil, ""), remote.ErrForbidden},
		"busy":         {testreg.Status(http.StatusTooManyRequests, nil, ""), remote.ErrUnreachable},
		"failing":      {testreg.Status(http.StatusInternalServerError, nil, ""), remote.ErrUnreachable},
		"resets":       {testreg.Reset(), remote.ErrUnreachable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{Data: t.TempDir()})
			m := newMemory()
			s.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: testreg.TakeThenDrop(size * 3 / 4)},
				testreg.Rule{Method: "GET", Path: "/blobs/uploads/", Do: tt.status})
			if err := remembering(t, s, m).PushFrom(t.Context(), desc, opener(data), nil); !errors.Is(err, tt.want) {
				t.Errorf("push in the outage: %v, want %v", err, tt.want)
			}
			if len(m.at) != 1 {
				t.Errorf("the upload is not remembered: %v", m.at)
			}
			s.Reset()
			if err := remembering(t, s, m).PushFrom(t.Context(), desc, opener(data), nil); err != nil {
				t.Fatal(err)
			}
			if n := bytesIn(s); n > size/2 {
				t.Errorf("%d bytes sent, want at most %d", n, size/2)
			}
		})
	}
}

// TestDeclinedMountAndNote asks for a mount of a blob that was uploaded in part
// before: what is there is not sent again, and what the registry begins in
// place of a mount is noted if nothing is.
func TestDeclinedMountAndNote(t *testing.T) {
	const size = 8 << 20
	desc, data := content(21, size)
	s := testreg.New(t, testreg.Options{Data: t.TempDir()})
	m := newMemory()
	push := func() error {
		r := remembering(t, s, m)
		if ok, err := r.MountFrom(t.Context(), desc, "org/other"); ok || err != nil {
			t.Fatalf("MountFrom = %v, %v", ok, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s.Add(testreg.Rule{Method: "PUT", Path: "/blobs/uploads/", To: 1, Do: func(x testreg.Exchange) {
			defer cancel()
			testreg.TakeThenDrop(size / 4)(x)
		}})
		return r.PushFrom(ctx, desc, opener(data), nil)
	}
	for i := range 2 {
		if err := push(); !errors.Is(err, context.Canceled) || len(m.at) != 1 {
			t.Fatalf("push %d: %v, want context.Canceled; noted %v", i, err, m.at)
		}
		s.Reset()
	}
	r := remembering(t, s, m)
	if ok, err := r.MountFrom(t.Context(), desc, "org/other"); ok || err != nil {
		t.Fatalf("MountFrom = %v, %v", ok, err)
	}
	if err := r.PushFrom(t.Context(), desc, opener(data), nil); err != nil {
		t.Fatal(err)
	}
	if n := bytesIn(s); n > size*5/8 {
		t.Errorf("%d bytes sent, want half of %d", n, size)
	}
	if len(m.at) > 0 {
		t.Errorf("an upload that is over is remembered: %v", m.at)
	}
}

func forgotten() testreg.Rule {
	return testreg.Rule{Method: "GET", Path: "/blobs/uploads/", Do: testreg.ForgetUpload()}
}

func (m *memory) replace(location string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.at {
		m.at[name] = location
	}
}

// The answer to the closing PUT gets lost, and the registry needs a while until
// it shows the blob.
func TestUploadLostAnswer(t *testing.T) {
	s := testreg.New(t, testreg.Options{Data: t.TempDir()})
	s.Add(testreg.Fault("commit-drop-blob"),
		testreg.Rule{Method: "HEAD", Path: "/blobs/sha256:", To: 2, Do: testreg.Status(http.StatusNotFound, nil, "")})
	desc, data := content(16, 2<<20)
	var retries []error
	tell := func(_ int64, err error) {
		if err != nil {
			retries = append(retries, err)
		}
	}
	if err := newRepo(t, s).PushFrom(t.Context(), desc, opener(data), tell); err != nil {
		t.Fatal(err)
	}
	if n := bytesIn(s); n != desc.Size {
		t.Errorf("%d bytes sent, want %d once", n, desc.Size)
	}
	if len(retries) != 1 {
		t.Errorf("told of %v, want one retry", retries)
	}
}

func TestHabitsFromOutside(t *testing.T) {
	for _, text := range []string{"", "junk", "whole", "chunked -1", "chunked 5", "chunked 99999999999999999999", "whole 0 x y", strings.Repeat("x", 1000)} {
		s := testreg.New(t, testreg.Options{Data: t.TempDir()})
		m := newMemory()
		m.SetHabit(s.Host, text)
		desc, data := content(17, 1000)
		r := remembering(t, s, m)
		if err := r.PushFrom(t.Context(), desc, opener(data), nil); err != nil || !r.Streams() {
			t.Errorf("with habit %q: %v, Streams %v", text, err, r.Streams())
		}
	}
}

// TestPushStreamFaults breaks uploads of unknown digest, in one PATCH and in
// pieces.
func TestPushStreamFaults(t *testing.T) {
	const size = 3 << 20
	tests := map[string]error{
		"forget-upload": nil, "forget-upload@2": nil, "patch-416": nil, "patch-part": nil, "patch-overclaim": nil,
		"patch-cut": nil, "commit-drop-blob": nil, "401-after-body": nil, "token-3": nil, "503x3": nil, "429x3": nil,
		"slow-commit": nil, "digest-refused": errdef.ErrUnsupported, "500-forever": remote.ErrUnreachable,
		"location-sink": remote.ErrProtocol, "401-forever": remote.ErrUnauthorized, "html-error": remote.ErrForbidden,
	}
	for name, want := range tests {
		for _, habit := range []string{"", "chunked 1048576"} {
			t.Run(name+" "+habit, func(t *testing.T) {
				t.Parallel()
				s := testreg.New(t, testreg.Options{Data: t.TempDir()})
				m := newMemory()
				m.SetHabit(s.Host, habit)
				r := remembering(t, s, m)
				desc, data := content(18, size)
				s.Add(testreg.Fault(name))
				var sent atomic.Int64
				got, err := r.PushStream(t.Context(), bytesStream{data}, func(n int64, _ error) { sent.Add(n) })
				checkWords(t, err)
				if leaked := s.Sink.Credentials(); leaked != nil {
					t.Errorf("credentials given away: %v", leaked)
				}
				if want != nil {
					if !errors.Is(err, want) {
						t.Errorf("PushStream: %v, want %v", err, want)
					}
					return
				}
				if err != nil || got != desc.Digest || sent.Load() != size {
					t.Fatalf("PushStream = %s, %v, %d bytes; want %s, %d bytes", got, err, sent.Load(), desc.Digest, size)
				}
				s.Reset()
				back, err := readAll(r.Fetch(t.Context(), desc))
				if err != nil || !bytes.Equal(back, data) {
					t.Errorf("the registry has %d bytes, %v", len(back), err)
				}
			})
		}
	}
}
