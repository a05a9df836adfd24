package testcards

// Words in the order of how often they are drawn.
const (
	families = `llama qwen2 mistral gemma phi bert qwen3 deepseek falcon whisper t5 gpt2 roberta clip vit
		mixtral starcoder yi olmo granite nemotron stablelm bloom opt pythia mamba rwkv distilbert
		deberta electra bart pegasus wav2vec2 hubert resnet convnext yolos detr sam dinov2`

	tasks = `text-generation text-classification feature-extraction text-to-image sentence-similarity
		automatic-speech-recognition image-classification token-classification fill-mask
		question-answering text2text-generation translation summarization image-text-to-text
		object-detection image-segmentation text-to-speech zero-shot-classification depth-estimation
		reinforcement-learning audio-classification video-classification tabular-classification
		visual-question-answering document-question-answering time-series-forecasting any-to-any`

	libraries = `transformers gguf diffusers sentence-transformers peft onnx timm mlx vllm keras
		spacy stable-baselines3 nemo flair fastai sklearn espnet speechbrain open_clip adapter-transformers`

	licenses = `apache-2.0 mit llama3.1 cc-by-nc-4.0 other gemma openrail cc-by-4.0 llama2 cc-by-sa-4.0
		creativeml-openrail-m bsd-3-clause gpl-3.0 llama3 afl-3.0 agpl-3.0 cc0-1.0 unknown bigscience-bloom-rail-1.0
		lgpl-3.0 mpl-2.0 artistic-2.0 cc-by-nc-sa-4.0 unlicense wtfpl`

	languages = `en zh fr de es ja ko it pt ru ar nl pl hi tr vi id th sv fi da no cs uk ro hu el he
		fa bn ta te ur sw bg sr hr sk sl lt lv et ca eu gl cy ga is mt mk sq hy ka az kk uz`

	keywords = `conversational text-generation-inference pytorch safetensors endpoints_compatible
		autotrain_compatible llama merge lora trl sft generated_from_trainer chat code mathematics
		medical finance legal vision rlhf dpo unsloth axolotl mergekit roleplay 4-bit quantized
		multilingual embedding rag agents tools reasoning long-context`

	// common are the most frequent words of cards.
	common = `the of and to model a in is for with on this that be as it are by from training was or an data
		at can use language used not you which using trained we has have fine-tuned license will more than
		dataset text these other it's base tokens evaluation results parameters all its their also been
		were may our any but large into such when how what your should generation about transformers
		import tokenizer input output if see based pretrained no one some they performance instruction
		bias limitations risks intended uses set code learning tuned information details chat loss epoch
		batch size rate steps accuracy score benchmark test version weights quantized precision inference
		memory gpu hardware research paper citation author repository example prompt response user
		assistant system context length sequence attention layers heads hidden embedding decoder encoder
		transformer open source apache commercial english german french chinese multilingual translation
		summarization classification question answering reasoning mathematics medical legal finance
		safety ethical considerations environmental impact carbon emissions hours framework pytorch
		optimizer adam scheduler warmup gradient accumulation mixed seed procedure hyperparameters
		preprocessing corpus web crawl books wikipedia filtered deduplicated annotated human feedback
		preference reward alignment helpful harmless honest toxic content factual knowledge retrieval
		augmented tool function calling agent vision image audio speech video multimodal caption`
)
