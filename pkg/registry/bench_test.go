package registry_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/modelreg/modelreg/pkg/registry"
)

func benchServer(b *testing.B) (*httptest.Server, *remote.Repository) {
	b.Helper()
	r, err := registry.New(b.Context(), registry.Options{Data: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	s := httptest.NewServer(r)
	b.Cleanup(func() {
		s.Close()
		if err := r.Close(); err != nil {
			b.Error(err)
		}
	})
	repo, err := remote.NewRepository(s.Listener.Addr().String() + "/m")
	if err != nil {
		b.Fatal(err)
	}
	repo.PlainHTTP, repo.Client = true, s.Client()
	return s, repo
}

// push stores n bytes that differ from those of every other seed.
func push(b *testing.B, repo content.Pusher, n int, seed uint64) string {
	b.Helper()
	data := make([]byte, n)
	binary.LittleEndian.PutUint64(data, seed)
	desc := content.NewDescriptorFromBytes("application/octet-stream", data)
	if err := repo.Push(b.Context(), desc, bytes.NewReader(data)); err != nil {
		b.Fatal(err)
	}
	return "/v2/m/blobs/" + desc.Digest.String()
}

func BenchmarkGetBlob(b *testing.B) {
	const size = 64 << 20
	s, repo := benchServer(b)
	url := s.URL + push(b, repo, size, 1)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.Get(url)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

func BenchmarkPutBlob(b *testing.B) {
	for name, size := range map[string]int{"4KiB": 4 << 10, "64MiB": 64 << 20} {
		b.Run(name, func(b *testing.B) {
			_, repo := benchServer(b)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var seed uint64
			for b.Loop() {
				seed++
				push(b, repo, size, seed)
			}
		})
	}
}

// BenchmarkReferrers lists a hundred referrers, each read from its manifest.
func BenchmarkReferrers(b *testing.B) {
	s, repo := benchServer(b)
	subject, err := oras.PackManifest(b.Context(), repo, oras.PackManifestVersion1_1, "application/x-model", oras.PackManifestOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100 {
		_, err := oras.PackManifest(b.Context(), repo, oras.PackManifestVersion1_1, "application/x-signature", oras.PackManifestOptions{
			Subject: &subject, ManifestAnnotations: map[string]string{"n": string(rune('a' + i))},
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		resp, err := http.Get(s.URL + "/v2/m/referrers/" + subject.Digest.String())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			b.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}
