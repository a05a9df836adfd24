package index

import (
	"encoding/json"
	"fmt"

	"github.com/klauspost/compress/zstd"
)

// usual is what records often have in them: they are compressed against it. A
// change of it is a change of the layout.
const usual = `medical legal finance mathematics roleplay merge lora trl dpo sft quantized 4-bit unsloth axolotl mergekit ` +
	`endpoints_compatible autotrain_compatible generated_from_trainer text-generation-inference conversational pytorch safetensors ` +
	`the model was trained on the following data and can be used for text generation in English, German, French, Chinese ` +
	`This model is a fine-tuned version of on the dataset. It achieves the following results on the evaluation set: Loss: Accuracy: ` +
	`F1: Model description More information needed Intended uses & limitations More information needed Training and evaluation data ` +
	`Training procedure Training hyperparameters The following hyperparameters were used during training: learning_rate: ` +
	`train_batch_size: eval_batch_size: seed: 42 gradient_accumulation_steps: total_train_batch_size: optimizer: Adam with ` +
	`betas=(0.9,0.999) and epsilon=1e-08 lr_scheduler_type: linear lr_scheduler_warmup_ratio: num_epochs: mixed_precision_training: ` +
	`Native AMP Training results Training Loss Epoch Step Validation Loss Framework versions Transformers Pytorch Datasets Tokenizers ` +
	`from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline model = AutoModelForCausalLM.from_pretrained( ` +
	`tokenizer = AutoTokenizer.from_pretrained( messages = [{"role": "user", "content": ]tokenizer.apply_chat_template( ` +
	`Developed by: Funded by: Shared by: Model type: Language(s) (NLP): License: Finetuned from model: Repository: Paper: Demo: ` +
	`Bias, Risks, and Limitations Recommendations Users (both direct and downstream) should be made aware of the risks, biases and ` +
	`limitations of the model. How to Get Started with the Model Citation BibTeX: Environmental Impact Carbon emissions can be ` +
	`estimated using the Machine Learning Impact calculator Hardware Type: Hours used: Cloud Provider: ` +
	`","latest":true,"updated":"2026-01-01T00:00:00Z","status":"deprecated","author":"","title":"","summary":"","card":"` +
	`","task":"text-generation","library":"transformers","licenses":["apache-2.0"],"languages":["en"],"keywords":["` +
	`"],"datasets":["","architecture":"llama","parameters":8030261248,"context":131072,"formats":["gguf"],"quantizations":["q4_k_m"],` +
	`"formats":["safetensors"],"size":16060556376,"memory":,"code":true,"bases":[{"name":"hf:","relation":"finetune"}],` +
	`"metrics":[{"name":"accuracy","dataset":"mmlu","value":0.,"class":"claimed"}],"signed":true,"verified":true,"signers":[".com"]}` +
	`{"repository":"","digest":"sha256:","tags":["main","v1.0"],"latest":true`

// maxGroup bounds a group of records, before it is compressed.
const maxGroup = groupSize << 20

// A bodyCoder compresses groups of records. The zero value is ready.
type bodyCoder struct{ enc *zstd.Encoder }

func (c *bodyCoder) compress(b []byte) ([]byte, error) {
	if c.enc == nil {
		var err error
		c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<17),
			zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false), zstd.WithEncoderDictRaw(1, []byte(usual)))
		if err != nil {
			return nil, err
		}
	}
	return c.enc.EncodeAll(b, make([]byte, 0, len(b)/2)), nil
}

// A bodyReader reads what a bodyCoder wrote. The zero value is ready.
type bodyReader struct{ dec *zstd.Decoder }

func (c *bodyReader) group(body []byte) (g *group, err error) {
	if c.dec == nil {
		c.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxGroup), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderDictRaw(1, []byte(usual)))
		if err != nil {
			return nil, err
		}
	}
	b, err := c.dec.DecodeAll(body, nil)
	if err != nil {
		return nil, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return decodeGroup(b)
}

func decodeRecord(b []byte) (r Record, err error) {
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%w (%w)", ErrDamaged, err)
	}
	return r, nil
}
