package remote_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/modelreg/modelreg/pkg/remote"
)

// Answers come as they are written, and end when either side does.
func TestInProcess(t *testing.T) {
	gone := make(chan error, 1)
	transport := remote.InProcess(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/sized":
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "hello")
		case "/echo":
			_, _ = io.Copy(w, req.Body)
		case "/endless":
			var err error
			for err == nil {
				_, err = w.Write(make([]byte, 1<<10))
			}
			gone <- err
		case "/silent":
			<-req.Context().Done()
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	do := func(path string, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://any.example"+path, body)
		if err != nil {
			t.Fatal(err)
		}
		return transport.RoundTrip(req)
	}
	resp, err := do("/sized", nil)
	if err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(resp.Body); err != nil || string(raw) != "hello" || resp.StatusCode != http.StatusTeapot || resp.ContentLength != 5 {
		t.Errorf("%d, %d bytes: %q, %v", resp.StatusCode, resp.ContentLength, raw, err)
	}
	sent := bytes.Repeat([]byte("x"), 1<<20)
	if resp, err = do("/echo", bytes.NewReader(sent)); err != nil {
		t.Fatal(err)
	}
	if raw, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(raw, sent) || resp.ContentLength != -1 {
		t.Errorf("%d bytes came back, %v", len(raw), err)
	}
	if resp, err = do("/nothing", nil); err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("nothing: %v", err)
	}
	if resp, err = do("/endless", nil); err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-gone; err == nil {
		t.Error("the handler was not told that nobody reads")
	}
	if resp, err = do("/endless", nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, context.Canceled) {
		t.Errorf("read error = %v, want that of the context", err)
	}
	<-gone
	if _, err := do("/silent", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want that of the context", err)
	}
}
