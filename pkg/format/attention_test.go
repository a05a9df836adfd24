package format_test

import (
	"fmt"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format"
)

func TestCacheBytes(t *testing.T) {
	gguf := func(kv ...any) string {
		m := testmodel.GGUFModel{KV: []testmodel.KV{{Key: "general.architecture", Value: "llama"}}}
		for i := 0; i < len(kv); i += 2 {
			m.KV = append(m.KV, testmodel.KV{Key: "llama." + kv[i].(string), Value: kv[i+1]})
		}
		m.Tensors = []testmodel.GGUFTensor{{Name: "a", Dims: []uint64{4}, Type: 0, Data: make([]byte, 16)}}
		return string(testmodel.GGUFFile(m))
	}
	tests := map[string]struct {
		name, content string
		want          int64
	}{
		// Llama 3.1 8B: 128 KiB for each token.
		"grouped":      {"config.json", `{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}`, 131072},
		"head_dim":     {"config.json", `{"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "hidden_size": 1024, "head_dim": 128}`, 114688},
		"all heads":    {"config.json", `{"n_layer": 12, "n_head": 12, "n_embd": 768}`, 36864},
		"latent":       {"config.json", `{"num_hidden_layers": 61, "num_attention_heads": 128, "hidden_size": 7168, "kv_lora_rank": 512, "qk_rope_head_dim": 64}`, 70272},
		"in text":      {"config.json", `{"text_config": {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 8}}`, 64},
		"no layers":    {"config.json", `{"num_attention_heads": 2, "hidden_size": 8}`, 0},
		"no heads":     {"config.json", `{"num_hidden_layers": 2, "hidden_size": 8}`, 0},
		"too much":     {"config.json", `{"num_hidden_layers": 9007199254740992, "num_attention_heads": 2, "hidden_size": 8}`, 0},
		"far too much": {"config.json", `{"num_hidden_layers": 60000, "num_attention_heads": 1000000, "head_dim": 1000000}`, 0},
		"gguf": {"m-Q4_K_M.gguf", gguf("block_count", uint32(32), "attention.head_count", uint32(32),
			"attention.head_count_kv", uint32(8), "embedding_length", uint32(4096)), 131072},
		"gguf with lengths": {"m-Q4_K_M.gguf", gguf("block_count", uint32(2), "attention.head_count", uint32(4), "attention.head_count_kv", uint32(1),
			"attention.key_length", uint32(256), "attention.value_length", uint32(128)), 2 * 2 * (256 + 128)},
		"gguf without": {"m-Q4_K_M.gguf", gguf(), 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m, err := format.Describe(t.Context(), memory(map[string]string{test.name: test.content}))
			if err != nil || len(m.Problems) > 0 {
				t.Fatal(err, fmt.Sprint(m.Problems))
			}
			if m.CacheBytes != test.want {
				t.Errorf("%d bytes for each token, want %d", m.CacheBytes, test.want)
			}
		})
	}
}
