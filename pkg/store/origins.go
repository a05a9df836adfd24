package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	originsName     = originsDir + "/log"
	maxOriginsBytes = 4 << 20
	maxOriginLine   = 1 << 10
	maxOriginsOf    = 8 // repositories remembered for a blob
)

// origins is a list of where blobs have been seen, one line each, kept as a
// file that is only appended to and cut in half when it is too long.
type origins struct {
	mu    sync.Mutex
	known map[digest.Digest][]string // newest last
	size  int64                      // of the file as it is known
	read  time.Time                  // when it was
}

// Remember notes that a registry has the blob in a repository ("host/name"), so
// that it can be mounted from there. It is a hint: a failure to write it down
// is no failure, and the registry has the last word.
func (s *Store) Remember(dgst digest.Digest, repository string) {
	line := string(dgst) + " " + repository
	if _, _, ok := parseOrigin(line); !ok {
		return
	}
	s.origins.mu.Lock()
	defer s.origins.mu.Unlock()
	s.loadOrigins()
	if slices.Contains(s.origins.known[dgst], repository) {
		return
	}
	s.origins.add(dgst, repository)
	f, err := s.root.OpenFile(originsName, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	n, _ := f.WriteString(line + "\n")
	f.Close()
	s.origins.size += int64(n)
	if s.origins.size > maxOriginsBytes {
		s.cutOrigins()
	}
}

// Origins returns the repositories ("host/name") of a host in which the blob
// has been seen, the latest first.
func (s *Store) Origins(dgst digest.Digest, host string) []string {
	s.origins.mu.Lock()
	defer s.origins.mu.Unlock()
	s.loadOrigins()
	var found []string
	for _, repository := range slices.Backward(s.origins.known[dgst]) {
		if strings.HasPrefix(repository, host+"/") {
			found = append(found, repository)
		}
	}
	return found
}

// loadOrigins reads the file if another process has written to it.
func (s *Store) loadOrigins() {
	if s.origins.known != nil && time.Since(s.origins.read) < time.Second {
		return // two processes that write would else read it all for each line
	}
	s.origins.read = time.Now()
	fi, err := s.root.Lstat(originsName)
	if errors.Is(err, fs.ErrNotExist) {
		s.origins.known, s.origins.size = make(map[digest.Digest][]string), 0
		return
	}
	if err != nil || s.origins.known != nil && fi.Size() == s.origins.size {
		return
	}
	raw, err := readFile(s.root, originsName, 2*maxOriginsBytes)
	if err != nil {
		raw = nil
	}
	s.origins.known, s.origins.size = make(map[digest.Digest][]string), fi.Size()
	for line := range bytes.Lines(raw) {
		if dgst, repository, ok := parseOrigin(strings.TrimSuffix(string(line), "\n")); ok {
			s.origins.add(dgst, repository)
		}
	}
}

func (o *origins) add(dgst digest.Digest, repository string) {
	if o.known == nil { // the file could not be read
		o.known = make(map[digest.Digest][]string)
	}
	list := o.known[dgst]
	if i := slices.Index(list, repository); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	list = append(list, repository)
	o.known[dgst] = list[max(0, len(list)-maxOriginsOf):]
}

// cutOrigins keeps the newer half of the file.
func (s *Store) cutOrigins() {
	raw, err := readFile(s.root, originsName, 2*maxOriginsBytes)
	if err != nil {
		_ = s.root.Remove(originsName)
		return
	}
	raw = raw[max(0, len(raw)-maxOriginsBytes/2):]
	_, raw, _ = bytes.Cut(raw, []byte("\n"))
	temp := path.Join(ingestDir, tempPrefix+random())
	if writeFile(s.disk, s.root, small{name: temp, data: raw, perm: 0o600}) == nil && s.root.Rename(temp, originsName) != nil {
		_ = s.root.Remove(temp)
	}
}

// parseOrigin takes a line apart. A line cut off by a crash has a digest or a
// name that is not one, or names a repository that declines the mount.
func parseOrigin(line string) (digest.Digest, string, bool) {
	hex, repository, ok := strings.Cut(line, " ")
	dgst := digest.Digest(hex)
	if !ok || len(line) > maxOriginLine || dgst.Validate() != nil {
		return "", "", false
	}
	host, name, ok := strings.Cut(repository, "/")
	if !ok || host == "" || name == "" || strings.ContainsFunc(repository, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", "", false
	}
	return dgst, repository, true
}
