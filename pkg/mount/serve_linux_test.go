package mount_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mount"
)

// runJob does what must be another process: one that maps a file which it serves
// itself stands still.
func runJob(job, arg string) int {
	err := error(nil)
	switch job {
	case "map":
		err = mapFile(arg)
	case "serve":
		var m *mount.FS
		if m, err = mount.New(context.Background(), nil, mount.Options{}); err == nil {
			err = m.Serve(context.Background(), arg, func() { fmt.Println("there") })
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mapFile prints the digest of a file that is read by faults of pages alone.
func mapFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, int(info.Size()), syscall.PROT_READ, syscall.MAP_SHARED)
	if err != nil {
		return err
	}
	fmt.Printf("%x", sha256.Sum256(data))
	return syscall.Munmap(data)
}

// needFUSE skips where nothing can be mounted, unless who began the tests has seen
// that it can: see tools/fuse.sh, which says so aloud.
func needFUSE(t *testing.T) {
	t.Helper()
	if os.Getenv("MODELREG_TEST_FUSE") != "" {
		return
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("NO FILE SYSTEM IS MOUNTED in this test: %v", err)
	}
	f.Close()
	_, err = exec.LookPath("fusermount3")
	if os.Geteuid() != 0 && err != nil {
		t.Skipf("NO FILE SYSTEM IS MOUNTED in this test: this is not root, and %v", err)
	}
}

// A shown file system is mounted on a directory.
type shown struct {
	dir  string
	stop context.CancelFunc
	over chan error // how Serve ended
}

// show mounts files, until the end of the test at the latest.
func show(t *testing.T, files []mount.File, opts mount.Options) *shown {
	t.Helper()
	needFUSE(t)
	ctx, stop := context.WithCancel(t.Context())
	m, err := mount.New(context.WithoutCancel(ctx), files, opts)
	if err != nil {
		t.Fatal(err)
	}
	s := &shown{dir: t.TempDir(), stop: stop, over: make(chan error, 1)}
	there := make(chan struct{})
	go func() { s.over <- m.Serve(ctx, s.dir, func() { close(there) }) }()
	t.Cleanup(func() {
		stop()
		s.ended(t)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-there:
	case err := <-s.over:
		s.over <- nil
		if errors.Is(err, fs.ErrPermission) && os.Getenv("MODELREG_TEST_FUSE") == "" {
			t.Skipf("NO FILE SYSTEM IS MOUNTED in this test: %v", err)
		}
		t.Fatal(err)
	}
	return s
}

// ended waits for the end of Serve.
func (s *shown) ended(t *testing.T) {
	t.Helper()
	select {
	case err := <-s.over:
		if err != nil {
			t.Errorf("Serve: %v", err)
		}
		s.over <- nil
	case <-time.After(20 * time.Second):
		t.Error("Serve does not end")
	}
	if err := mount.CheckDir(s.dir); err != nil {
		t.Errorf("after Serve: %v", err)
	}
}

// job runs this test's binary for something that it does elsewhere.
func job(t *testing.T, name, arg string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, arg)
	cmd.Env = append(os.Environ(), "MOUNT_TEST_JOB="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// tree is a model with a large file and small ones.
func tree(large *source) []mount.File {
	files := []mount.File{{Path: "model.safetensors", Size: int64(len(large.data)), Open: large.open}}
	for _, name := range []string{"config.json", "onnx/q4/model.onnx", "onnx/README.md", "empty"} {
		s := &source{data: []byte(name), bad: make(map[int64]error)}
		if name == "empty" {
			s.data = nil
		}
		files = append(files, mount.File{Path: name, Size: int64(len(s.data)), Open: s.open})
	}
	return files
}

func TestMounted(t *testing.T) {
	large := newSource(8, 20<<20+77)
	s := show(t, tree(large), mount.Options{Name: "host/org/m:v1@sha256:1"})
	var found []string
	inodes := map[uint64]bool{}
	err := filepath.WalkDir(s.dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(s.dir, name)
		inodes[info.Sys().(*syscall.Stat_t).Ino] = true
		found = append(found, fmt.Sprintf("%s %v %d %d", rel, info.Mode(), info.Size()*int64(1-btoi(info.IsDir())), info.ModTime().Unix()))
		return nil
	})
	want := []string{
		". dr-xr-xr-x 0 0", "config.json -r--r--r-- 11 0", "empty -r--r--r-- 0 0", "model.safetensors -r--r--r-- 20971597 0",
		"onnx dr-xr-xr-x 0 0", "onnx/README.md -r--r--r-- 14 0", "onnx/q4 dr-xr-xr-x 0 0", "onnx/q4/model.onnx -r--r--r-- 18 0",
	}
	if diff := cmp.Diff(want, found); diff != "" || err != nil || len(inodes) != len(want) {
		t.Errorf("%v, %d inodes, files: %s", err, len(inodes), diff)
	}
	if n, _ := large.asked(); n != 0 {
		t.Errorf("looking fetched %d bytes", n)
	}
	for name, want := range map[string][]byte{"model.safetensors": large.data, "onnx/README.md": []byte("onnx/README.md"), "empty": nil} {
		if got, err := os.ReadFile(filepath.Join(s.dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %s: %d bytes, %v", name, len(got), err)
		}
	}
	if n, _ := large.asked(); n != int64(len(large.data)) {
		t.Errorf("reading fetched %d bytes of %d", n, len(large.data))
	}
	for name, err := range map[string]error{
		"write":  os.WriteFile(filepath.Join(s.dir, "config.json"), nil, 0o600),
		"create": os.WriteFile(filepath.Join(s.dir, "new"), nil, 0o600),
		"remove": os.Remove(filepath.Join(s.dir, "config.json")),
	} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := mount.CheckDir(s.dir); !errors.Is(err, artifact.ErrTarget) {
		t.Errorf("CheckDir of a mount: %v", err)
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestMapped(t *testing.T) {
	large := newSource(9, 10<<20+1)
	s := show(t, tree(large), mount.Options{})
	out, err := job(t, "map", filepath.Join(s.dir, "model.safetensors")).Output()
	if want := fmt.Sprintf("%x", sha256.Sum256(large.data)); err != nil || string(out) != want {
		t.Errorf("mapped: %v, digest %s, want %s", err, out, want)
	}
}

// Wrong bytes are an I/O error, and reading goes on elsewhere.
func TestMountedErrors(t *testing.T) {
	large := newSource(10, 4<<20)
	large.fail(1<<20, errors.New("wrong bytes"))
	warned := make(chan string, 10)
	s := show(t, tree(large), mount.Options{Warn: func(m string) { warned <- m }})
	if _, err := os.ReadFile(filepath.Join(s.dir, "model.safetensors")); !errors.Is(err, syscall.EIO) {
		t.Errorf("read: %v", err)
	}
	f, err := os.Open(filepath.Join(s.dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	check(t, f, large.data, 3<<20, 1<<20)
	if got := <-warned; got != "wrong bytes" || len(warned) > 0 {
		t.Errorf("warned %q, and %d more", got, len(warned))
	}
}

// A mount that is in use goes away all the same.
func TestUnmountInUse(t *testing.T) {
	s := show(t, tree(newSource(11, 1<<20)), mount.Options{})
	f, err := os.Open(filepath.Join(s.dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s.stop()
	s.ended(t)
	if _, err := f.ReadAt(make([]byte, 10), 0); err == nil {
		t.Error("a file of it can be read")
	}
}

func TestUnmountedFromOutside(t *testing.T) {
	s := show(t, tree(newSource(12, 1<<20)), mount.Options{})
	unmount := exec.CommandContext(t.Context(), "umount", s.dir)
	if os.Geteuid() != 0 {
		unmount = exec.CommandContext(t.Context(), "fusermount3", "-u", s.dir)
	}
	if out, err := unmount.CombinedOutput(); err != nil {
		t.Fatalf("umount: %v: %s", err, out)
	}
	s.ended(t)
}

// What a killed process leaves is told from other directories.
func TestKilled(t *testing.T) {
	needFUSE(t)
	dir := t.TempDir()
	cmd := job(t, "serve", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if strings.TrimSpace(line) != "there" {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // what it wrote to stderr says why
		t.Fatalf("nothing is mounted: %q, %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if err := mount.CheckDir(dir); !errors.Is(err, mount.ErrDead) {
		t.Errorf("CheckDir: %v", err)
	}
	unmount := exec.CommandContext(t.Context(), "umount", dir)
	if os.Geteuid() != 0 {
		unmount = exec.CommandContext(t.Context(), "fusermount3", "-u", dir)
	}
	if out, err := unmount.CombinedOutput(); err != nil {
		t.Errorf("umount: %v: %s", err, out)
	}
	if err := mount.CheckDir(dir); err != nil {
		t.Errorf("CheckDir after umount: %v", err)
	}
}
