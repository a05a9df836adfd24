package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A model is a directory to push.
type model struct {
	name   string
	dir    string
	layout string   // the same as an OCI layout, with the tag v1
	files  []string // below dir, in order
	size   int64    // bytes of all files
}

// meta are the small files that every model has.
var meta = map[string]string{
	"config.json": `{"architectures":["LlamaForCausalLM"],"model_type":"llama"}` + "\n",
	"README.md":   "---\nlicense: apache-2.0\n---\n# A model of random numbers\n",
}

// writeModel writes files and what every model has to a new directory.
func writeModel(root, name string, files []weights) (*model, error) {
	dir := filepath.Join(root, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	for _, f := range files {
		if err := f.write(dir); err != nil {
			return nil, err
		}
	}
	return finishModel(name, dir)
}

// writeSmall writes a model of many files of text, of kib KiB and a few bytes.
func writeSmall(root, name string, files int, kib int64) (*model, error) {
	dir := filepath.Join(root, name)
	for i := range files {
		at := filepath.Join(dir, fmt.Sprintf("data-%02d", i/100))
		if err := os.MkdirAll(at, 0o755); err != nil {
			return nil, err
		}
		f, err := os.Create(filepath.Join(at, fmt.Sprintf("part-%05d.json", i)))
		if err != nil {
			return nil, err
		}
		_, began := io.WriteString(f, `"`)
		err = tensor{name: f.Name()[len(root):], rows: kib, cols: 256}.write(hex.NewEncoder(f))
		_, ended := io.WriteString(f, "\"\n")
		if err := errors.Join(began, err, ended, f.Close()); err != nil {
			return nil, err
		}
	}
	return finishModel(name, dir)
}

func finishModel(name, dir string) (*model, error) {
	for file, text := range meta {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	m := &model{name: name, dir: dir}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		m.files = append(m.files, strings.TrimPrefix(path, dir+"/"))
		m.size += info.Size()
		return nil
	})
	return m, err
}

// digests returns the SHA-256 of each file.
func (m *model) digests() (map[string]string, error) {
	sums := make(map[string]string, len(m.files))
	for _, name := range m.files {
		sum, err := digestOf(filepath.Join(m.dir, name))
		if err != nil {
			return nil, err
		}
		sums[name] = sum
	}
	return sums, nil
}

func digestOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close() // only read
	h := sha256.New()
	if _, err := io.CopyBuffer(h, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// check compares a directory that was pulled with the model.
func (m *model) check(out string) error {
	for _, name := range m.files {
		want, err := digestOf(filepath.Join(m.dir, name))
		if err != nil {
			return err
		}
		got, err := digestOf(filepath.Join(out, name))
		if err != nil {
			return fmt.Errorf("what was pulled is not the model: %w", err)
		}
		if got != want {
			return fmt.Errorf("what was pulled is not the model: %s differs", name)
		}
	}
	return nil
}

// writeLayout makes the OCI layout of the model, with oras. Its blobs are the
// files of the model, not copies of them.
func (m *model) writeLayout(ctx context.Context, cfg config, state string, sums map[string]string) error {
	m.layout = m.dir + ".layout"
	args := append([]string{filepath.Join(cfg.peers, "oras"), "push", "--no-tty", "--oci-layout", m.layout + ":v1"}, m.files...)
	if _, err := runAll(ctx, []command{{m.dir, args}}, state); err != nil {
		return err
	}
	for name, sum := range sums {
		blob := filepath.Join(m.layout, "blobs", "sha256", sum)
		if err := os.Remove(blob); err != nil {
			return err
		}
		if err := os.Link(filepath.Join(m.dir, name), blob); err != nil {
			return err
		}
	}
	return nil
}

// modelfile and kitfile are what modctl and kit want to know of a model.
func modelfile() string {
	return "CONFIG *.json\nMODEL *.safetensors\nDOC *.md\n"
}

func (m *model) kitfile() string {
	var b strings.Builder
	b.WriteString("manifestVersion: 1.0.0\npackage: {name: bench}\nmodel:\n  name: bench\n  path: ./\n")
	return b.String()
}
