package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/store"
)

func statCache(t *testing.T, s *store.Store, dir string) *store.StatCache {
	t.Helper()
	c, err := s.StatCache(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func stat(t *testing.T, name string) fs.FileInfo {
	t.Helper()
	fi, err := os.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return fi
}

// later is a clock by which files of a test were left alone for a time.
func later(by time.Duration) func() time.Time {
	return func() time.Time { return time.Now().Add(by) }
}

func TestStatCache(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "freebsd" {
		t.Skip("the system does not tell change times")
	}
	right := digest.FromString("content")
	write := func(text string) func(name string) error {
		return func(name string) error { return os.WriteFile(name, []byte(text), 0o600) }
	}
	tests := []struct {
		name   string
		record time.Duration // after the file was written
		change func(name string) error
		want   bool
	}{
		{"unchanged", 3 * time.Second, func(string) error { return nil }, true},
		{"recorded at once", 0, func(string) error { return nil }, false},
		{"recorded after a second", time.Second, func(string) error { return nil }, false},
		{"recorded in the past", -time.Hour, func(string) error { return nil }, false},
		{"longer", 3 * time.Second, write("content!"), false},
		{"other bytes of the same size", 3 * time.Second, write("CONTENT"), false},
		{"mode", 3 * time.Second, func(name string) error { return os.Chmod(name, 0o644) }, false},
		{"other bytes and the old time", 3 * time.Second, func(name string) error {
			fi, err := os.Stat(name)
			return errors.Join(err, write("CONTENT")(name), os.Chtimes(name, fi.ModTime(), fi.ModTime()))
		}, false},
		{"another file", 3 * time.Second, func(name string) error {
			fi, err := os.Stat(name)
			return errors.Join(err, write("CONTENT")(name+"2"), os.Chtimes(name+"2", fi.ModTime(), fi.ModTime()), os.Rename(name+"2", name))
		}, false},
		{"a link to it", 3 * time.Second, func(name string) error {
			return errors.Join(os.Rename(name, name+"2"), os.Symlink(name+"2", name))
		}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, dir := openStore(t, t.TempDir()), t.TempDir()
			name := filepath.Join(dir, "f")
			if err := os.WriteFile(name, []byte("content"), 0o600); err != nil {
				t.Fatal(err)
			}
			c := statCache(t, s, dir)
			c.SetNow(later(test.record))
			c.Record(stat(t, name), right)
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			waitForTick(t, stat(t, name).ModTime())
			if err := test.change(name); err != nil {
				t.Fatal(err)
			}
			for _, c := range []*store.StatCache{c, statCache(t, s, dir)} {
				got, ok := c.Lookup(stat(t, name))
				if ok != test.want || ok && got != right {
					t.Errorf("Lookup = %q, %v, want %v", got, ok, test.want)
				}
			}
		})
	}
}

// A file just written is known by the clock of its file system, a tick later;
// whatever is done to it after that is seen.
func TestStatCacheRecordAt(t *testing.T) {
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "freebsd" {
		t.Skip("the system does not tell change times")
	}
	for name, test := range map[string]struct {
		after  time.Duration
		change bool
		want   bool
	}{
		"a tick":              {store.StatTick + time.Microsecond, false, true},
		"at once":             {0, false, false},
		"half a tick":         {store.StatTick / 2, false, false},
		"a tick, and changed": {store.StatTick + time.Microsecond, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := openStore(t, t.TempDir()), t.TempDir()
			file := filepath.Join(dir, "f")
			info := written(t, file)
			c := statCache(t, s, dir)
			c.RecordAt(info, digest.FromString("content"), info.ModTime().Add(test.after))
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			if test.change {
				waitForTick(t, info.ModTime())
				err := errors.Join(os.WriteFile(file, []byte("CONTENT"), 0o600), os.Chtimes(file, info.ModTime(), info.ModTime()))
				if err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := statCache(t, s, dir).Lookup(stat(t, file)); ok != test.want {
				t.Errorf("known: %v, want %v", ok, test.want)
			}
		})
	}
}

// written makes a file whose times do not happen to be whole milliseconds.
func written(t *testing.T, file string) fs.FileInfo {
	t.Helper()
	for range 1000 {
		if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		if info := stat(t, file); info.ModTime().Nanosecond()%1e6 != 0 {
			return info
		}
	}
	t.Fatal("the file system has no fine times")
	return nil
}

// waitForTick returns when files that are written get another time than then.
func waitForTick(t *testing.T, then time.Time) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "clock")
	for {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if now := stat(t, name).ModTime(); now.After(then) {
			return
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStatCacheOfDirectories keeps what is known below one directory apart from
// what is known below another.
func TestStatCacheOfDirectories(t *testing.T) {
	s, dir := openStore(t, t.TempDir()), t.TempDir()
	name := filepath.Join(dir, "f")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		if runtime.GOOS == "windows" {
			t.Skip("links need a privilege there")
		}
		t.Fatal(err)
	}
	c := statCache(t, s, dir)
	c.SetNow(later(time.Minute))
	c.Record(stat(t, name), digest.FromString(""))
	c.Record(stat(t, dir), digest.FromString("a directory"))
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	if _, ok := statCache(t, s, link).Lookup(stat(t, name)); !ok {
		t.Error("Lookup by a link to the directory found nothing")
	}
	if _, ok := statCache(t, s, t.TempDir()).Lookup(stat(t, name)); ok {
		t.Error("Lookup in the cache of another directory found something")
	}
	if _, ok := c.Lookup(stat(t, dir)); ok {
		t.Error("Lookup of a directory found something")
	}
}

func TestStatCacheForgetsWhatItCannotRead(t *testing.T) {
	for name, text := range map[string]string{
		"empty":          "",
		"cut off":        `{"version":1,"entries":[`,
		"later version":  `{"version":2,"entries":[]}`,
		"unknown member": `{"version":1,"entries":[],"more":1}`,
		"zeros":          strings.Repeat("\x00", 4096),
	} {
		t.Run(name, func(t *testing.T) {
			s, dir := openStore(t, t.TempDir()), t.TempDir()
			file := filepath.Join(dir, "f")
			if err := os.WriteFile(file, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			c := statCache(t, s, dir)
			c.SetNow(later(time.Minute))
			c.Record(stat(t, file), digest.FromString(""))
			if err := c.Save(); err != nil {
				t.Fatal(err)
			}
			cache := onlyFile(t, filepath.Join(s.Dir(), "stat"))
			if fi := stat(t, cache); runtime.GOOS != "windows" && fi.Mode().Perm() != 0o600 {
				t.Errorf("cache has mode %v, want 0600", fi.Mode())
			}
			if err := os.WriteFile(cache, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, ok := statCache(t, s, dir).Lookup(stat(t, file)); ok {
				t.Error("Lookup found something")
			}
		})
	}
}

func TestStatCacheMustBePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	s, dir := openStore(t, t.TempDir()), t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := statCache(t, s, dir)
	c.SetNow(later(time.Minute))
	c.Record(stat(t, file), digest.FromString(""))
	if err := c.Save(); err != nil {
		t.Fatal(err)
	}
	caches := filepath.Join(s.Dir(), "stat")
	for _, name := range []string{caches, onlyFile(t, caches)} {
		mode := stat(t, name).Mode().Perm()
		if err := os.Chmod(name, mode|0o022); err != nil {
			t.Fatal(err)
		}
		if _, err := s.StatCache(dir); err == nil {
			t.Errorf("StatCache with a %s that all can write error = nil, want one", filepath.Base(name))
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	statCache(t, s, dir)
}

func onlyFile(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s has %v, %v, want one file", dir, found, err)
	}
	return found[0]
}

func TestOrigins(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	a, b := digest.FromString("a"), digest.FromString("b")
	for _, repository := range []string{"one.example/x", "one.example/y", "two.example/x", "one.example/x"} {
		s.Remember(a, repository)
	}
	for _, bad := range []string{"", "one.example", "/x", "one.example/", "one.example/x y", "one.example/x\ny", "one.example/\x1b[1m", "one.example/" + strings.Repeat("x", 2000)} {
		s.Remember(b, bad)
	}
	s.Remember("sha256:..", "one.example/x")
	for range 2 {
		for _, test := range []struct {
			dgst digest.Digest
			host string
			want string
		}{
			{a, "one.example", "one.example/y one.example/x"},
			{a, "two.example", "two.example/x"},
			{a, "one", ""},
			{a, "", ""},
			{b, "one.example", ""},
		} {
			if got := strings.Join(s.Origins(test.dgst, test.host), " "); got != test.want {
				t.Errorf("Origins(%s, %q) = %q, want %q", test.dgst[:10], test.host, got, test.want)
			}
		}
		// What a crash cut off is passed over, and so is what was never a line.
		log := filepath.Join(dir, "origins", "log")
		f, err := os.OpenFile(log, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteString("garbage\n\x00\x00\n" + a.String()[:20] + "\n" + b.String() + "\n" + b.String() + " one")
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, dir)
	}
}

func TestOriginsAreBounded(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	const limit = 4 << 20
	log := filepath.Join(dir, "origins", "log")
	line := digest.FromString("old").String() + " one.example/" + strings.Repeat("x", 400) + "\n"
	if err := os.WriteFile(log, []byte(strings.Repeat(line, limit/len(line))), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		s.Remember(digest.FromString("new"), "one.example/"+strings.Repeat("y", 100+i))
	}
	if n := stat(t, log).Size(); n > limit*3/4 {
		t.Errorf("log has %d bytes after it was cut", n)
	}
	if got := openStore(t, dir).Origins(digest.FromString("new"), "one.example"); len(got) != 8 || len(got[0]) != len("one.example/")+111 {
		t.Errorf("Origins = %d repositories, want the latest 8", len(got))
	}
}
