package testmodel

import (
	"fmt"
	"math/rand/v2"
)

// The sizes of the model that [Transformer] makes.
const (
	TransformerHidden = 512
	TransformerVocab  = 8448
	transformerInner  = 1408
)

// Transformer returns the tensors of a language model of so many layers, in
// BF16, in their usual order: 17.3 MB for embedding and head and 6.4 MB for each
// layer. The numbers are noise, which does not compress and of which no two
// pieces are alike, and the same for the same seed.
func Transformer(seed byte, layers int) []Tensor {
	src := rand.NewChaCha8([32]byte{seed})
	tensor := func(name string, shape ...int64) Tensor {
		n := int64(2)
		for _, d := range shape {
			n *= d
		}
		data := make([]byte, n)
		_, _ = src.Read(data) // never fails
		return Tensor{Name: name, DType: "BF16", Shape: shape, Data: data}
	}
	const h, inner = TransformerHidden, transformerInner
	out := []Tensor{tensor("model.embed_tokens.weight", TransformerVocab, h)}
	for i := range layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		out = append(out, tensor(p+"input_layernorm.weight", h))
		for _, name := range []string{"k", "o", "q", "v"} {
			out = append(out, tensor(p+"self_attn."+name+"_proj.weight", h, h))
		}
		out = append(
			out,
			tensor(p+"mlp.down_proj.weight", h, inner), tensor(p+"mlp.gate_proj.weight", inner, h), tensor(p+"mlp.up_proj.weight", inner, h),
			tensor(p+"post_attention_layernorm.weight", h),
		)
	}
	return append(out, tensor("model.norm.weight", h), tensor("lm_head.weight", TransformerVocab, h))
}
