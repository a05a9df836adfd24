package scan

import (
	"slices"
	"strings"
	"sync"
)

// An entry says under which conditions a name may be imported and called.
type entry struct {
	// check returns why arguments are not harmless, or "". A name without a
	// check is harmless with any, and may be handed around.
	check func(m *machine, args []value) string

	// result is what a call makes, if that makes a difference.
	result valueKind

	// loose tells that nothing but memory is at stake, so that a name may be
	// handed around.
	loose bool

	// class tells that it is a class too, which may stand where others make an
	// object of one without arguments of the file.
	class bool

	// nested tells that the argument is loaded as a file.
	nested bool
}

// inertNames are classes and functions that do nothing but make a value of
// their arguments, and whose values take any state. Each line is a module and
// names in it. There are neither prefixes nor patterns: what is not here by its
// exact name is not allowed.
const inertNames = `
builtins set frozenset object complex slice list dict tuple int float bool str
__builtin__ set frozenset object complex slice list dict tuple int float bool str unicode long
collections OrderedDict Counter deque
datetime datetime date time timedelta timezone
decimal Decimal
fractions Fraction
uuid UUID
pathlib PurePath PurePosixPath PureWindowsPath Path PosixPath WindowsPath
pathlib._local PurePath PurePosixPath PureWindowsPath Path PosixPath WindowsPath
argparse Namespace
types SimpleNamespace
_io BytesIO StringIO
io BytesIO StringIO

numpy bool_ bool int8 int16 int32 int64 intc uint8 uint16 uint32 uint64 longlong ulonglong
numpy float16 float32 float64 longdouble complex64 complex128 clongdouble str_ bytes_ void datetime64 timedelta64 number
numpy.ma MaskedArray
numpy.ma.core MaskedArray
numpy.random.mtrand RandomState
numpy.random._mt19937 MT19937
numpy.random._pcg64 PCG64 PCG64DXSM
numpy.random._philox Philox
numpy.random._sfc64 SFC64
numpy.random._generator Generator
numpy.random.bit_generator SeedSequence
sklearn.metrics._scorer _PassthroughScorer
sklearn.neural_network._stochastic_optimizers BaseOptimizer SGDOptimizer AdamOptimizer
sklearn.model_selection._split KFold GroupKFold StratifiedKFold StratifiedGroupKFold TimeSeriesSplit LeaveOneOut LeavePOut ShuffleSplit
sklearn.model_selection._split StratifiedShuffleSplit GroupShuffleSplit RepeatedKFold RepeatedStratifiedKFold PredefinedSplit LeaveOneGroupOut
scipy.sparse._csr csr_matrix csr_array
scipy.sparse._csc csc_matrix csc_array
scipy.sparse._coo coo_matrix coo_array
scipy.sparse.csr csr_matrix
scipy.sparse.csc csc_matrix

torch Tensor Size device dtype FloatTensor LongTensor
torch BFloat16Storage BoolStorage ByteStorage CharStorage ComplexDoubleStorage ComplexFloatStorage DoubleStorage
torch FloatStorage HalfStorage IntStorage LongStorage ShortStorage QInt8Storage QUInt8Storage QInt32Storage QUInt4x2Storage QUInt2x4Storage
torch float float16 float32 float64 half double bfloat16 int int8 int16 int32 int64 short long uint8 uint16 uint32 uint64 bool
torch complex32 complex64 complex128 float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz float8_e8m0fnu float4_e2m1fn_x2
torch qint8 quint8 qint32 quint4x2 quint2x4 per_tensor_affine per_channel_affine per_tensor_symmetric per_channel_symmetric
torch.storage UntypedStorage TypedStorage _UntypedStorage
torch.cuda FloatStorage DoubleStorage HalfStorage LongStorage IntStorage ShortStorage CharStorage ByteStorage BoolStorage BFloat16Storage
torch.nn.parameter Parameter Buffer UninitializedParameter UninitializedBuffer
torch.serialization _get_layout
torch._utils _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_parameter _rebuild_qtensor
torch._utils _rebuild_sparse_tensor _rebuild_nested_tensor _rebuild_meta_tensor_no_storage _rebuild_device_tensor_from_numpy
`

// checkedNames are functions that are harmless with some arguments only.
var checkedNames = map[string]entry{
	"_codecs encode":                      {check: latin1},
	"builtins bytearray":                  {check: literals, loose: true},
	"__builtin__ bytearray":               {check: literals, loose: true},
	"builtins bytes":                      {check: literals, loose: true},
	"__builtin__ bytes":                   {check: literals, loose: true},
	"__builtin__ xrange":                  {check: literals, loose: true},
	"builtins range":                      {check: literals, loose: true},
	"collections defaultdict":             {check: classFirst},
	"copyreg _reconstructor":              {check: reconstructor},
	"copy_reg _reconstructor":             {check: reconstructor},
	"numpy ndarray":                       {check: shape, loose: true, class: true},
	"numpy matrix":                        {check: shape, loose: true, class: true},
	"numpy dtype":                         {check: dtypeCode, result: vDType},
	"numpy._core.multiarray _reconstruct": {check: arrayClass},
	"numpy.core._internal _reconstruct":   {check: arrayClass},
	"numpy.core.multiarray _reconstruct":  {check: arrayClass},
	"numpy._core.multiarray scalar":       {check: scalar},
	"numpy.core.multiarray scalar":        {check: scalar},
	"numpy.ma.core _mareconstruct":        {check: maskedClass},

	"numpy.random.bit_generator __pyx_unpickle_SeedSequence": {check: classFirst},
	"numpy._core.numeric _frombuffer":                        {check: frombuffer},
	"numpy.core.numeric _frombuffer":                         {check: frombuffer},
	"numpy.random._pickle __bit_generator_ctor":              {check: generator},
	"numpy.random._pickle __randomstate_ctor":                {check: generator},
	"numpy.random._pickle __generator_ctor":                  {check: generator},
	"sklearn.neighbors._kd_tree newObj":                      {check: classFirst},
	"sklearn.neighbors._ball_tree newObj":                    {check: classFirst},
	"sklearn.metrics._dist_metrics newObj":                   {check: classFirst},
	"joblib.numpy_pickle NumpyArrayWrapper":                  {check: nothing, result: vArray},
	"torch.jit._pickle build_intlist":                        {check: listFirst},
	"torch.jit._pickle build_tensorlist":                     {check: listFirst},
	"torch.jit._pickle build_doublelist":                     {check: listFirst},
	"torch.jit._pickle build_boollist":                       {check: listFirst},
	"torch.jit._pickle restore_type_tag":                     {check: listFirst},
	"torch._utils _rebuild_parameter_with_state":             {check: rebuildParameter},
	"torch._tensor _rebuild_from_type_v2":                    {check: rebuild},
	"torch.torch_version TorchVersion":                       {check: oneText},
	"torch.storage _load_from_bytes":                         {check: one, nested: true},
}

// allowedNames has both lists by module and name.
var allowedNames = sync.OnceValue(func() map[string]*entry {
	names := make(map[string]*entry, 1000)
	inert := &entry{}
	for line := range strings.Lines(inertNames + sklearnNames) {
		words := strings.Fields(line)
		for _, name := range words[min(1, len(words)):] {
			names[words[0]+" "+name] = inert
		}
	}
	for name, e := range checkedNames {
		names[name] = &e
	}
	return names
})

// allowed returns the entry of a name, or nil. Names of modules with spaces
// are none.
func allowed(module, name string) *entry {
	if strings.ContainsRune(module, ' ') || strings.ContainsRune(name, ' ') {
		return nil
	}
	return allowedNames()[module+" "+name]
}

// isClass tells a global that may be called with anything, or is a class.
func (m *machine) isClass(v value) bool {
	g, ok := m.class(v)
	return ok && v.kind == vGlobal && g.entry != nil && (g.entry.check == nil || g.entry.class)
}

// latin1 is for _codecs.encode, by which old protocols keep bytes.
func latin1(m *machine, args []value) string {
	if len(args) == 2 {
		codec, _ := m.text(args[1])
		if (args[0].kind == vText || args[0].kind == vLongText) && (codec == "latin1" || codec == "latin-1") {
			return ""
		}
	}
	return "with another codec than latin1"
}

// literals is for what takes memory by its arguments: only bytes that are there
// and small numbers.
func literals(m *machine, args []value) string {
	for _, v := range args {
		switch v.kind {
		case vText, vLongText, vBytes, vLongBytes:
		case vInt:
			if v.off < -maxCount || v.off > maxCount {
				return "with a large number"
			}
		case vResult: // of encode
			if g, _ := m.class(v); g.module != "_codecs" {
				return "with what is no literal"
			}
		default:
			return "with what is no literal"
		}
	}
	return ""
}

const maxCount = 1 << 20

// classFirst is for what calls its first argument at once or later.
func classFirst(m *machine, args []value) string {
	for i, v := range args {
		if i == 0 && v.kind != vPlain && !m.isClass(v) || m.isRestricted(v) {
			return "with what it would call"
		}
	}
	return ""
}

// listFirst is for what returns its first argument.
func listFirst(m *machine, args []value) string {
	if len(args) == 0 || args[0].kind != vList && args[0].kind != vDict || slices.ContainsFunc(args, m.isRestricted) {
		return "with what is no list"
	}
	return ""
}

// reconstructor is for what makes an object of a class, a base and a state.
func reconstructor(m *machine, args []value) string {
	if len(args) == 3 && m.isClass(args[1]) {
		g, ok := m.class(args[0])
		if ok && args[0].kind == vGlobal && g.entry == nil {
			return "" // the import is reported
		}
		if ok && (m.isClass(args[0]) || g.entry != nil && g.entry.result == vArray) && !m.isRestricted(args[2]) {
			return ""
		}
	}
	return "with what is no class"
}

// arrayClass is for what makes an array of a class and a shape.
func arrayClass(m *machine, args []value) string {
	if len(args) == 3 && m.isClass(args[0]) && !m.isRestricted(args[1]) && !m.isRestricted(args[2]) {
		if g, _ := m.class(args[0]); g.module == "numpy" && (g.name == "ndarray" || g.name == "matrix") {
			return ""
		}
	}
	return "with what is no class of arrays"
}

// maskedClass is for what makes a masked array of two classes, a shape and a
// type.
func maskedClass(m *machine, args []value) string {
	for i, v := range args {
		if g, _ := m.class(v); i < 2 && (!m.isClass(v) || !strings.HasPrefix(g.module, "numpy")) || m.isRestricted(v) {
			return "with what is no class of arrays"
		}
	}
	return ""
}

// frombuffer is for what makes an array of bytes, a dtype, a shape and an order.
func frombuffer(m *machine, args []value) string {
	if len(args) != 4 || args[1].kind != vDType {
		return "without a dtype"
	}
	if slices.ContainsFunc(args, m.isRestricted) {
		return "with a function"
	}
	if t := m.dtypes[args[1].off]; t.object || t.size < 0 {
		return "with a dtype of objects"
	}
	return ""
}

// generator is for what makes generators of random numbers, which calls classes
// and the function that makes them.
func generator(m *machine, args []value) string {
	for _, v := range args {
		g, isClass := m.class(v)
		switch {
		case v.kind == vText || v.kind == vResult && !m.isRestricted(v):
		case isClass && g.entry != nil && g.module == "numpy.random._pickle":
		case m.isClass(v) && strings.HasPrefix(g.module, "numpy.random."):
		default:
			return "with what it would call"
		}
	}
	return ""
}

// rebuild is for torch._tensor._rebuild_from_type_v2, which calls its first
// argument with its third.
func rebuild(m *machine, args []value) string {
	if len(args) != 4 || !m.isClass(args[0]) || !m.isClass(args[1]) {
		return "with what it would call"
	}
	f, _ := m.class(args[0])
	if !strings.HasPrefix(f.module, "torch") || m.isRestricted(args[2]) || m.isRestricted(args[3]) {
		return "with what it would call"
	}
	return m.attributes(args[3])
}

// rebuildParameter is for what makes a parameter of data, a bool, hooks and a
// state.
func rebuildParameter(m *machine, args []value) string {
	if len(args) != 4 || slices.ContainsFunc(args, m.isRestricted) {
		return "with what it would call"
	}
	return m.attributes(args[3])
}

// attributes returns why a state that PyTorch sets attribute by attribute is
// not harmless, or "".
func (m *machine) attributes(state value) string {
	states := []value{state}
	if items, ok := m.args(state); ok {
		states = items
	}
	for _, v := range states {
		switch {
		case v.kind == vPlain:
		case v.kind != vDict || m.dicts[v.off].other:
			return "with attributes that cannot be told"
		case m.dicts[v.off].dunder:
			return "with attributes by which Python runs code"
		}
	}
	return ""
}

// nothing is for joblib's stand-in, whose state counts.
func nothing(m *machine, args []value) string {
	if len(args) > 0 {
		return "with arguments"
	}
	return ""
}

// oneText is for what makes a string of one.
func oneText(_ *machine, args []value) string {
	if len(args) != 1 || args[0].kind != vText && args[0].kind != vLongText {
		return "with other than a string"
	}
	return ""
}

// one is for what takes one argument, which is looked at elsewhere.
func one(_ *machine, args []value) string {
	if len(args) != 1 {
		return "with other than one argument"
	}
	return ""
}
