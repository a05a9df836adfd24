package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	uploadsDir = "uploads"

	// uploadBlock is the length of every note of an upload: one write fills
	// it, so that a process killed in the middle leaves the old note or the
	// new one.
	uploadBlock   = 16 << 10
	uploadVersion = 1

	// uploadAge is how long registries keep uploads at least: distribution
	// sweeps after a week, hosted ones after a day.
	uploadAge  = 24 * time.Hour
	maxUploads = 512
)

// errUploadTooLong is why a note is not written.
var errUploadTooLong = errors.New("address of the upload is too long")

// An UploadNote is what this machine knows of an upload to a registry that may
// not have come to its end: where it goes on. It belongs to one process until
// it is closed, for two that write to one upload spoil it.
//
// The address can hold what lets anybody write to the upload: it is kept in a
// file that only its user can read.
type UploadNote struct {
	store *Store
	file  *os.File
	name  string
	note  uploadNote
	now   func() time.Time
}

type uploadNote struct {
	Version    int    `json:"version"`
	Repository string `json:"repository"`
	Key        string `json:"key"`
	Location   string `json:"location"` // "" when there is none
	Time       int64  `json:"time"`     // s
}

// Upload opens the note of the upload to a repository ("host/name") of what key
// stands for: a digest, or a [FileKey] with whatever the caller adds. An error
// that wraps [ErrLocked] means that another process is uploading it. The caller
// closes the note.
func (s *Store) Upload(repository, key string) (*UploadNote, error) {
	if err := s.makeUploadsDir(); err != nil {
		return nil, fmt.Errorf("open note of upload: %w", err)
	}
	sum := sha256.Sum256([]byte(repository + "\n" + key))
	n := &UploadNote{
		store: s, name: path.Join(uploadsDir, hex.EncodeToString(sum[:])), now: time.Now,
		note: uploadNote{Version: uploadVersion, Repository: repository, Key: key},
	}
	f, fresh, err := openLocked(s.root, n.name)
	if err != nil {
		return nil, fmt.Errorf("open note of upload: %w", err)
	}
	n.file = f
	if fresh {
		s.sweepUploads()
		if err := f.Chmod(0o600); err != nil {
			return nil, errors.Join(fmt.Errorf("open note of upload: %w", err), f.Close())
		}
		return n, nil
	}
	if err := n.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("open note of upload: %w", err), f.Close())
	}
	return n, nil
}

// makeUploadsDir makes sure that only the user can write what is believed.
func (s *Store) makeUploadsDir() error {
	if err := makeDirs(s.disk, s.root, uploadsDir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{".", uploadsDir} {
		fi, err := s.root.Lstat(name)
		if err != nil {
			return err
		}
		if err := CheckPrivate(fi); err != nil {
			return err
		}
	}
	return nil
}

// load reads the note. What cannot be read, is of something else or is old
// counts as nothing.
func (n *UploadNote) load() error {
	fi, err := n.file.Stat()
	if err != nil {
		return err
	}
	if err := CheckPrivate(fi); err != nil {
		return err
	}
	raw := make([]byte, uploadBlock)
	if k, err := n.file.ReadAt(raw, 0); k != uploadBlock {
		return ignoreEOF(err)
	}
	if old, ok := parseUpload(raw); ok && old.Repository == n.note.Repository && old.Key == n.note.Key {
		age := n.now().Sub(time.Unix(old.Time, 0))
		if age >= -time.Hour && age < uploadAge {
			n.note.Location = old.Location
		}
	}
	return nil
}

// ignoreEOF is for files that are shorter than they should be.
func ignoreEOF(err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return err
	}
	return nil
}

func parseUpload(raw []byte) (uploadNote, bool) {
	var note uploadNote
	err := json.Unmarshal(bytes.TrimRight(raw, " "), &note, json.RejectUnknownMembers(true))
	return note, err == nil && note.Version == uploadVersion
}

// Location returns where the upload goes on; "" when it must begin.
func (n *UploadNote) Location() string { return n.note.Location }

// Keep writes down where the upload goes on. With "" it is over, well or not,
// and there is nothing to go on with.
func (n *UploadNote) Keep(location string) error {
	n.note.Location = location
	if location == "" {
		if err := n.file.Truncate(0); err != nil {
			return fmt.Errorf("clear note of upload: %w", err)
		}
		return nil
	}
	n.note.Time = n.now().Unix()
	raw, err := json.Marshal(n.note)
	if err == nil && len(raw) > uploadBlock {
		err = errUploadTooLong
	}
	if err != nil {
		return fmt.Errorf("write note of upload: %w", err)
	}
	raw = append(raw, bytes.Repeat([]byte{' '}, uploadBlock-len(raw))...)
	if _, err := n.store.disk.WriteAt(n.file, raw, 0); err != nil {
		return fmt.Errorf("write note of upload: %w", err)
	}
	return nil
}

// Close lets others have the note, and removes it if nothing is in it.
func (n *UploadNote) Close() error {
	var err error
	if n.note.Location == "" {
		err = n.store.root.Remove(n.name) // while it is locked: nobody else has it
	}
	return errors.Join(err, n.file.Close())
}

// sweepUploads removes notes that are too old to be of use, and the oldest of
// too many.
func (s *Store) sweepUploads() {
	entries, err := s.list(uploadsDir)
	if err != nil {
		return
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && e.Name() != habitsFile {
			files = append(files, fi)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	for i, fi := range files {
		if i < maxUploads && time.Since(fi.ModTime()) < uploadAge {
			continue
		}
		name := path.Join(uploadsDir, fi.Name())
		f, err := s.root.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			continue
		}
		if _, same, err := lockAt(f, s.root, name); err == nil && same {
			_ = s.root.Remove(name)
		}
		_ = f.Close()
	}
}

// FileKey names a file as it is now: a changed file has another key. It is ""
// where the system does not tell enough of a file.
func FileKey(fi fs.FileInfo) string {
	e, ok := identify(fi)
	if !ok {
		return ""
	}
	return fmt.Sprintf("file:%d:%d:%d:%d:%d", e.Device, e.Inode, e.Size, e.Mtime, e.Ctime)
}
