package store

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
)

const (
	pushesVersion  = 1
	maxPushes      = 16 // repositories remembered for a directory
	maxPushText    = 1 << 10
	maxPushesBytes = 64 << 10
)

type pushes struct {
	Version    int      `json:"version"`
	References []string `json:"references"` // newest first, one for each repository
}

// NotePush notes that the files of a directory are those of the version that
// reference ("host/name:tag@digest") names. Of each repository the last is kept.
func (s *Store) NotePush(dir, reference string) error {
	if len(reference) > maxPushText {
		return fmt.Errorf("note push of %.64q: longer than %d bytes", reference, maxPushText)
	}
	name, err := pushesName(dir)
	if err != nil {
		return fmt.Errorf("note push: %w", err)
	}
	if err := makeDirs(s.disk, s.root, statDir, 0o700); err != nil {
		return fmt.Errorf("note push: %w", err)
	}
	all := slices.DeleteFunc(s.readPushes(name), func(r string) bool { return repositoryOf(r) == repositoryOf(reference) })
	all = append([]string{reference}, all...)
	raw, err := json.Marshal(pushes{pushesVersion, all[:min(len(all), maxPushes)]})
	if err != nil {
		return fmt.Errorf("note push: %w", err)
	}
	if err := s.replaceFile(name, raw, 0o600); err != nil {
		return fmt.Errorf("note push: %w", err)
	}
	return nil
}

// Pushes returns what was noted of a directory by [Store.NotePush], the newest
// first. It is a hint: another directory may have taken its place.
func (s *Store) Pushes(dir string) []string {
	name, err := pushesName(dir)
	if err != nil {
		return nil
	}
	return s.readPushes(name)
}

// pushesName is the file for a directory, beside its digests.
func pushesName(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	return path.Join(statDir, hex.EncodeToString(sum[:])+".pushes"), nil
}

// readPushes reads a file, or nothing of one that is not whole or not ours.
func (s *Store) readPushes(name string) []string {
	for _, n := range []string{".", statDir, name} {
		if fi, err := s.root.Lstat(n); err != nil || CheckPrivate(fi) != nil {
			return nil
		}
	}
	raw, err := readFile(s.root, name, maxPushesBytes)
	if err != nil {
		return nil
	}
	var all pushes
	if err := json.Unmarshal(raw, &all, json.RejectUnknownMembers(true)); err != nil || all.Version != pushesVersion {
		return nil
	}
	return all.References[:min(len(all.References), maxPushes)]
}

// repositoryOf cuts tag and digest from a reference.
func repositoryOf(reference string) string {
	reference, _, _ = strings.Cut(reference, "@")
	if i := strings.LastIndexByte(reference, ':'); i > strings.LastIndexByte(reference, '/') {
		reference = reference[:i]
	}
	return reference
}
