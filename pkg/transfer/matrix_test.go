package transfer_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// serving serves one blob under whatever name.
func serving(data []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

// TestPullRangesThroughFaults pulls a blob over several connections from a
// registry that is slow on each, and does to ranges what registries do.
func TestPullRangesThroughFaults(t *testing.T) {
	ranged := func(do testreg.Action) testreg.Rule {
		return testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Range: testreg.With, Do: do}
	}
	first := func(r testreg.Rule) testreg.Rule { r.From, r.To = 1, 1; return r }
	named := func(name string) testreg.Rule { r := testreg.Fault(name); r.Range = testreg.With; return r }
	header := func(h map[string]string) testreg.Rule { return ranged(testreg.SetHeader(h)) }
	tests := map[string][]testreg.Rule{
		"none":                  nil,
		"200 for a range":       {testreg.Fault("ignore_range")},
		"400":                   {testreg.Fault("range-400")},
		"416":                   {testreg.Fault("416")},
		"416 once":              {first(testreg.Fault("416"))},
		"other bytes":           {testreg.Fault("range_shift")},
		"lying start":           {testreg.Fault("range_wrong-start")},
		"lying total":           {testreg.Fault("range_wrong-total")},
		"no Content-Range":      {header(map[string]string{"Content-Range": ""})},
		"no Accept-Ranges":      {{Method: "GET", Path: "/blobs/sha256:", Do: testreg.SetHeader(map[string]string{"Accept-Ranges": ""})}},
		"gzip":                  {header(map[string]string{"Content-Encoding": "gzip"})},
		"short":                 {ranged(testreg.Truncate(testreg.Middle))},
		"short once":            {first(ranged(testreg.Truncate(testreg.Middle)))},
		"cut":                   {first(ranged(testreg.Cut(testreg.Middle)))},
		"end of connection":     {first(ranged(testreg.Fin(testreg.Middle)))},
		"reset":                 {first(ranged(testreg.Reset()))},
		"flipped bit":           {first(ranged(testreg.FlipBit(testreg.Middle)))},
		"429 and Retry-After":   {first(ranged(testreg.RetryAfter(http.StatusTooManyRequests, "1")))},
		"503":                   {first(ranged(testreg.Status(http.StatusServiceUnavailable, nil, "")))},
		"401 once":              {first(ranged(testreg.Status(http.StatusUnauthorized, nil, "")))},
		"403 for ranges":        {ranged(testreg.Status(http.StatusForbidden, nil, ""))},
		"token for 3 requests":  {named("token-3")},
		"redirect":              {testreg.Fault("redirect-sink")},
		"redirect of the whole": {{Method: "GET", Path: "/blobs/sha256:", Range: testreg.Without, Do: testreg.Redirect("{sink}{path}")}},
	}
	desc, data := content(90, 56<<20)
	for name, rules := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testreg.New(t, testreg.Options{Handler: serving(data)})
			r := newRepo(t, s)
			s.Add(rules...)
			s.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: testreg.Drip(1<<20, 500*time.Microsecond)})
			p := newPartial()
			var seen ledger
			err := transfer.Pull(t.Context(), r, []transfer.Job{job(desc, p)}, transfer.PullOptions{Observe: seen.observe})
			if err != nil || !bytes.Equal(p.data, data) || !p.committed {
				t.Errorf("Pull = %v with %d bytes", err, len(p.data))
			}
			if seen.moved() != desc.Size {
				t.Errorf("%d bytes told, want %d", seen.moved(), desc.Size)
			}
			if leaked := s.Sink.Credentials(); leaked != nil {
				t.Errorf("credentials given away: %v", leaked)
			}
		})
	}
}

// pullInto pulls the blob into a file below dir.
func pullInto(t testing.TB, host, dir string, desc ocispec.Descriptor) error {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := newRepo(t, &testreg.Server{Host: host})
	return transfer.Pull(t.Context(), r, []transfer.Job{{Desc: desc, Open: func() (transfer.Partial, error) {
		return store.OpenPartial(root, "weights", desc)
	}}}, transfer.PullOptions{})
}

// TestPullUntilKilled is the process that TestPullAfterKill kills.
func TestPullUntilKilled(t *testing.T) {
	args := strings.Split(os.Getenv("TRANSFER_TEST_PULL"), "|")
	if len(args) != 3 {
		t.Skip("only for TestPullAfterKill")
	}
	desc := ocispec.Descriptor{Digest: digest.Digest(args[2]), Size: killedBytes}
	if err := pullInto(t, args[0], args[1], desc); err != nil {
		t.Fatal(err)
	}
}

const killedBytes = 128 << 20

// A pull that is killed half-way fetches little more than the other half when it
// is run again, also if some of what it left has changed since.
func TestPullAfterKill(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process")
	}
	desc, data := content(91, killedBytes)
	for _, spoilt := range []bool{false, true} {
		t.Run(fmt.Sprint("spoilt ", spoilt), func(t *testing.T) {
			s := testreg.New(t, testreg.Options{Handler: serving(data)})
			s.Add(testreg.Rule{Method: "GET", Path: "/blobs/sha256:", Do: testreg.Drip(1<<20, time.Millisecond)})
			dir := t.TempDir()
			killHalfway(t, s, dir, desc)
			if spoilt {
				spoil(t, filepath.Join(dir, "weights.partial"))
			}
			s.Reset()
			if err := pullInto(t, s.Host, dir, desc); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "weights"))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("the file is wrong: %v", err)
			}
			most := int64(killedBytes * 58 / 100)
			if spoilt {
				most += 16 << 20
			}
			t.Logf("%d %% were served again", served(s)*100/killedBytes)
			if again := served(s); again > most {
				t.Errorf("%d MiB were served again of %d", again>>20, killedBytes>>20)
			}
		})
	}
}

// killHalfway pulls the blob into dir in another process, and kills that when half
// of the bytes have been served. It must not end before, for whatever reason, nor
// take for ever.
func killHalfway(t *testing.T, s *testreg.Server, dir string, desc ocispec.Descriptor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestPullUntilKilled$")
	cmd.Env = append(os.Environ(), "TRANSFER_TEST_PULL="+s.Host+"|"+dir+"|"+desc.Digest.String())
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for served(s) < desc.Size/2 {
		select {
		case err := <-ended:
			t.Fatalf("the pull ended too early, %d bytes were served: %v, %v\n%s", served(s), err, ctx.Err(), &said)
		case <-look.C:
		}
	}
	_ = cmd.Process.Kill()
	if err := <-ended; cmd.ProcessState.Exited() {
		t.Fatalf("the pull ended before it was killed: %v\n%s", err, &said)
	}
}

// spoil changes a byte of what was written last.
func spoil(t *testing.T, name string) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	at := fi.Size() - 1<<20
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
}

// served returns how many bytes of blobs a server has sent.
func served(s *testreg.Server) int64 {
	var n int64
	for _, r := range s.Requests() {
		if r.Method == http.MethodGet && strings.Contains(r.Path, "/blobs/sha256:") {
			n += r.BytesOut
		}
	}
	return n
}
