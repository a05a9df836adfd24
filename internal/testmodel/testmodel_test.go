package testmodel_test

import (
	"io/fs"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
)

func TestWriteNamesItsFiles(t *testing.T) {
	dir := t.TempDir()
	want := testmodel.Write(t, dir)
	var got []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			got = append(got, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-named +written):\n%s", diff)
	}
}

func TestSameBytesEachTime(t *testing.T) {
	writers := map[string]func(testing.TB, string){
		"Safetensors":        testmodel.Safetensors,
		"ShardedSafetensors": testmodel.ShardedSafetensors,
		"GGUF":               testmodel.GGUF,
		"ONNX":               testmodel.ONNX,
		"TorchZip":           testmodel.TorchZip,
		"Numpy":              testmodel.Numpy,
		"Write":              func(t testing.TB, dir string) { testmodel.Write(t, dir) },
	}
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(contents(t, write), contents(t, write)); diff != "" {
				t.Errorf("two runs differ:\n%s", diff)
			}
		})
	}
}

// contents runs write in a new directory and returns what it wrote.
func contents(t *testing.T, write func(testing.TB, string)) map[string]string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir)
	files := make(map[string]string)
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(os.DirFS(dir), path)
		files[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("nothing written")
	}
	return files
}
