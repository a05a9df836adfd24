package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	resultsDir      = "results"
	resultsVersion  = 1
	maxResults      = 50_000
	maxResultBytes  = 64 << 10  // of one
	maxResultsBytes = 32 << 20  // of one file
	maxAllResults   = 128 << 20 // of all files
	maxResultFiles  = 1024
	resultsKept     = 90 * 24 * time.Hour // after the last use
	resultsDay      = 24 * time.Hour      // a use that is noted already
)

// Results remember what a program has worked out of bytes, so that it need not
// read them again. Each is kept by a key that must name all that decides it: the
// bytes, by digest or [FileKey], and what was asked. What the store cannot know
// is how the answer is found: that is the maker, and of another maker nothing is
// known.
//
// They save work only: what cannot be kept is not kept, what is unreadable or
// damaged is forgotten, and so is what was not used for 90 days. Methods may be
// called at the same time.
type Results struct {
	store *Store
	name  string
	maker string
	now   func() time.Time

	mu      sync.Mutex
	entries map[string]resultEntry
	changed bool
}

type resultEntry struct {
	Key   string         `json:"key"`
	Used  int64          `json:"used"` // s
	Value jsontext.Value `json:"value"`
}

type resultsFile struct {
	Version int           `json:"version"`
	Maker   string        `json:"maker"`
	Entries []resultEntry `json:"entries"`
}

// Results opens what a maker, such as "scan 1", has found in a scope, such as a
// directory or a repository: each scope is a file. The error is not nil if others
// than the user could have written to it, which then must not be used.
func (s *Store) Results(maker, scope string) (*Results, error) {
	sum := sha256.Sum256([]byte(scope))
	r := &Results{
		store: s, name: path.Join(resultsDir, hex.EncodeToString(sum[:])), maker: maker,
		now: time.Now, entries: make(map[string]resultEntry),
	}
	if err := s.privateDir(resultsDir); err != nil {
		return nil, fmt.Errorf("open results: %w", err)
	}
	fi, err := s.root.Lstat(r.name)
	if err != nil {
		return r, nil //nolint:nilerr // nothing is known yet, or can be
	}
	if err := CheckPrivate(fi); err != nil {
		return nil, fmt.Errorf("open results: %w", err)
	}
	if raw, err := readFile(s.root, r.name, maxResultsBytes); err == nil {
		for _, e := range parseResults(raw, maker) {
			r.entries[e.Key] = e
		}
		_ = s.root.Chtimes(r.name, time.Time{}, time.Now()) // what is dropped first
	}
	return r, nil
}

// parseResults reads a file: a digest in hexadecimal, a line feed, and the JSON
// that it is of. Of one that is not whole, or another maker's, it reads nothing.
func parseResults(raw []byte, maker string) []resultEntry {
	sum, body, ok := bytes.Cut(raw, []byte("\n"))
	if !ok || string(sum) != resultsSum(body) {
		return nil
	}
	var file resultsFile
	if json.Unmarshal(body, &file, json.RejectUnknownMembers(true)) != nil ||
		file.Version != resultsVersion || file.Maker != maker || len(file.Entries) > maxResults {
		return nil
	}
	return file.Entries
}

func resultsSum(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// resultKey bounds keys, which hold names.
func resultKey(key string) string { return resultsSum([]byte(key)) }

// Lookup writes what is kept under the key to value, as JSON, and tells whether
// there is anything.
func (r *Results) Lookup(key string, value any) bool {
	key = resultKey(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[key]
	if !ok || json.Unmarshal(e.Value, value, json.RejectUnknownMembers(true)) != nil {
		return false
	}
	if now := r.now(); now.Sub(time.Unix(e.Used, 0)).Abs() > resultsDay {
		e.Used = now.Unix()
		r.entries[key], r.changed = e, true
	}
	return true
}

// Record keeps the value as JSON, unless that is longer than 64 KiB.
func (r *Results) Record(key string, value any) {
	raw, err := json.Marshal(value)
	if err != nil || len(raw) > maxResultBytes {
		return
	}
	key = resultKey(key)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[key] = resultEntry{Key: key, Used: r.now().Unix(), Value: raw}
	r.changed = true
}

// Save writes the results for the next process, if there is something new. Of too
// many those used longest ago are dropped.
func (r *Results) Save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.changed {
		return nil
	}
	body, err := json.Marshal(resultsFile{Version: resultsVersion, Maker: r.maker, Entries: r.kept()})
	if err != nil {
		return fmt.Errorf("save results: %w", err)
	}
	raw := slices.Concat([]byte(resultsSum(body)), []byte("\n"), body)
	if err := r.store.replaceFile(r.name, raw, 0o600); err != nil {
		return fmt.Errorf("save results: %w", err)
	}
	r.changed = false
	r.store.makeRoom(resultsDir, maxAllResults, maxResultFiles)
	return nil
}

// kept are the entries to be written, those used last first.
func (r *Results) kept() []resultEntry {
	old := r.now().Add(-resultsKept).Unix()
	var all []resultEntry
	for _, e := range r.entries {
		if e.Used > old {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b resultEntry) int {
		return cmp.Or(cmp.Compare(b.Used, a.Used), cmp.Compare(a.Key, b.Key))
	})
	size := 1 << 10 // of the rest
	for i, e := range all {
		size += len(e.Value) + 128 // its key and names
		if i == maxResults || size > maxResultsBytes {
			return all[:i]
		}
	}
	return all
}

// FileSettled tells whether a file was left alone for so long before now, when fi
// was taken, that any change from then on shows in its [FileKey].
func FileSettled(fi fs.FileInfo, now time.Time) bool {
	e, ok := identify(fi)
	e.Recorded = now.UnixNano()
	return ok && !e.racy()
}
