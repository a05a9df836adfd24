package hub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/ref"
)

// A TensorList is the tensors of a version, or of files on this machine, in the
// order of the files. Of several representations of one model, such as
// safetensors beside GGUF, all are there.
type TensorList struct {
	Reference string       `json:"reference"` // with its digest; the path for local files
	Digest    string       `json:"digest"`    // of the version; "" for local files
	Files     int          `json:"files"`     // that hold tensors
	Elements  int64        `json:"elements"`  // of all tensors together
	Size      int64        `json:"size"`      // of all tensors together, as stored, in bytes
	Verified  bool         `json:"verified"`  // the version's digest covers what was read; false for local files
	Tensors   []TensorInfo `json:"tensors"`
	Problems  []string     `json:"problems,omitempty"` // files that are not what they say
}

// A TensorInfo is one tensor in a file.
type TensorInfo struct {
	Name   string  `json:"name"`
	DType  string  `json:"dtype"`  // as its format spells it: "BF16", "Q4_K"; "" if not known
	Shape  []int64 `json:"shape"`  // outermost dimension first
	Bytes  int64   `json:"bytes"`  // as stored; -1 if the header does not tell
	Offset int64   `json:"offset"` // in the file; -1 if the header does not tell
	File   string  `json:"file"`
}

// Tensors lists the tensors in the file path of the version that r resolves to,
// or in all its files when path is empty. It reads headers of weights by range
// and fetches none of them, but for their chunk indexes, about a hundredth of a
// percent of their size, which verify what is read.
func (h *Hub) Tensors(ctx context.Context, r ref.Reference, path string) (*TensorList, error) {
	t, a, err := h.openModel(ctx, r)
	if err != nil {
		return nil, err
	}
	list, err := a.Tensors(ctx, t.repo.Origin(), path, artifact.ReaderOptions{Indexes: h.chunkIndexes()})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.ref, tensorless(err))
	}
	res := tensorList(list.Tensors, list.Problems)
	res.Reference, res.Digest, res.Verified = t.ref.String(), t.desc.Digest.String(), list.Verified
	return res, nil
}

// LocalTensors is [Hub.Tensors] for a directory, or a single file, on this
// machine. Hidden directories are passed over; symbolic links to files are
// followed, for that is what caches of models are made of.
func LocalTensors(ctx context.Context, name, path string) (*TensorList, error) {
	files, err := localFiles(name)
	if err != nil {
		return nil, err
	}
	var tensors []format.Tensor
	var problems []format.Problem
	switch i := fileIndex(files, path); {
	case i >= 0:
		tensors, err = format.Tensors(ctx, files[i])
	case path != "":
		err = fmt.Errorf("tensors of %s: %w", path, fs.ErrNotExist)
	default:
		tensors, problems, err = format.AllTensors(ctx, files)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, tensorless(err))
	}
	res := tensorList(tensors, problems)
	res.Reference = name
	return res, nil
}

// fileIndex finds the one file that is asked for, -1 for all.
func fileIndex(files []format.File, path string) int {
	for i, f := range files {
		if f.Path == path || path == "" && len(files) == 1 {
			return i
		}
	}
	return -1
}

// tensorless makes a mistake of the caller of a file without tensors.
func tensorless(err error) error {
	if errors.Is(err, format.ErrUnknownFormat) {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return err
}

// localFiles lists a file, or the files below a directory.
func localFiles(name string) ([]format.File, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []format.File{localFile(name, filepath.Base(name), info.Size())}, nil
	}
	var files []format.File
	err = filepath.WalkDir(name, func(at string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if at != name && strings.HasPrefix(e.Name(), ".") {
				return fs.SkipDir
			}
			return nil
		}
		info, err := os.Stat(at)
		if err != nil || !info.Mode().IsRegular() {
			return nil // a link to nowhere, a pipe: nothing that holds tensors
		}
		rel, err := filepath.Rel(name, at)
		if err != nil {
			return err
		}
		files = append(files, localFile(at, filepath.ToSlash(rel), info.Size()))
		return nil
	})
	return files, err
}

func localFile(name, path string, size int64) format.File {
	return format.File{
		Path: path, Size: size,
		Open: func(context.Context) (format.ReaderAtCloser, error) { return os.Open(name) },
	}
}

func tensorList(tensors []format.Tensor, problems []format.Problem) *TensorList {
	res := &TensorList{Tensors: make([]TensorInfo, len(tensors))}
	files := map[string]bool{}
	for i, t := range tensors {
		n := int64(1)
		for _, d := range t.Shape {
			n *= d
		}
		res.Elements = sum(res.Elements, n)
		res.Size = sum(res.Size, max(t.Bytes, 0))
		files[t.File] = true
		if t.Shape == nil {
			t.Shape = []int64{}
		}
		res.Tensors[i] = TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape, Bytes: t.Bytes, Offset: t.Offset, File: t.File}
	}
	res.Files = len(files)
	for _, p := range problems {
		res.Problems = append(res.Problems, p.Path+": "+p.Err.Error())
	}
	return res
}

// sum stays at the largest number for headers that claim more.
func sum(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
