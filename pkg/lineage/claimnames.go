package lineage

import (
	"maps"
	"slices"
	"strings"
)

// What llama.cpp calls the parts of a layer, and what they are called in
// safetensors. Of the second, the first name is that of most families; a further
// one stands for the same tensor in others.
var layerNames = map[string][]string{
	"attn_q":              {"self_attn.q_proj"},
	"attn_k":              {"self_attn.k_proj"},
	"attn_v":              {"self_attn.v_proj"},
	"attn_qkv":            {"self_attn.qkv_proj"},
	"attn_output":         {"self_attn.o_proj"},
	"attn_q_norm":         {"self_attn.q_norm"},
	"attn_k_norm":         {"self_attn.k_norm"},
	"attn_norm":           {"input_layernorm"},
	"ffn_gate":            {"mlp.gate_proj"},
	"ffn_up":              {"mlp.up_proj", "mlp.gate_up_proj"},
	"ffn_down":            {"mlp.down_proj"},
	"ffn_norm":            {"post_attention_layernorm", "pre_feedforward_layernorm"},
	"post_attention_norm": {"post_attention_layernorm"},
	"post_ffw_norm":       {"post_feedforward_layernorm"},
	"ffn_gate_inp":        {"mlp.gate", "block_sparse_moe.gate"},
	"ffn_gate_exps":       {"mlp.experts.gate_proj", "block_sparse_moe.experts.w1"},
	"ffn_up_exps":         {"mlp.experts.up_proj", "block_sparse_moe.experts.w3"},
	"ffn_down_exps":       {"mlp.experts.down_proj", "block_sparse_moe.experts.w2"},
	"ffn_gate_inp_shexp":  {"mlp.shared_expert_gate"},
	"ffn_gate_shexp":      {"mlp.shared_expert.gate_proj"},
	"ffn_up_shexp":        {"mlp.shared_expert.up_proj"},
	"ffn_down_shexp":      {"mlp.shared_expert.down_proj"},
}

// topNames are those outside of layers.
var topNames = map[string]string{
	"token_embd.weight":  "embed_tokens.weight",
	"output_norm.weight": "norm.weight",
	"output.weight":      "lm_head.weight",
}

// prefixes are put before the names of the language model by whatever holds it.
var prefixes = []string{"base_model.model.", "model.language_model.", "language_model.model.", "language_model.", "transformer.", "model."}

// canonical is what a tensor is called without what holds the model.
func canonical(name string) string {
	for again := true; again; {
		again = false
		for _, p := range prefixes {
			if rest, ok := strings.CutPrefix(name, p); ok {
				name, again = rest, true
			}
		}
	}
	return name
}

// isGGUF tells whether tensors have the names that llama.cpp gives.
func (v *view) isGGUF() bool {
	_, ok := v.tensors["token_embd.weight"]
	return ok || v.blocks
}

// renamed is v with names of llama.cpp as they are in other, as far as other has
// such tensors. unknown counts those that have none.
func (v *view) renamed(other *view) (out *view, unknown int) {
	out = &view{tensors: make(map[string]tensorView, len(v.tensors)), blocks: v.blocks}
	for _, name := range slices.Sorted(maps.Keys(v.tensors)) {
		as := name
		if to, ok := topNames[name]; ok {
			as = to
		} else if candidates := layerTensor(name); len(candidates) > 0 {
			as = candidates[0]
			for _, c := range candidates {
				if _, there := other.tensors[c]; !there {
					continue
				}
				if _, taken := out.tensors[c]; !taken {
					as = c
				}
			}
		} else {
			unknown++
		}
		out.tensors[as] = v.tensors[name]
	}
	return out, unknown
}

// layerTensor is what blk.N.PART.weight can be called in safetensors.
func layerTensor(name string) []string {
	rest, ok := strings.CutPrefix(name, "blk.")
	if !ok {
		return nil
	}
	number, rest, _ := strings.Cut(rest, ".")
	part, suffix, _ := strings.Cut(rest, ".")
	var out []string
	for _, as := range layerNames[part] {
		out = append(out, "layers."+number+"."+as+"."+suffix)
	}
	return out
}

// buffers are tensors that hold no weights: they follow from the configuration,
// and some writers leave them out.
func isBuffer(name string) bool {
	for _, end := range []string{"rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias", "rope_freqs.weight", "position_ids", "rope_factors_long.weight", "rope_factors_short.weight"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// beside are the endings of tensors that stand beside packed weights.
var beside = []string{
	".qzeros", ".scales", ".g_idx", ".biases", ".weight_scale", ".weight_scale_inv", ".weight_zero_point", ".weight_shape",
	".weight_g_idx", ".weight_global_scale", ".input_scale", ".input_global_scale", ".output_scale", ".k_scale", ".v_scale", ".SCB", ".weight_format",
	".weight.absmax", ".weight.quant_map", ".weight.nested_absmax", ".weight.nested_quant_map",
}

// isBeside tells whether a tensor belongs to packed weights, and to which module.
func isBeside(name string) (module string, ok bool) {
	for _, end := range beside {
		if m, ok := strings.CutSuffix(name, end); ok {
			return m, true
		}
	}
	m, _, ok := strings.Cut(name, ".weight.quant_state.")
	return m, ok
}

// foreignTower tells whether a tensor is of a part that sees or hears, which
// converters to GGUF write into a file of its own.
func foreignTower(name string) bool {
	for _, part := range []string{"vision", "visual", "multi_modal_projector", "mm_projector", "audio", "image_newline"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// layerOf takes the number of the layer out of a name: what is left is the same
// for all layers. It is not ok outside of layers.
func layerOf(name string) (part, number string, ok bool) {
	fields := strings.Split(name, ".")
	for i, f := range fields {
		if f != "" && strings.Trim(f, "0123456789") == "" {
			number = f
			fields[i] = "*"
			return strings.Join(fields, "."), number, true
		}
	}
	return name, "", false
}

// isHead tells whether a tensor is outside of the layers and not an embedding or a
// norm: what is put on a model for a task.
func isHead(name string) bool {
	if _, _, layered := layerOf(name); layered {
		return false
	}
	return !slices.ContainsFunc([]string{"embed", "wte", "wpe", "norm", "ln_f"}, func(part string) bool { return strings.Contains(name, part) })
}

// isVocabulary tells whether the first dimension of a tensor is that of the
// vocabulary.
func isVocabulary(name string) bool {
	return isEmbedding(name) || strings.HasPrefix(name, "lm_head.") || strings.HasPrefix(name, "output.") || strings.HasPrefix(name, "embed_out.")
}

func isEmbedding(name string) bool {
	for _, n := range []string{"embed_tokens.weight", "wte.weight", "token_embd.weight", "word_embeddings.weight", "embed_in.weight", "tok_embeddings.weight"} {
		if strings.HasSuffix(name, n) {
			return true
		}
	}
	return false
}
