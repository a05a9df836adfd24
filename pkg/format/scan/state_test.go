package scan_test

import (
	"testing"

	"github.com/modelreg/modelreg/pkg/format/scan"
)

// States are set attribute by attribute, in tuples and by functions too.
func TestStatesInTuples(t *testing.T) {
	const (
		class    = "}U\x09__class__ctorch\nTensor\ns"
		plain    = "}U\x01aNs"
		computed = "ccollections\nOrderedDict\n](U\x09__class__ctorch\nTensor\nla\x85R"
		object   = "cargparse\nNamespace\n)\x81"
	)
	parameter := func(state string) string {
		return "ctorch._utils\n_rebuild_parameter_with_state\n(N\x89ccollections\nOrderedDict\n)R" + state + "tR"
	}
	tensor := func(state string) string {
		return "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\nctorch\nTensor\n)" + state + "tR"
	}
	tests := map[string]struct {
		code    string
		verdict scan.Verdict
	}{
		"slots computed":        {object + "N" + computed + "\x86b", scan.Dangerous},
		"attributes computed":   {object + computed + "N\x86b", scan.Dangerous},
		"a class":               {object + "Nctorch\nTensor\n\x86b", scan.Dangerous},
		"plain":                 {object + plain + plain + "\x86b", scan.Safe},
		"an array's":            {"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x01\x85cnumpy\ndtype\nU\x02u1\x85R\x89c_codecs\nencode\nX\x01\x00\x00\x00xU\x06latin1\x86Rtb", scan.Safe},
		"a generator's":         {"cnumpy.random._pcg64\nPCG64\n)R}cnumpy.random.bit_generator\nSeedSequence\n)R\x86b", scan.Safe},
		"parameter, plain":      {parameter(plain), scan.Safe},
		"parameter, two":        {parameter(plain + "N\x86"), scan.Safe},
		"parameter, class":      {parameter(class), scan.Dangerous},
		"parameter, slots":      {parameter("N" + class + "\x86"), scan.Dangerous},
		"parameter, computed":   {parameter(computed), scan.Dangerous},
		"parameter, in a tuple": {parameter("N" + computed + "\x86"), scan.Dangerous},
		"parameter, named":      {"ctorch._utils\n_rebuild_parameter_with_state\n)}U\x05state" + class + "s\x92", scan.Dangerous},
		"parameter, tuple made": {parameter("c__builtin__\ntuple\n](N" + class + "e\x85R"), scan.Dangerous},
		"tensor, plain":         {tensor(plain), scan.Safe},
		"tensor, two":           {tensor("N" + plain + "\x86"), scan.Safe},
		"tensor, class":         {tensor(class), scan.Dangerous},
		"tensor, slots":         {tensor("N" + class + "\x86"), scan.Dangerous},
		"tensor, computed":      {tensor(computed), scan.Dangerous},
		"tensor of a parameter": {"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter_with_state\nctorch\nTensor\n(N\x89N" + class + "t}tR", scan.Dangerous},
		"tensor of a tensor":    {"ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nctorch\nTensor\n(ctorch\nTensor\nctorch\nTensor\n)" + class + "t}tR", scan.Dangerous},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model.pkl", []byte("\x80\x04"+test.code+".")); got.Verdict != test.verdict {
				t.Errorf("verdict %s, want %s: %v", got.Verdict, test.verdict, got.Findings)
			}
		})
	}
}
