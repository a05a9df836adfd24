package diff

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// layers makes the names of some tensors in some layers.
func layers(format string, from, to int, parts ...string) []string {
	var out []string
	for i := from; i <= to; i++ {
		for _, p := range parts {
			out = append(out, fmt.Sprintf(format, i, p))
		}
	}
	return out
}

func TestCompress(t *testing.T) {
	tests := map[string]struct {
		names []string
		want  []string
		where string
	}{
		"nothing": {nil, nil, ""},
		"llama": {
			append(layers("model.layers.%d.mlp.%s.weight", 28, 31, "gate_proj", "up_proj", "down_proj"), "lm_head.weight"),
			[]string{"model.layers.28-31.mlp.{down,gate,up}_proj.weight", "lm_head.weight"},
			"layers 28-31, lm_head",
		},
		"all of llama": {
			append(layers("model.layers.%d.%s", 0, 11, "self_attn.q_proj.weight", "self_attn.k_proj.weight", "mlp.up_proj.weight", "input_layernorm.weight"), "model.embed_tokens.weight", "model.norm.weight"),
			[]string{
				"model.layers.0-11.self_attn.{k,q}_proj.weight", "model.layers.0-11.mlp.up_proj.weight", "model.layers.0-11.input_layernorm.weight",
				"model.embed_tokens.weight", "model.norm.weight",
			},
			"layers 0-11, model.embed_tokens, model.norm",
		},
		"bert": {
			layers("bert.encoder.layer.%d.%s", 9, 11, "attention.self.query.weight", "attention.self.query.bias", "attention.self.value.weight", "attention.self.value.bias", "output.dense.weight"),
			[]string{"bert.encoder.layer.9-11.attention.self.{query,value}.{bias,weight}", "bert.encoder.layer.9-11.output.dense.weight"},
			"layers 9-11",
		},
		"gpt-2": {
			append(layers("h.%d.%s", 3, 4, "attn.c_attn.weight", "attn.c_attn.bias", "mlp.c_fc.weight", "mlp.c_fc.bias"), "wte.weight", "wpe.weight"),
			[]string{"h.3,4.attn.c_attn.{bias,weight}", "h.3,4.mlp.c_fc.{bias,weight}", "wte.weight", "wpe.weight"},
			"layers 3,4, wpe, wte",
		},
		"mixtral": {
			slices.Concat(
				layers("model.layers.%d.block_sparse_moe.experts.5.%s.weight", 0, 2, "w1", "w2", "w3"),
				layers("model.layers.%d.block_sparse_moe.experts.6.%s.weight", 0, 2, "w1", "w2", "w3"),
				layers("model.layers.%d.block_sparse_moe.gate.%s", 0, 2, "weight"),
			),
			[]string{"model.layers.0-2.block_sparse_moe.experts.5,6.{w1,w2,w3}.weight", "model.layers.0-2.block_sparse_moe.gate.weight"},
			"layers 0-2",
		},
		"gguf": {
			append(layers("blk.%d.%s.weight", 0, 3, "ffn_down", "ffn_gate", "attn_q"), "output.weight", "token_embd.weight"),
			[]string{"blk.0-3.{attn_q,ffn_down,ffn_gate}.weight", "output.weight", "token_embd.weight"},
			"layers 0-3, output, token_embd",
		},
		"flax":               {layers("params/layers_%d/mlp/%s", 10, 12, "kernel"), []string{"params/layers_10-12/mlp/kernel"}, "layers 10-12"},
		"not a whole block":  {[]string{"l.0.a", "l.1.a", "l.1.b"}, []string{"l.0,1.a", "l.1.b"}, "layers 0,1"},
		"holes":              {layers("l.%d.%s", 0, 0, "a"), []string{"l.0.a"}, "layer 0"},
		"numbers by value":   {[]string{"l.10.a", "l.9.a", "l.2.a"}, []string{"l.2,9,10.a"}, "layers 2,9,10"},
		"no layers":          {[]string{"head.weight", "head.bias", "norm.weight"}, []string{"head.{bias,weight}", "norm.weight"}, "head, norm"},
		"leading zeros":      {[]string{"l.01.a", "l.02.a"}, []string{"l.01.a", "l.02.a"}, "l.01.a, l.02.a"},
		"braces in the name": {[]string{"a.{1,2}.b", "a.0.b"}, []string{"a.{1,2}.b", "a.0.b"}, "layer 0, a.{1,2}.b"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var got []string
			members := 0
			for _, p := range compress(tt.names) {
				got = append(got, p.String())
				members += len(p.members)
				n := 1
				for _, alt := range p.parts {
					n *= len(alt)
				}
				if n != len(p.members) {
					t.Errorf("%s stands for %d names, made of %d", p, n, len(p.members))
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if members != len(tt.names) {
				t.Errorf("the patterns are made of %d names, not %d", members, len(tt.names))
			}
			if got := layersOf(tt.names); got != tt.where {
				t.Errorf("where = %q, want %q", got, tt.where)
			}
		})
	}
}

// Names of a large mixture of experts take no time to speak of.
func BenchmarkCompress(b *testing.B) {
	var names []string
	for layer := range 60 {
		for expert := range 160 {
			for _, w := range []string{"gate", "up", "down"} {
				names = append(names, fmt.Sprintf("model.layers.%d.mlp.experts.%d.%s_proj.weight", layer, expert, w))
			}
		}
	}
	for b.Loop() {
		if n := len(compress(names)); n != 1 {
			b.Fatal(n)
		}
	}
}

// Names that nobody would give cost no more than others.
func TestCompressBounds(t *testing.T) {
	long := strings.Repeat("a.1.", 50_000)
	if got := compress([]string{long + "x", long + "y"}); len(got) != 2 || got[0].String() != long+"x" {
		t.Errorf("%d patterns", len(got))
	}
	many := make([]string, maxNames+1)
	for i := range many {
		many[i] = fmt.Sprintf("l.%d.w", i)
	}
	if got := compress(many); len(got) != len(many) {
		t.Errorf("%d patterns of %d names", len(got), len(many))
	}
}
