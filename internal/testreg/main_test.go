package testreg_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"
	"go.uber.org/goleak"

	"github.com/modelreg/modelreg/internal/testreg"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const repo = "/v2/org/model"

// put stores a blob behind the server's back and returns its path.
func put(t *testing.T, s *testreg.Server, data []byte) string {
	t.Helper()
	dgst := digest.FromBytes(data)
	req, err := http.NewRequestWithContext(t.Context(), "POST", s.URL+repo+"/blobs/uploads/", nil)
	if err != nil {
		t.Fatal(err)
	}
	location := serveBehind(s, req).header.Get("Location")
	req, err = http.NewRequestWithContext(t.Context(), "PUT", location+"&digest="+dgst.String(), bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if a := serveBehind(s, req); a.status != http.StatusCreated {
		t.Fatalf("put blob = %d %s", a.status, a.body)
	}
	return repo + "/blobs/" + dgst.String()
}

type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // of the request or while the body was read
}

type recorder struct {
	status int
	header http.Header
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func serveBehind(s *testreg.Server, req *http.Request) answer {
	w := &recorder{status: http.StatusOK, header: make(http.Header)}
	s.Backend().ServeHTTP(w, req)
	return answer{status: w.status, header: w.header, body: w.body.Bytes()}
}

// do sends a request through the rules, as a client that follows no redirect
// and repeats nothing.
func do(t *testing.T, s *testreg.Server, method, path string, header map[string]string) answer {
	t.Helper()
	return send(t, s, method, path, header, nil)
}

func send(t *testing.T, s *testreg.Server, method, path string, header map[string]string, body io.Reader) answer {
	t.Helper()
	url := path
	if path[0] == '/' {
		url = s.URL + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept-Encoding", "identity")
	for key, value := range header {
		req.Header.Set(key, value)
	}
	client := *s.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, body: b, err: err}
}

func TestServesARegistry(t *testing.T) {
	s := testreg.New(t, testreg.Options{})
	data := []byte("weights")
	got := do(t, s, "GET", put(t, s, data), nil)
	if got.err != nil || got.status != 200 || !bytes.Equal(got.body, data) {
		t.Errorf("GET blob = %d %q %v, want 200 %q", got.status, got.body, got.err, data)
	}
}
