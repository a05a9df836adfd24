package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// RecordPushed writes into a directory that [Unpack] has filled that its files
// are now those of p, which was packed from it and is known by reference. What
// is kept there of signatures is about another artifact from then on, and goes.
// In a directory that has no record nothing is written, and the error wraps
// fs.ErrNotExist.
func RecordPushed(dir, reference string, p *Packed) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Lstat(RecordFile); err != nil {
		return err
	}
	old, err := readRecord(root, RecordFile)
	if err != nil {
		return err
	}
	if old.Digest == p.Descriptor.Digest {
		return nil
	}
	r := record{Version: recordVersion, Reference: reference, MediaType: p.Descriptor.MediaType, Digest: p.Descriptor.Digest, Files: []recordedFile{}}
	for _, f := range p.Files {
		// A shard that was cut on the way is not there.
		if info, err := root.Lstat(f.Path); err == nil && info.Mode().IsRegular() && info.Size() == f.Size {
			r.Files = append(r.Files, recordedFile{Path: f.Path, Digest: f.Digest, Size: f.Size})
		}
	}
	slices.SortFunc(r.Files, func(a, b recordedFile) int { return strings.Compare(a.Path, b.Path) })
	raw, err := encodeJSON(r)
	if err != nil {
		return fmt.Errorf("encode %s: %w", RecordFile, err)
	}
	if err := root.Remove(EvidenceFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := replaceControl(root, ManifestFile, p.Manifest); err != nil {
		return err
	}
	return replaceControl(root, RecordFile, append(raw, '\n'))
}

// replaceControl puts a file in the place of another in one step: the old one may
// be shared with other directories.
func replaceControl(root *os.Root, name string, data []byte) error {
	temp := name + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err := root.WriteFile(temp, data, mode)
	if err == nil {
		err = settleFile(root, temp)
	}
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(root.Remove(temp)))
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
