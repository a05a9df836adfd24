package scan

import (
	"slices"

	"github.com/go-json-experiment/json"
)

// skopsLoaders are the kinds of nodes of a skops file that make values of types
// alone. Others call functions.
var skopsLoaders = []string{
	"", "ObjectNode", "JsonNode", "DictNode", "ListNode", "TupleNode", "SetNode", "BytesNode", "BytearrayNode", "TypeNode", "SliceNode",
	"NdArrayNode", "MaskedArrayNode", "SparseMatrixNode", "DTypeNode", "QuantileForestNode", "RandomStateNode", "RandomGeneratorNode", "TreeNode",
	"DatetimeNode", "DefaultDictNode", "OrderedDictNode", "CachedNode", "NumberNode", "LossNode", "SGDNode",
}

// checkSkops looks at the schema of a skops file, which names types by module
// and class.
func checkSkops(s *session, in *input) error {
	if in.base() != "schema.json" || in.within == nil || in.within.kind != kindZip || in.raw {
		return nil
	}
	b, err := in.bytes(4 * maxTree)
	if err != nil {
		return err
	}
	var tree any
	if b == nil {
		s.add(in, "limit-size", 0, "is longer than %d bytes", 4*maxTree)
		return nil
	}
	if err := json.Unmarshal(b, &tree); err != nil {
		s.add(in, "model-malformed", 0, "%v", err)
		return nil
	}
	s.walk(in, tree, (*session).skopsNode)
	return nil
}

// skopsNode looks at one node.
func (s *session) skopsNode(in *input, o map[string]any) {
	loader, _ := o["__loader__"].(string)
	module, ok1 := o["__module__"].(string)
	class, ok2 := o["__class__"].(string)
	if path, ok := o["module_path"].(string); ok { // a function's content
		name, _ := o["function"].(string)
		s.skopsName(in, path, name)
	}
	switch {
	case slices.Contains([]string{"MethodNode", "OperatorFuncNode", "PartialNode"}, loader):
		s.add(in, "skops-dangerous", 0, "has a %s, which reaches for functions", loader)
	case !slices.Contains(skopsLoaders, loader) && loader != "FunctionNode":
		s.add(in, "skops-type", 0, "has a node of the kind %.80q, which is not known", loader)
	}
	if (ok1 || ok2) && loader != "FunctionNode" {
		s.skopsName(in, module, class)
	}
}

// skopsName reports a name that is not allowed.
func (s *session) skopsName(in *input, module, name string) {
	switch {
	case allowed(module, name) != nil && module != "torch.storage", module == "builtins" && name == "NoneType":
	case harmful(module, name):
		s.add(in, "skops-dangerous", 0, "names %.100s.%.100s", module, name)
	default:
		s.add(in, "skops-type", 0, "names %.100s.%.100s", module, name)
	}
}
