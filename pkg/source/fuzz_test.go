package source_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/source"
)

// answers is a hub that says the same to everything.
func answers(status int, header http.Header, body string) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		h := http.Header{}
		maps.Copy(h, header)
		return &http.Response{
			StatusCode: status, Header: h, Body: io.NopCloser(strings.NewReader(body)),
			ContentLength: int64(len(body)), Request: r, ProtoMajor: 1, ProtoMinor: 1,
		}, nil
	})
}

// FuzzOpen states that no name and no pattern, whatever a hub says of it, does
// more than fail, and that a name which is taken has a commit.
func FuzzOpen(f *testing.F) {
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, s := range []string{
		`{"id":"a/b","sha":"` + commit + `","cardData":{"license":["mit"]}}`,
		`[{"type":"file","path":"a","oid":"` + commit + `","size":1,"lfs":{"oid":"` + commit + commit[:24] + `","size":9000000}}]`,
		`{"Code":200,"Data":{"Files":[{"Path":"a","Type":"blob","Size":9000000,"Sha256":"` + commit + commit[:24] + `","Revision":"` + commit + `"}],"LatestCommitter":{"ShortId":"01234567"}}}`,
		"[]", "null", "{}", `[{"type":"file"}]`, "\x00",
	} {
		f.Add("hf://a/b@main", "*.[!a]?/", s)
		f.Add("ms://a/b", "[]", s)
	}
	f.Fuzz(func(t *testing.T, name, pattern, body string) {
		if !strings.Contains(name, "://") || strings.ContainsRune(name, 0) {
			return // a path
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		m, err := source.Open(ctx, name, source.Options{
			Transport: answers(200, nil, body), Include: []string{pattern}, TempDir: t.TempDir(),
		})
		if errors.Is(err, context.DeadlineExceeded) {
			t.Error("it takes long")
		}
		if err != nil {
			return
		}
		if m.Commit == "" || m.ID == "" {
			t.Errorf("opened %+v", m)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
}

// What is read goes on where it broke, and fails when it breaks again and again.
func TestSteady(t *testing.T) {
	const text = "0123456789"
	opened := 0
	piecewise := func(_ context.Context, offset, length int64) (io.ReadCloser, error) {
		opened++
		part := text[offset : offset+length]
		return io.NopCloser(strings.NewReader(part[:min(len(part), 3)])), nil
	}
	rc, err := source.Steady(int64(len(text)), piecewise)(t.Context(), 1, 7)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(rc)
	if string(got) != text[1:8] || errors.Join(err, rc.Close()) != nil || opened != 3 {
		t.Errorf("read %q by %d requests, %v", got, opened, err)
	}
	for _, offset := range []int64{-1, 11} {
		if _, err := source.Steady(10, piecewise)(t.Context(), offset, 1); err == nil {
			t.Errorf("opened at %d", offset)
		}
	}
	if rc, err = source.Steady(10, piecewise)(t.Context(), 10, -1); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(rc); len(got) > 0 || err != nil {
		t.Errorf("read %q at the end, %v", got, err)
	}
}

// A hub that asks to wait is waited for, and says so when that takes long; who
// gives up waiting is let go at once.
func TestWaits(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	warned := ""
	_, err := source.Open(ctx, "hf://a/b", source.Options{
		Transport: answers(http.StatusTooManyRequests, http.Header{"Ratelimit": {`"api";r=0;t=55`}}, "slow down"),
		Warn: func(m string) {
			warned = m
			cancel(stop)
		},
	})
	if !errors.Is(err, stop) || !strings.Contains(warned, "huggingface.co asks to wait 55s") {
		t.Errorf("Open = %v, warned %q", err, warned)
	}
	began := time.Now()
	_, err = source.Open(t.Context(), "hf://a/b", source.Options{
		Transport: answers(http.StatusTooManyRequests, http.Header{"Ratelimit": {`"api";r=0;t=55`}}, "slow down"),
		MaxWait:   50 * time.Second,
	})
	if !errors.Is(err, remote.ErrMaxWait) || time.Since(began) > 30*time.Second {
		t.Errorf("Open that may wait less than it is asked to = %v", err)
	}
}
