package hub_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/hub"
)

// Inspecting a model reads headers, whatever its size.
func TestInspectFetchesNoWeights(t *testing.T) {
	const size, most = 8 << 20, 1 << 20
	w := newWorld(t)
	model := t.TempDir()
	weights := testmodel.SafetensorsFile([]testmodel.Tensor{{Name: "big", DType: "F32", Shape: []int64{size / 4}, Data: make([]byte, size)}}, nil)
	if err := os.WriteFile(filepath.Join(model, "model.safetensors"), weights, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Push(t.Context(), model, w.ref("org/big:v1"), hub.PushOptions{}); err != nil {
		t.Fatal(err)
	}
	before := len(w.srv.Requests())
	got, err := w.Inspect(t.Context(), w.ref("org/big:v1"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Model.Parameters != size/4 {
		t.Errorf("%d parameters, want %d", got.Model.Parameters, size/4)
	}
	var moved int64
	for _, r := range w.srv.Requests()[before:] {
		moved += r.BytesOut
	}
	if moved > most {
		t.Errorf("inspect moved %d bytes of %d, want at most %d", moved, size, most)
	}
}
