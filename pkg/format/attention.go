package format

import (
	"cmp"

	"github.com/modelreg/modelreg/pkg/format/gguf"
)

// maxAttention bounds every number of an attention: no model comes near, and
// their product stays far from an overflow.
const maxAttention = 1 << 20

// An attention is the shape of a transformer's. Zero values are not told.
type attention struct {
	layers, heads, hidden int64
	kvHeads               int64 // zero: as many as heads
	key, value            int64 // numbers in each head; zero: hidden divided among the heads
	latent                int64 // numbers in place of all heads together
}

// cacheBytes is what keys and values of one token take in 16 bits; 0 if the
// shape is not told, or cannot be.
func (a attention) cacheBytes() int64 {
	for _, n := range []int64{a.layers, a.heads, a.hidden, a.kvHeads, a.key, a.value, a.latent} {
		if n < 0 || n > maxAttention {
			return 0
		}
	}
	if a.latent > 0 {
		return 2 * a.layers * a.latent
	}
	head := a.key
	if head == 0 && a.heads > 0 {
		head = a.hidden / a.heads
	}
	perLayer := cmp.Or(a.kvHeads, a.heads) * (head + cmp.Or(a.value, head))
	if perLayer > maxAttention || a.layers > maxAttention/16 {
		return 0
	}
	return 2 * a.layers * perLayer
}

// configAttention takes the shape from config.json, whose names transformers
// and the older models before it have given.
func configAttention(o object) attention {
	first := func(keys ...string) int64 {
		for _, key := range keys {
			if n := o.number(key); n > 0 {
				return n
			}
		}
		return 0
	}
	a := attention{
		layers: first("num_hidden_layers", "n_layer", "num_layers", "n_layers"), heads: first("num_attention_heads", "n_head", "n_heads"),
		hidden: first("hidden_size", "n_embd", "d_model"), kvHeads: first("num_key_value_heads", "num_kv_heads"), key: first("head_dim"),
	}
	if rank := o.number("kv_lora_rank"); rank > 0 { // DeepSeek's latent attention
		a.latent = rank + o.number("qk_rope_head_dim")
	}
	return a
}

// ggufAttention takes the shape from the metadata of a GGUF file.
func ggufAttention(h *gguf.Header) attention {
	number := func(key string) int64 {
		n, _ := h.Int(h.Architecture() + "." + key)
		return max(n, 0)
	}
	a := attention{
		layers: number("block_count"), heads: number("attention.head_count"), hidden: number("embedding_length"),
		kvHeads: number("attention.head_count_kv"), key: number("attention.key_length"), value: number("attention.value_length"),
	}
	if rank := number("attention.kv_lora_rank"); rank > 0 {
		a.latent = rank + number("rope.dimension_count")
	}
	return a
}
