package eval

import (
	"strconv"
	"strings"
)

// A Direction says which values of a metric are better.
type Direction string

// The directions. Of a metric with an unknown one nothing is better or worse.
const (
	Unknown Direction = ""
	Higher  Direction = "higher"
	Lower   Direction = "lower"
)

// A Unit is what a value counts. Empty means that it is not known, or that
// there is none.
type Unit string

// Units that values are in.
const (
	Fraction Unit = "fraction" // of 1
	Percent  Unit = "percent"  // of 100
	Bits     Unit = "bits"
	Decibel  Unit = "dB"
)

// A known is what is known of a metric.
type known struct {
	direction Direction
	unit      Unit

	// ratio says that values lie between 0 and 1: what is above 1 is a
	// percentage, since people write either.
	ratio bool
}

// metrics are the metrics that are known, by name. The names are those of
// Hugging Face's library evaluate where that has the metric.
func metrics() map[string]known {
	ratio, plain := known{direction: Higher, ratio: true}, known{direction: Higher}
	less, lessRatio := known{direction: Lower}, known{direction: Lower, ratio: true}
	m := map[string]known{
		"bits_per_byte": {direction: Lower, unit: Bits},
		"psnr":          {direction: Higher, unit: Decibel},
	}
	for k, names := range map[known]string{
		ratio: "accuracy acc_norm acc_all acc_bytes balanced_accuracy exact_match f1 f1_macro f1_micro f1_weighted precision " +
			"recall roc_auc average_precision mean_average_precision mrr mean_iou dice ssim rouge1 rouge2 rougeL rougeLsum " +
			"meteor mc1 mc2 mmlu win_rate",
		plain:     "acc_mutual_info bleu sacrebleu chrf chrf++ matthews_correlation pearsonr spearmanr r_squared likelihood throughput bertscore",
		less:      "perplexity word_perplexity byte_perplexity loss log_loss cross_entropy wer cer ter mer mse rmse mae mape fid lpips latency time_to_first_token",
		lessRatio: "brier_score expected_calibration_error equal_error_rate error_rate toxicity hallucination_rate",
	} {
		for name := range strings.FieldsSeq(names) {
			m[name] = k
		}
	}
	return m
}

// aliases are other names of metrics, in lower case.
func aliases() map[string]string {
	return map[string]string{
		"acc": "accuracy", "accuracy_norm": "acc_norm", "em": "exact_match", "f1_score": "f1", "f1-score": "f1", "macro_f1": "f1_macro",
		"micro_f1": "f1_micro", "weighted_f1": "f1_weighted", "f1 macro": "f1_macro", "f1 micro": "f1_micro", "f1 weighted": "f1_weighted",
		"auc": "roc_auc", "auroc": "roc_auc", "map": "mean_average_precision", "miou": "mean_iou", "rougel": "rougeL", "rouge-l": "rougeL",
		"rouge-1": "rouge1", "rouge-2": "rouge2", "rougelsum": "rougeLsum", "mcc": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr",
		"r2": "r_squared", "ppl": "perplexity", "eval_loss": "loss", "bpb": "bits_per_byte", "word error rate": "wer", "character error rate": "cer",
		"ece": "expected_calibration_error", "eer": "equal_error_rate", "ttft": "time_to_first_token", "brier": "brier_score",
	}
}

// NewMetric returns the metric that goes by a name, with what is known of it. The
// value tells fractions from percentages, where the two cannot be mistaken.
func NewMetric(name string, value float64) Metric {
	canonical, k, ok := lookUp(name)
	if !ok {
		return Metric{Name: name}
	}
	m := Metric{Name: canonical, Direction: k.direction, Unit: k.unit}
	if k.ratio {
		switch {
		case value >= 0 && value <= 1:
			m.Unit = Fraction
		case value > 1 && value <= 100:
			m.Unit = Percent
		}
	}
	return m
}

// lookUp finds what is known of a metric, whatever the case it is written in.
func lookUp(name string) (string, known, bool) {
	all := metrics()
	lower := strings.ToLower(name)
	for _, try := range []string{name, lower, aliases()[lower]} {
		if k, ok := all[try]; ok {
			return try, k, true
		}
	}
	for _, prefix := range []string{"pass@", "pass_at_", "ndcg@", "ndcg_at_"} {
		digits, ok := strings.CutPrefix(lower, prefix)
		if n, err := strconv.ParseUint(digits, 10, 16); ok && err == nil && n > 0 {
			family, _, _ := strings.Cut(strings.ReplaceAll(prefix, "_at_", "@"), "@")
			return family + "@" + strconv.FormatUint(n, 10), known{direction: Higher, ratio: true}, true
		}
	}
	return "", known{}, false
}
