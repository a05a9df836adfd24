package store

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/go-json-experiment/json"
	"github.com/opencontainers/go-digest"
)

const (
	knownName     = chunksDir + "/files"
	knownVersion  = 1
	maxKnown      = 1024
	maxKnownBytes = 8 << 20
	maxKnownPath  = 4096
)

// A KnownFile is a file outside the store of which there is a chunk index.
type KnownFile struct {
	Path  string        // absolute
	Size  int64         // bytes
	Index digest.Digest // of the index, for [ChunkIndexes.Get]

	id fileID
	at int64 // mtime, ns
}

// A knownEntry is a line of the list of known files.
type knownEntry struct {
	fileID `json:",inline"`
	Path   string        `json:"path"`
	Size   int64         `json:"size"`
	Mtime  int64         `json:"mtime"` // ns
	Index  digest.Digest `json:"index"`
}

type knownList struct {
	Version int          `json:"version"`
	Files   []knownEntry `json:"files"` // newest first
}

// Know notes where files lie whose indexes are kept, so that others can be made
// of their pieces. Of more than 1024 the oldest are forgotten. What a file holds
// later nobody promises: whoever takes bytes from one compares them.
func (c *ChunkIndexes) Know(files ...KnownFile) {
	if len(files) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have := c.entries(); !slices.ContainsFunc(files, func(f KnownFile) bool { return !slices.Contains(have, f.entry()) }) {
		return
	}
	unlock, err := c.store.lockFile(chunksDir)
	if err != nil {
		return
	}
	defer unlock()
	list := knownList{Version: knownVersion}
	for _, f := range files {
		if len(f.Path) <= maxKnownPath && filepath.IsAbs(f.Path) {
			list.Files = append(list.Files, f.entry())
		}
	}
	for _, e := range c.entries() {
		if !slices.ContainsFunc(files, func(f KnownFile) bool { return f.Path == e.Path }) {
			list.Files = append(list.Files, e)
		}
	}
	list.Files = list.Files[:min(len(list.Files), maxKnown)]
	if raw, err := json.Marshal(list); err == nil {
		_ = c.store.replaceFile(knownName, raw, 0o600)
	}
}

func (f KnownFile) entry() knownEntry {
	return knownEntry{fileID: f.id, Path: f.Path, Size: f.Size, Mtime: f.at, Index: f.Index}
}

// NewKnownFile describes the file at path, which fi is of. It reports false on
// systems that do not tell enough to know it again.
func NewKnownFile(path string, fi fs.FileInfo, index digest.Digest) (KnownFile, bool) {
	e, ok := identify(fi)
	if !ok || index.Validate() != nil {
		return KnownFile{}, false
	}
	return KnownFile{Path: path, Size: e.Size, Index: index, id: e.fileID, at: e.Mtime}, true
}

// Files lists the known files that are still there and look as they did, those
// noted last first.
func (c *ChunkIndexes) Files() []KnownFile {
	var out []KnownFile
	for _, e := range c.entries() {
		f := KnownFile{Path: e.Path, Size: e.Size, Index: e.Index, id: e.fileID, at: e.Mtime}
		if fi, err := os.Lstat(f.Path); err == nil && f.is(fi) {
			out = append(out, f)
		}
	}
	return out
}

// is tells whether fi is of the file as it was noted.
func (f KnownFile) is(fi fs.FileInfo) bool {
	e, ok := identify(fi)
	return ok && e.fileID == f.id && e.Size == f.Size && e.Mtime == f.at
}

// Open opens the file, if it still looks as it did.
func (f KnownFile) Open() (*os.File, error) {
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe by now would else wait
	if err != nil {
		return nil, err
	}
	fi, err := file.Stat()
	if err == nil && !f.is(fi) {
		err = fmt.Errorf("open %s: %w: it has changed", f.Path, fs.ErrNotExist)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// entries reads the list, or nothing of one that is not whole.
func (c *ChunkIndexes) entries() []knownEntry {
	raw, err := readFile(c.store.root, knownName, maxKnownBytes)
	if err != nil {
		return nil
	}
	var list knownList
	if json.Unmarshal(raw, &list) != nil || list.Version != knownVersion || len(list.Files) > maxKnown {
		return nil
	}
	return slices.DeleteFunc(list.Files, func(e knownEntry) bool {
		return e.Size < 0 || !filepath.IsAbs(e.Path) || e.Index.Validate() != nil
	})
}
