package lineage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/lineage"
)

// A shape is a tensor in a test: "name dtype 2 3".
func tensors(lines ...string) lineage.Weights {
	var w lineage.Weights
	for _, l := range lines {
		f := strings.Fields(l)
		t := lineage.Tensor{Name: f[0], DType: f[1], Bytes: 2}
		for _, d := range f[2:] {
			var n int64
			fmt.Sscan(d, &n)
			t.Shape = append(t.Shape, n)
			t.Bytes *= n
		}
		if f[1] != "BF16" {
			t.Bytes /= 2
		}
		w.Tensors = append(w.Tensors, t)
	}
	return w
}

// with is w with further tensors, and others in the place of those of the same
// name.
func with(w lineage.Weights, lines ...string) lineage.Weights {
	more := tensors(lines...)
	out := lineage.Weights{Architecture: w.Architecture}
	for _, t := range w.Tensors {
		if !slices.ContainsFunc(more.Tensors, func(o lineage.Tensor) bool { return o.Name == t.Name }) {
			out.Tensors = append(out.Tensors, t)
		}
	}
	out.Tensors = append(out.Tensors, more.Tensors...)
	return out
}

func without(w lineage.Weights, part string) lineage.Weights {
	out := lineage.Weights{Architecture: w.Architecture}
	for _, t := range w.Tensors {
		if !strings.HasPrefix(t.Name, part) {
			out.Tensors = append(out.Tensors, t)
		}
	}
	return out
}

// llama is a model of layers of width 64.
func llama(layers int) lineage.Weights {
	lines := []string{"model.embed_tokens.weight BF16 320 64", "model.norm.weight BF16 64", "lm_head.weight BF16 320 64"}
	for i := range layers {
		p := fmt.Sprintf("model.layers.%d.", i)
		lines = append(lines, p+"self_attn.q_proj.weight BF16 64 64", p+"self_attn.k_proj.weight BF16 32 64", p+"self_attn.v_proj.weight BF16 32 64",
			p+"self_attn.o_proj.weight BF16 64 64", p+"mlp.gate_proj.weight BF16 128 64", p+"mlp.up_proj.weight BF16 128 64", p+"mlp.down_proj.weight BF16 64 128",
			p+"input_layernorm.weight BF16 64", p+"post_attention_layernorm.weight BF16 64")
	}
	w := tensors(lines...)
	w.Architecture = "LlamaForCausalLM"
	return w
}

// llamaGGUF is the same as llama.cpp has it.
func llamaGGUF(layers int) lineage.Weights {
	lines := []string{"token_embd.weight Q4_K 320 64", "output_norm.weight F32 64", "output.weight Q6_K 320 64", "rope_freqs.weight F32 32"}
	for i := range layers {
		p := fmt.Sprintf("blk.%d.", i)
		lines = append(lines, p+"attn_q.weight Q4_K 64 64", p+"attn_k.weight Q4_K 32 64", p+"attn_v.weight Q4_K 32 64", p+"attn_output.weight Q4_K 64 64",
			p+"ffn_gate.weight Q4_K 128 64", p+"ffn_up.weight Q4_K 128 64", p+"ffn_down.weight Q4_K 64 128", p+"attn_norm.weight F32 64", p+"ffn_norm.weight F32 64")
	}
	return tensors(lines...)
}

// packed replaces the projections of a model by what a packer makes of them.
func packed(w lineage.Weights, pack func(module string, out, in int64) []string) lineage.Weights {
	var out lineage.Weights
	for _, t := range w.Tensors {
		if !strings.Contains(t.Name, "_proj.") {
			out.Tensors = append(out.Tensors, t)
			continue
		}
		out.Tensors = append(out.Tensors, tensors(pack(strings.TrimSuffix(t.Name, ".weight"), t.Shape[0], t.Shape[1])...).Tensors...)
	}
	return out
}

func gptq(m string, out, in int64) []string {
	return []string{
		fmt.Sprintf("%s.qweight I32 %d %d", m, in/8, out), fmt.Sprintf("%s.qzeros I32 %d %d", m, in/32, out/8),
		fmt.Sprintf("%s.scales F16 %d %d", m, in/32, out), fmt.Sprintf("%s.g_idx I32 %d", m, in),
	}
}

func awq(m string, out, in int64) []string {
	return []string{
		fmt.Sprintf("%s.qweight I32 %d %d", m, in, out/8), fmt.Sprintf("%s.qzeros I32 %d %d", m, in/32, out/8), fmt.Sprintf("%s.scales F16 %d %d", m, in/32, out),
	}
}

func compressed(m string, out, in int64) []string {
	return []string{fmt.Sprintf("%s.weight_packed I32 %d %d", m, out, in/8), fmt.Sprintf("%s.weight_scale BF16 %d %d", m, out, in/32), m + ".weight_shape I64 2"}
}

func mlx(m string, out, in int64) []string {
	return []string{fmt.Sprintf("%s.weight U32 %d %d", m, out, in/8), fmt.Sprintf("%s.scales F16 %d %d", m, out, in/32), fmt.Sprintf("%s.biases F16 %d %d", m, out, in/32)}
}

func bnb(m string, out, in int64) []string {
	return []string{fmt.Sprintf("%s.weight U8 %d 1", m, out*in/2), m + ".weight.absmax U8 8", m + ".weight.quant_map F32 16", m + ".weight.quant_state.bitsandbytes__nf4 U8 80"}
}

func fp8(m string, out, in int64) []string {
	return []string{fmt.Sprintf("%s.weight F8_E4M3 %d %d", m, out, in), m + ".weight_scale F32 1", m + ".input_scale F32 1"}
}

func lora(rank, in, out int, modules ...string) lineage.Weights {
	var lines []string
	for _, m := range modules {
		lines = append(lines, fmt.Sprintf("base_model.model.%s.lora_A.weight F32 %d %d", m, rank, in), fmt.Sprintf("base_model.model.%s.lora_B.weight F32 %d %d", m, out, rank))
	}
	return tensors(lines...)
}

func moe(experts string) lineage.Weights {
	lines := []string{"model.embed_tokens.weight BF16 320 64"}
	for e := range strings.FieldsSeq(experts) {
		lines = append(lines, "model.layers.0.mlp.experts."+e+".gate_proj.weight BF16 32 64")
	}
	return tensors(lines...)
}

func TestCheck(t *testing.T) {
	base := llama(3)
	tall := "model.layers.1.mlp.up_proj.weight BF16 256 64"
	q := "model.layers.0.self_attn.q_proj"
	tests := map[string]struct {
		rel         lineage.Relation
		child, base lineage.Weights
		want        lineage.Verdict
		reason      string
	}{
		"GGUF":                          {lineage.Quantized, llamaGGUF(3), base, lineage.Checked, "30 of 30 tensors"},
		"GGUF without its output":       {lineage.Quantized, without(llamaGGUF(3), "output.weight"), base, lineage.Checked, "29 of 30"},
		"GGUF of one layer less":        {lineage.Quantized, llamaGGUF(2), base, lineage.Contradicted, "layers.2.input_layernorm.weight of the base is not in it, and 8 more"},
		"GGUF of another width":         {lineage.Quantized, with(llamaGGUF(3), "blk.1.ffn_up.weight Q4_K 256 64"), base, lineage.Contradicted, "layers.1.mlp.up_proj.weight: 256×64, 128×64 in the base"},
		"GGUF of names nobody knows":    {lineage.Quantized, tensors("blk.0.ssm_a Q4_K 4 4", "token_embd.weight Q4_K 8 4"), tensors("backbone.layers.0.mixer.A_log BF16 4 4"), lineage.Claimed, "no family that is known"},
		"GGUF with a name nobody knows": {lineage.Quantized, with(llamaGGUF(3), "blk.0.attn_sinks.weight F32 4"), with(base, "model.layers.0.self_attn.sinks BF16 4"), lineage.Checked, "30 of 31"},
		"GGUF without what sees":        {lineage.Quantized, llamaGGUF(3), with(base, "vision_tower.patch.weight BF16 4 4"), lineage.Checked, "without what sees"},
		"the base is GGUF":              {lineage.Finetune, base, llamaGGUF(3), lineage.Checked, "30 of 30"},
		"GPTQ":                          {lineage.Quantized, packed(base, gptq), base, lineage.Checked, "30 of 30"},
		"GPTQ of another base":          {lineage.Quantized, packed(base, gptq), with(base, tall), lineage.Contradicted, "layers.1.mlp.up_proj.weight: 128×64, 256×64 in the base"},
		"AWQ":                           {lineage.Quantized, packed(base, awq), base, lineage.Checked, "30 of 30"},
		"AWQ of another base":           {lineage.Quantized, packed(base, awq), with(base, tall), lineage.Contradicted, "128×64, 256×64 in the base"},
		"compressed-tensors":            {lineage.Quantized, packed(base, compressed), base, lineage.Checked, "30 of 30"},
		"MLX":                           {lineage.Quantized, packed(base, mlx), base, lineage.Checked, "30 of 30"},
		"bitsandbytes":                  {lineage.Quantized, packed(base, bnb), base, lineage.Checked, "30 of 30"},
		"bitsandbytes of another base":  {lineage.Quantized, packed(base, bnb), with(base, tall), lineage.Contradicted, "256×64 in the base"},
		"FP8":                           {lineage.Quantized, packed(base, fp8), base, lineage.Checked, "30 of 30"},
		"not smaller":                   {lineage.Quantized, base, base, lineage.Contradicted, "it is not smaller"},
		"experts in one":                {lineage.Converted, tensors("token_embd.weight BF16 320 64", "blk.0.ffn_gate_exps.weight BF16 3 32 64"), moe("0 1 2"), lineage.Checked, "2 of 2"},
		"an expert is missing":          {lineage.Converted, tensors("token_embd.weight BF16 320 64", "blk.0.ffn_gate_exps.weight BF16 3 32 64"), moe("0 1 2 3"), lineage.Contradicted, "3×32×64, 4×32×64"},

		"fine-tune":                 {lineage.Finetune, base, base, lineage.Checked, "30 of 30"},
		"of a packed base":          {lineage.Finetune, base, packed(base, gptq), lineage.Checked, "30 of 30"},
		"resized vocabulary":        {lineage.Finetune, with(base, "model.embed_tokens.weight BF16 328 64", "lm_head.weight BF16 328 64"), base, lineage.Checked, "the vocabulary was resized (328×64, 320×64 in the base)"},
		"another width":             {lineage.Finetune, with(base, tall), base, lineage.Contradicted, "layers.1.mlp.up_proj.weight: 256×64, 128×64 in the base"},
		"another head":              {lineage.Finetune, with(without(base, "lm_head"), "score.weight BF16 2 64"), base, lineage.Checked, "a head of its own (score.weight)"},
		"a layer more":              {lineage.Finetune, llama(4), base, lineage.Contradicted, "layers.3.input_layernorm.weight is not in the base, and 8 more"},
		"a layer less":              {lineage.Finetune, llama(2), base, lineage.Contradicted, "is not in it"},
		"another architecture":      {lineage.Finetune, lineage.Weights{Architecture: "Qwen2ForCausalLM", Tensors: base.Tensors}, base, lineage.Contradicted, "its architecture is Qwen2ForCausalLM"},
		"another task":              {lineage.Finetune, lineage.Weights{Architecture: "LlamaForTokenClassification", Tensors: base.Tensors}, base, lineage.Checked, "30 of 30"},
		"something else":            {lineage.Finetune, tensors("a.weight BF16 2 2"), base, lineage.Contradicted, "is not in it"},
		"a part in front of names":  {lineage.Finetune, tensors("bert.encoder.layer.0.dense.weight BF16 4 4", "classifier.weight BF16 2 4", "bert.embeddings.word_embeddings.weight BF16 9 4"), tensors("encoder.layer.0.dense.weight BF16 4 4", "embeddings.word_embeddings.weight BF16 9 4"), lineage.Checked, "2 of 2"},
		"nothing to compare":        {lineage.Finetune, lineage.Weights{}, base, lineage.Claimed, "no header"},
		"nothing to compare with":   {lineage.Finetune, base, lineage.Weights{}, lineage.Claimed, "the base's"},
		"distilled":                 {lineage.Distilled, base, base, lineage.Claimed, "taught"},
		"a dataset":                 {lineage.Dataset, base, base, lineage.Claimed, "trained on"},
		"merge":                     {lineage.Merge, base, base, lineage.Checked, "30 of 30"},
		"merge of another width":    {lineage.Merge, with(base, tall), base, lineage.Contradicted, "256×64"},
		"stacked layers":            {lineage.Merge, llama(5), base, lineage.Checked, "5 layers of 3"},
		"stacked, of another width": {lineage.Merge, with(llama(5), "model.layers.4.mlp.up_proj.weight BF16 256 64"), base, lineage.Contradicted, "layers.4.mlp.up_proj.weight: 256×64, 128×64 in the parent's layers"},

		"LoRA":                         {lineage.Adapter, lora(8, 64, 64, q), base, lineage.Checked, "1 target module is in the base"},
		"LoRA of many":                 {lineage.Adapter, lora(8, 64, 32, "model.layers.0.self_attn.k_proj", "model.layers.2.self_attn.v_proj"), base, lineage.Checked, "2 target modules are"},
		"LoRA on a packed base":        {lineage.Adapter, lora(8, 64, 64, q), packed(base, bnb), lineage.Checked, "1 target module"},
		"LoRA on GGUF":                 {lineage.Adapter, lora(8, 64, 64, q), llamaGGUF(3), lineage.Checked, "1 target module"},
		"GGUF LoRA":                    {lineage.Adapter, tensors("blk.0.attn_q.weight.lora_a F32 8 64", "blk.0.attn_q.weight.lora_b F32 64 8"), base, lineage.Checked, "1 target module"},
		"MLX LoRA":                     {lineage.Adapter, tensors("model.layers.0.self_attn.k_proj.lora_a F32 64 8", "model.layers.0.self_attn.k_proj.lora_b F32 8 32"), base, lineage.Checked, "1 target module"},
		"LoRA of a layer too far":      {lineage.Adapter, lora(8, 64, 64, "model.layers.7.self_attn.q_proj"), base, lineage.Contradicted, "layers.7.self_attn.q_proj is not in the base"},
		"LoRA of another width":        {lineage.Adapter, lora(8, 128, 64, q), base, lineage.Contradicted, "it is for weights of 64×128, those of the base are 64×64"},
		"LoRA of another packed width": {lineage.Adapter, lora(8, 128, 64, q), packed(base, gptq), lineage.Contradicted, "it is for weights of 64×128"},
		"LoRA of two ranks":            {lineage.Adapter, tensors(q+".lora_A.weight F32 8 64", q+".lora_B.weight F32 64 4"), base, lineage.Contradicted, "ranks 8 and 4"},
		"LoRA of one half":             {lineage.Adapter, tensors(q + ".lora_A.weight F32 8 64"), base, lineage.Contradicted, "one of its two factors is missing"},
		"LoRA with a whole tensor":     {lineage.Adapter, with(lora(8, 64, 64, q), "base_model.model.lm_head.modules_to_save.weight F32 400 64"), base, lineage.Checked, "1 tensor comes whole"},
		"LoRA with a wrong one":        {lineage.Adapter, with(lora(8, 64, 64, q), "base_model.model.model.norm.weight F32 65"), base, lineage.Contradicted, "65, 64 in the base"},
		"no LoRA":                      {lineage.Adapter, tensors("x.ia3_l F32 8"), base, lineage.Claimed, "no pairs"},
		"GPT-2":                        {lineage.Adapter, lora(8, 64, 192, "transformer.h.0.attn.c_attn"), tensors("h.0.attn.c_attn.weight BF16 64 192"), lineage.Checked, "1 target module"},

		"the same files":  {lineage.Origin, lineage.Weights{Files: []string{"a"}}, lineage.Weights{Files: []string{"b", "a"}}, lineage.Checked, "1 file of weights is the same"},
		"another file":    {lineage.Origin, lineage.Weights{Files: []string{"c"}}, lineage.Weights{Files: []string{"b", "a"}}, lineage.Contradicted, "not in what it was imported from"},
		"nothing changed": {lineage.Finetune, lineage.Weights{Files: []string{"a"}, Tensors: base.Tensors}, lineage.Weights{Files: []string{"a"}, Tensors: base.Tensors}, lineage.Checked, "byte for byte"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := lineage.Check(test.rel, test.child, test.base)
			if got.Verdict != test.want || !strings.Contains(got.Reason, test.reason) {
				t.Errorf("Check = %s: %s\nwant %s: …%s…", got.Verdict, got.Reason, test.want, test.reason)
			}
		})
	}
}

// Whatever headers say, there is an answer with a reason that is not long.
// TestExpertsBesideTheirStack checks a model that has experts one by one and a
// tensor of the name that all of them have together.
func TestExpertsBesideTheirStack(t *testing.T) {
	for _, lines := range [][]string{
		{"l.0.experts.w BF16", "l.0.experts.0.w BF16"},
		{"l.0.experts.0.w BF16 4", "l.0.experts.w BF16 2 4", "l.0.experts.1.w BF16 4"},
	} {
		w := tensors(lines...)
		before := fmt.Sprint(w)
		c := lineage.Check(lineage.Finetune, w, w)
		if want := "2 of 2 tensors have the base's names and shapes"; c.Verdict != lineage.Checked || c.Reason != want {
			t.Errorf("Check(%q) = %q, %q, want %q", lines, c.Verdict, c.Reason, want)
		}
		if after := fmt.Sprint(w); after != before {
			t.Errorf("Check changed what it was given: %s, was %s", after, before)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("model.layers.0.self_attn.q_proj.lora_A.weight", "blk.0.attn_q.weight", int64(8), int64(64), uint8(1))
	f.Add("a.qweight", "a.scales", int64(-1), int64(1)<<62, uint8(3))
	f.Add("l.0.experts.0.-w", "l.0.experts.-w", int64(2), int64(-1), uint8(2))
	f.Add("x.experts.0.w1.weight", "model.x.experts.1.w1.weight", int64(0), int64(0), uint8(2))
	f.Fuzz(func(t *testing.T, one, two string, x, y int64, rel uint8) {
		a := lineage.Weights{Tensors: []lineage.Tensor{{Name: one, Shape: []int64{x, y}}, {Name: two, Shape: []int64{y, x}, DType: "U8"}, {Name: two + ".weight.absmax"}}}
		flat := []int64{y}
		if y < 0 {
			flat = []int64{}
		}
		b := lineage.Weights{Tensors: []lineage.Tensor{{Name: two, Shape: flat}, {Name: one, Shape: nil}, {Name: one + ".scales"}}}
		all, before := lineage.Relations(), fmt.Sprint(a, b)
		c := lineage.Check(all[int(rel)%len(all)], a, b)
		if after := fmt.Sprint(a, b); after != before {
			t.Errorf("Check changed %s to %s", before, after)
		}
		if c.Reason == "" || c.Verdict == "" || len(c.Reason) > 2000 {
			t.Errorf("Check = %q, %q", c.Verdict, c.Reason)
		}
	})
}
