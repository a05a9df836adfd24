package format

// precisions are the data types that the model specification has a name for.
var precisions = map[string]string{}

// Precision returns the name that the CNCF ModelPack specification has for a
// data type as [Tensor] spells it: "bfloat16" for "BF16". A quantised type,
// such as "Q4_K", is no precision, and neither is an unknown one: they give "".
func Precision(dtype string) string { return precisions[dtype] }
