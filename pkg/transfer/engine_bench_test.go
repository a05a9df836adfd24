package transfer_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// A link is a network for benchmarks: each connection has so many bytes per
// second, and each answer comes after a delay. Zero is as fast as loopback.
type benchLink struct {
	perConnection int64
	delay         time.Duration
}

// serve serves blobs as a registry does, from files as fast as can be.
func (l benchLink) serve(tb testing.TB, blobs map[digest.Digest]string) *remote.Repository {
	tb.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, ok := blobs[digest.Digest(r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:])]
		if !ok {
			http.NotFound(w, r)
			return
		}
		f, err := os.Open(name)
		if err != nil {
			tb.Error(err)
			return
		}
		defer f.Close()
		time.Sleep(l.delay)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})
	s := httptest.NewUnstartedServer(h)
	if l.perConnection > 0 {
		s.Listener = limitedListener{s.Listener, l.perConnection}
	}
	s.Start()
	tb.Cleanup(s.Close)
	c, err := remote.New(remote.Options{AuthFile: filepath.Join(tb.TempDir(), "config.json")})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.CloseIdle)
	r, err := c.Repository(strings.TrimPrefix(s.URL, "http://") + "/org/model")
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

type limitedListener struct {
	net.Listener
	rate int64
}

func (l limitedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &limitedConn{Conn: c, rate: l.rate}, nil
}

// A limitedConn writes so many bytes per second, in pieces of a few
// milliseconds, and has no other ways to write.
type limitedConn struct {
	net.Conn
	rate int64
	next time.Time
}

func (c *limitedConn) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		n := min(len(p), 256<<10)
		now := time.Now()
		if c.next.Before(now.Add(-10 * time.Millisecond)) {
			c.next = now
		}
		c.next = c.next.Add(time.Duration(int64(n) * int64(time.Second) / c.rate))
		time.Sleep(c.next.Sub(now))
		m, err := c.Conn.Write(p[:n])
		written += m
		if err != nil {
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

// BenchmarkEngine pulls into a directory, as a user does: one blob or four, from
// a server that gives all it has, and from one that gives each connection
// 50 MB/s after 20 ms.
func BenchmarkEngine(b *testing.B) {
	dir := b.TempDir()
	limited := benchLink{50e6, 20 * time.Millisecond}
	for _, bm := range []struct {
		name        string
		link        benchLink
		blobs, size int
		connections int
	}{
		{"loopback/one", benchLink{}, 1, 512 << 20, 0},
		{"loopback/one/single", benchLink{}, 1, 512 << 20, 1},
		{"loopback/four", benchLink{}, 4, 128 << 20, 0},
		{"loopback/four/single", benchLink{}, 4, 128 << 20, 4},
		{"limited/one", limited, 1, 512 << 20, 0},
		{"limited/one/8", limited, 1, 512 << 20, 8},
		{"limited/one/single", limited, 1, 256 << 20, 1},
		{"limited/four", limited, 4, 128 << 20, 0},
	} {
		b.Run(bm.name, func(b *testing.B) {
			files := make(map[digest.Digest]string)
			var descs []ocispec.Descriptor
			for i := range bm.blobs {
				desc, data := content(uint64(i), bm.size)
				name := filepath.Join(dir, desc.Digest.Encoded())
				if err := os.WriteFile(name, data, 0o600); err != nil {
					b.Fatal(err)
				}
				files[desc.Digest] = name
				descs = append(descs, desc)
			}
			src := bm.link.serve(b, files)
			b.SetBytes(int64(bm.blobs * bm.size))
			for n := 0; b.Loop(); n++ {
				root, err := os.OpenRoot(b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				var jobs []transfer.Job
				for i, desc := range descs {
					jobs = append(jobs, transfer.Job{Desc: desc, Open: func() (transfer.Partial, error) {
						return store.OpenPartial(root, fmt.Sprint(n, "-", i), desc)
					}})
				}
				if err := transfer.Pull(b.Context(), src, jobs, transfer.PullOptions{Connections: bm.connections}); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				for i := range descs {
					_ = root.Remove(fmt.Sprint(n, "-", i))
				}
				root.Close()
				b.StartTimer()
			}
		})
	}
}
