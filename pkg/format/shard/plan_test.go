package shard_test

import (
	"context"
	"errors"
	"maps"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/malformed"
	"github.com/modelreg/modelreg/pkg/format/shard"
)

func TestStays(t *testing.T) {
	big := testmodel.SafetensorsFile(weights(8, 1000), nil)
	tests := map[string]map[string][]byte{
		"small":     {"model.safetensors": testmodel.SafetensorsFile(weights(1, 10), nil)},
		"projector": {"mmproj-model-f16.gguf": ggufModel(testmodel.GGUFModel{})["tiny-BF16.gguf"]},
		"other":     {"model.bin": big, "weights.pt": big},
		"index alone": {
			"model.safetensors.index.json": []byte(`{"metadata":{},"weight_map":{"a":"model-00001-of-00002.safetensors"}}`),
		},
	}
	for name, model := range tests {
		t.Run(name, func(t *testing.T) {
			if sets := plan(t, model, 20_000); len(sets) != 0 {
				t.Errorf("%v are replaced", sets[0].Replaced)
			}
		})
	}
}

func TestPlanRefuses(t *testing.T) {
	big := testmodel.SafetensorsFile(weights(8, 1000), nil)
	shards := func() map[string][]byte {
		model := map[string][]byte{"model.safetensors": big}
		return apply(t, model, plan(t, model, 40_000))
	}
	lacking := shards()
	delete(lacking, "model-00002-of-00002.safetensors")
	unindexed := maps.Clone(lacking)
	delete(unindexed, "model.safetensors.index.json")
	twice := shards()
	twice["model-00002-of-00002.safetensors"] = twice["model-00001-of-00002.safetensors"]
	both := shards()
	both["model.safetensors"] = big
	badIndex := shards()
	badIndex["model.safetensors.index.json"] = []byte(`[]`)
	tests := map[string]struct {
		model map[string][]byte
		want  error
	}{
		"a shard is missing":        {lacking, shard.ErrConflict},
		"one of the numbers is not": {unindexed, shard.ErrConflict},
		"a tensor is there twice":   {twice, shard.ErrConflict},
		"two sets of one name":      {both, shard.ErrConflict},
		"index is no index":         {badIndex, malformed.ErrMalformed},
		"no safetensors":            {map[string][]byte{"model.safetensors": make([]byte, 30_000)}, malformed.ErrMalformed},
		"no GGUF":                   {map[string][]byte{"model.gguf": make([]byte, 30_000)}, malformed.ErrMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := shard.Plan(t.Context(), files(t, test.model), 20_000); !errors.Is(err, test.want) {
				t.Errorf("Plan error = %v, want %v", err, test.want)
			}
		})
	}
	if _, err := shard.Plan(t.Context(), nil, shard.MinLimit-1); err == nil {
		t.Error("a limit below the smallest is taken")
	}
}

func TestPlanHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	model := map[string][]byte{"model.safetensors": testmodel.SafetensorsFile(weights(8, 1000), nil)}
	if _, err := shard.Plan(ctx, files(t, model), 20_000); !errors.Is(err, context.Canceled) {
		t.Errorf("Plan error = %v, want %v", err, context.Canceled)
	}
}

// What is cut and reads must have the same tensors as before.
func FuzzPlan(f *testing.F) {
	f.Add(testmodel.SafetensorsFile(weights(3, 100), map[string]string{"format": "pt"}), uint16(700), false)
	f.Add(ggufModel(testmodel.GGUFModel{})["tiny-BF16.gguf"][:4000], uint16(0), true)
	f.Add(testmodel.GGUFFile(testmodel.TinyGGUF()), uint16(0), true)
	f.Fuzz(func(t *testing.T, data []byte, more uint16, isGGUF bool) {
		name := "m.safetensors"
		if isGGUF {
			name = "m.gguf"
		}
		model := map[string][]byte{name: data, "pad.safetensors.txt": nil}
		limit := int64(shard.MinLimit) + int64(more)
		sets, err := shard.Plan(t.Context(), files(t, model), limit)
		if err != nil {
			if !errors.Is(err, malformed.ErrMalformed) && !errors.Is(err, shard.ErrConflict) {
				t.Errorf("Plan error = %v", err)
			}
			return
		}
		out := apply(t, model, sets)
		if len(sets) == 0 {
			return
		}
		if diff := gocmp.Diff(tensors(t, model), tensors(t, out)); diff != "" {
			t.Errorf("tensors (-want +got):\n%s", diff)
		}
	})
}
