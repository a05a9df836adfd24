package scan_test

import (
	"archive/zip"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/pkg/format/scan"
)

// gadgets are names that have been used to run code from a pickle past lists of
// what is forbidden, one line for each family.
const gadgets = `
os system popen execv posix_spawn startfile remove getcwd environ.get
posix system nt.system
subprocess Popen call check_output run getoutput
builtins eval exec compile open getattr setattr __import__ print globals vars input breakpoint help map filter
__builtin__ eval execfile apply file reload getattr
__builtins__ eval
_builtin_ eval
builtins getattr.__call__ object.__subclasses__ str.__class__ dict.get type
sys modules sys.modules exit settrace setrecursionlimit
importlib import_module reload machinery.SourceFileLoader util.spec_from_file_location
pkgutil resolve_name get_data
runpy run_path run_module _run_code
code interact InteractiveInterpreter.runcode InteractiveInterpreter compile_command
codeop compile_command
pty spawn
pip main
pip._internal main cli.main.main
ensurepip _run_pip bootstrap
venv create EnvBuilder
timeit timeit Timer repeat main
cProfile run runctx
profile run Profile.runctx
pdb run Pdb.run set_trace
bdb Bdb.run Bdb.runeval
trace Trace.run Trace.runctx
doctest debug_script testmod
pydoc pipepager locate safeimport
operator attrgetter itemgetter methodcaller
_operator attrgetter methodcaller call
functools partial reduce partialmethod
_functools partial
asyncio run create_subprocess_shell
asyncio.unix_events _UnixSubprocessTransport._start
ctypes CDLL cdll.LoadLibrary pythonapi
_ctypes dlopen call_function
_io FileIO open TextIOWrapper open_code
io open FileIO
codecs open decode
_codecs decode register
shutil rmtree copyfile move
tempfile mkstemp NamedTemporaryFile
linecache getlines updatecache
logging FileHandler config.listen
logging.config fileConfig _resolve
socket socket create_connection
ssl get_server_certificate
smtplib SMTP
imaplib IMAP4_stream
http.client HTTPSConnection
urllib.request urlopen urlretrieve
requests.api get
aiohttp.client ClientSession
webbrowser open
antigravity geohash
marshal loads
pickle loads load Unpickler
_pickle loads
cPickle loads
dill loads _dill._create_function
cloudpickle loads
cloudpickle.cloudpickle subimport _make_function _builtin_type
shelve open
types FunctionType CodeType
new code
copyreg add_extension __newobj__ _extension_registry
gc get_objects
atexit register
threading Thread.start
_thread start_new_thread
multiprocessing Process
multiprocessing.util spawnv_passfds
concurrent.futures.process _process_worker
signal signal
weakref finalize
inspect getattr_static currentframe
unittest.mock patch _importer
idlelib.run Executive.runcode
idlelib.pyshell ModifiedInterpreter.runcode ModifiedInterpreter.runcommand
idlelib.autocomplete AutoComplete.get_entity AutoComplete.fetch_completions
idlelib.calltip get_entity Calltip.fetch_tip
idlelib.debugobj ObjectTreeItem.SetText
lib2to3.pgen2.grammar Grammar.loads
lib2to3.pgen2.pgen ParserGenerator.make_label
distutils.file_util write_file copy_file
distutils.spawn spawn
setuptools.command.easy_install main
_osx_support _read_output
_aix_support _read_cmd_output
_pyrepl.pager pipe_pager
test.support.script_helper assert_python_ok
turtledemo.__main__ main
sqlite3 connect
uuid _get_command_stdout _popen
platform popen _syscmd_ver
getpass getpass
numpy size.__class__ __builtins__ prod.a core._internal.sys.modules os.system sys.modules load fromfile memmap
numpy.testing._private.utils runstring
numpy.testing runstring rundocs
numpy.f2py.crackfortran getlincoef myeval param_eval _eval_length
numpy.f2py.diagnose run_command
numpy.distutils.exec_command exec_command
numpy.lib.npyio load NpzFile
numpy.core.multiarray fromstring fromfile
numpy.ctypeslib load_library
torch.hub load load_state_dict_from_url _load_local
torch load compile os.system sys.modules save ops.load_library
torch.serialization load
torch._dynamo.guards GuardBuilder.get
torch._inductor.codecache compile_file PyCodeCache.load
torch.fx.experimental.symbolic_shapes ShapeEnv.evaluate_guards_expression
torch.jit.unsupported_tensor_ops execWrapper
torch.jit load
torch.utils._config_module ConfigModule.load_config
torch.utils.bottleneck.__main__ run_cprofile run_autograd_prof
torch.utils.collect_env run
torch.utils.data.datapipes.utils.decoder basichandlers
torch.utils.cpp_extension load load_inline
torch.library torch.utils.collect_env.run
torch.package PackageImporter
torch.storage UntypedStorage.from_file _load_from_bytes.__globals__
torch._utils _import_dotted_name _rebuild_tensor_v2.__globals__
torch.nn.modules.module Module
torch.distributed.rpc.internal _internal_rpc_pickler.deserialize
mlflow.projects.backend.local _run_entry_point
pandas.io.parsers.readers read_csv
pandas.core.computation.eval eval
pandas read_pickle eval
joblib load parallel.Parallel
joblib.numpy_pickle load NumpyArrayWrapper.read NDArrayWrapper
joblib.memory MemorizedFunc
sklearn.externals joblib.load
sklearn.datasets fetch_openml load_files
scipy.io loadmat
tensorflow.io write_file read_file
keras.saving load_model
keras.utils get_file
transformers pipeline AutoModel.from_pretrained
transformers.dynamic_module_utils get_class_from_dynamic_module
collections namedtuple OrderedDict.__init__.__globals__ OrderedDict.__reduce__ OrderedDict.fromkeys
datetime datetime.__subclasshook__ sys.modules
fickling always_check_safety hook.remove_hook
picklescan scanner.scan_pickle_bytes
sitecustomize x
this s
some.module.of.nobody Class
`

// everyWay are the gadgets that are tried in every way. The others are tried in
// some.
var (
	everyWay = []string{"os.system", "builtins.getattr", "numpy.load", "torch.hub.load", "some.module.of.nobody.Class", "collections.OrderedDict.fromkeys"}
	someWays = []string{"global", "stack", "instance", "loaded from memory", "factory"}
)

// Every gadget is reported.
func TestGadgets(t *testing.T) {
	n := 0
	for line := range strings.Lines(gadgets) {
		words := strings.Fields(line)
		for _, name := range words[min(1, len(words)):] {
			for way, build := range ways {
				if !slices.Contains(everyWay, words[0]+"."+name) && !slices.Contains(someWays, way) {
					continue
				}
				n++
				got := run(t, "model.pkl", build(words[0], name))
				if got.Verdict == scan.Safe {
					t.Errorf("%s.%s by %q is safe", words[0], name, way)
				}
			}
		}
	}
	t.Logf("%d gadgets and ways", n)
}

// The gadget is named with its offset in each way that has it in one piece.
func TestGadgetsAreNamed(t *testing.T) {
	for way, build := range ways {
		got := run(t, "model.pkl", build("os", "system"))
		if !slices.ContainsFunc(got.Findings, func(f scan.Finding) bool {
			return f.Rule == "pickle-dangerous-import" && strings.Contains(f.Message, "os.system") && f.Offset > 0
		}) && way != "global" && way != "protocol 0" && way != "straddled frame" {
			t.Errorf("%q: %v", way, got.Findings)
		}
	}
}

// Gadgets are found in files of any name, and in files of no name that says
// pickle at all.
func TestNamesDoNotMatter(t *testing.T) {
	for _, name := range []string{"a.txt", "a", "README.md", "model.safetensors", "weights.npy", "a.json", "a.png", ".hidden", "config.yaml", "a.bin", "a.pt", "model.zip"} {
		for _, way := range []string{"global", "protocol 0", "stack", "frame", "old strings", "broken afterwards", "after much data"} {
			if got := run(t, name, ways[way]("os", "getcwd")); got.Verdict != scan.Dangerous {
				t.Errorf("%s by %q: %s", name, way, got.Verdict)
			}
		}
	}
}

// Ways that need no gadget but use what is allowed.
func TestAllowedNamesAreNoWayOut(t *testing.T) {
	join := asm(nil).proto(4).named("builtins", "str").call("o")
	tests := map[string][]byte{
		"string by a call":        asm(join).short("system").stack().call("x").stop(),
		"name by encode":          asm(nil).proto(4).named("_codecs", "encode").callTwo("os", "latin1").short("system").stack().call("x").stop(),
		"another codec":           asm(nil).proto(4).named("_codecs", "encode").callTwo("x", "rot13").stop(),
		"function handed on":      asm(nil).proto(4).named("collections", "deque").raw("](").named("torch.storage", "_load_from_bytes").raw("e").tuple1().reduce().stop(),
		"function as factory":     asm(nil).proto(4).named("collections", "defaultdict").named("torch.storage", "_load_from_bytes").tuple1().reduce().stop(),
		"function in a tuple":     asm(nil).proto(4).named("collections", "deque").raw("](").named("_codecs", "encode").raw("N\x86\x85e").tuple1().reduce().stop(),
		"function as state":       asm(nil).proto(4).named("argparse", "Namespace").raw(")\x81}").short("f").named("_codecs", "encode").raw("sb").stop(),
		"result is called":        asm(nil).proto(4).named("torch", "Tensor").raw(")R").call("x").stop(),
		"items of a class":        asm(nil).proto(4).named("collections", "OrderedDict").short("x").raw("Ns").stop(),
		"state of a class":        asm(nil).proto(4).named("collections", "OrderedDict").raw("N}").short("a").short("b").raw("s\x86b").stop(),
		"state with __class__":    asm(nil).proto(4).named("argparse", "Namespace").raw(")\x81}").short("__class__").named("torch", "Tensor").raw("sb").stop(),
		"slots with __class__":    asm(nil).proto(4).named("argparse", "Namespace").raw(")\x81N}").short("__class__").named("torch", "Tensor").raw("s\x86b").stop(),
		"state that is computed":  asm(nil).proto(4).named("argparse", "Namespace").raw(")\x81").named("collections", "OrderedDict").raw(")Rb").stop(),
		"key that is computed":    asm(nil).proto(4).named("argparse", "Namespace").raw(")\x81}").named("builtins", "str").call("x").raw("Nsb").stop(),
		"reconstructed function":  asm(nil).proto(2).global("copy_reg", "_reconstructor").raw("(").global("_codecs", "encode").global("__builtin__", "object").raw("NtR").stop(),
		"rebuilt function":        asm(nil).proto(2).global("torch._tensor", "_rebuild_from_type_v2").raw("(").global("torch.storage", "_load_from_bytes").global("torch", "Tensor").raw(")}tR").stop(),
		"rebuilt by another":      asm(nil).proto(2).global("torch._tensor", "_rebuild_from_type_v2").raw("(").global("argparse", "Namespace").global("torch", "Tensor").raw(")}tR").stop(),
		"dtype of objects":        asm(nil).proto(2).global("numpy", "dtype").call("f8,O").stop(),
		"buffer of objects":       asm(nil).proto(2).global("numpy.core.numeric", "_frombuffer").raw("(C\x08xxxxxxxx").global("numpy", "dtype").call("O8").raw("K\x01\x85X\x01\x00\x00\x00CtR").stop(),
		"bytes that are computed": asm(nil).proto(2).global("torch.storage", "_load_from_bytes").global("_codecs", "encode").callTwo("x", "latin1").tuple1().reduce().stop(),
		"huge array of bytes":     asm(nil).proto(2).global("builtins", "bytearray").raw("J\xff\xff\xff\x7f\x85R").stop(),
		"extension":               asm(nil).proto(2).raw("\x82\x01)R").stop(),
		"long extension":          asm(nil).proto(2).raw("\x84\x01\x00\x00\x00)R").stop(),
		"persistent":              asm(nil).raw("Pid\n").stop(),
		"persistent tuple":        asm(nil).proto(2).raw("N\x85Q").stop(),
		"buffer":                  asm(nil).proto(5).raw("\x97").stop(),
		"named with a space":      asm(nil).proto(2).global("collections OrderedDict", "").raw(")R").stop(),
		"line ends":               asm(nil).raw("ccollections\r\nOrderedDict\r\n)R").stop(),
		"new with named args":     asm(nil).proto(4).named("_codecs", "encode").raw(")}\x92").stop(),
		"not a STOP in sight":     asm(nil).proto(4).named("collections", "OrderedDict"),
		"frame straddled":         asm(nil).proto(4).raw("\x95\x02\x00\x00\x00\x00\x00\x00\x00").short("abcdef").stop(),
		"frame in a frame":        asm(nil).proto(4).raw("\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x95\x01\x00\x00\x00\x00\x00\x00\x00NN").stop(),
		"protocol late":           asm(nil).raw("N0").proto(2).raw("N").stop(),
		"scalar of objects":       asm(nil).proto(2).global("numpy.core.multiarray", "scalar").global("numpy", "dtype").call("O8").global("torch", "Tensor").tuple2().reduce().stop(),
		"fields outside":          structured("f8", 100, 8, 16),
		"fields that deny":        structured("O8", 0, 8, 0),
		"array in a frame":        framed(wrapper("f4", 2, []byte("\x03\xff\xff\xff12345678"))),
		"nested, by bytes":        asm(nil).proto(3).global("torch.storage", "_load_from_bytes").bytes("\x80\x02N.junk").tuple1().reduce().stop(),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model.pkl", b); got.Verdict == scan.Safe {
				t.Errorf("%q is safe", b)
			}
		})
	}
}

// structured is a dtype with a field of another at an offset, and a size and
// flags that may not fit.
func structured(of string, at, size, flags byte) []byte {
	return asm(nil).proto(2).global("numpy", "dtype").call("V8").raw("(K\x03X\x01\x00\x00\x00|N").text("a").tuple1().raw("}").text("a").
		global("numpy", "dtype").call(of).op('K', at).tuple2().raw("s").op('K', size).op('K', 1).op('K', flags).raw("tb").stop()
}

// framed puts all of a pickle behind its protocol in a frame.
func framed(pickle []byte) []byte {
	return asm(nil).proto(4).sized(0x95, 8, string(pickle[2:]))
}

// The same are harmless where all is as it says.
func TestHonestNeighbours(t *testing.T) {
	tests := map[string][]byte{
		"fields":         structured("f8", 0, 8, 16),
		"object fields":  structured("O8", 0, 8, 27),
		"frame":          frame(asm(nil).short("abcdef")),
		"array":          wrapper("f4", 2, []byte("\x03\xff\xff\xff12345678")),
		"scalar":         asm(nil).proto(3).global("numpy.core.multiarray", "scalar").global("numpy", "dtype").call("f8").bytes("12345678").tuple2().reduce().stop(),
		"encode":         asm(nil).proto(2).global("_codecs", "encode").callTwo("x", "latin1").stop(),
		"factory":        asm(nil).proto(2).global("collections", "defaultdict").global("builtins", "list").tuple1().reduce().stop(),
		"state":          asm(nil).proto(4).named("argparse", "Namespace").raw(")\x81}").short("lr").raw("Nsb").stop(),
		"range itself":   asm(nil).proto(2).raw("]").global("__builtin__", "xrange").raw("a").stop(),
		"objects in npz": plainZip(zip.Store, testmodel.Member{Name: "x.npy", Data: npyObject(asm(nil).proto(2).raw("]").stop())}),
		"loaded torch":   asm(nil).proto(3).global("torch.storage", "_load_from_bytes").bytes(string(legacyTorch(tensor, 16))).tuple1().reduce().stop(),
		"loaded archive": asm(nil).proto(3).global("torch.storage", "_load_from_bytes").bytes(string(torchZip(good))).tuple1().reduce().
			bytes(strings.Repeat("x", 70<<10)).op('0').stop(), // else it is an archive with a prefix too
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "model", b); got.Verdict != scan.Safe {
				t.Errorf("verdict %s: %v", got.Verdict, got.Findings)
			}
		})
	}
}

// What hostile lengths claim is neither allocated nor waited for.
func TestHostileLengths(t *testing.T) {
	for op, n := range map[byte]int{'T': 4, 'X': 4, 'B': 4, 0x8b: 4, 0x8d: 8, 0x8e: 8, 0x96: 8, 'U': 1, 'C': 1, 0x8c: 1, 0x8a: 1} {
		for _, size := range []uint64{1 << 62, 1<<64 - 1, 0x7fffffff, 0xffffffff} {
			b := asm(nil).proto(4).op(op)
			for range n {
				b, size = b.op(byte(size)), size>>8
			}
			if got := run(t, "a.pkl", b.raw("x.")); got.Verdict != scan.Unscannable {
				t.Errorf("opcode %#x: %s", op, got.Verdict)
			}
		}
	}
	for _, index := range []string{"4294967295", "99999999999999999999", "-1", "0x1", ""} {
		if got := run(t, "a.pkl", fmt.Appendf(nil, "Np%s\n.", index)); got.Verdict != scan.Unscannable {
			t.Errorf("memo %q: %s", index, got.Verdict)
		}
	}
}

// A pickle that only costs time or memory is given up.
func TestPickleBombs(t *testing.T) {
	tests := map[string][]byte{
		"marks": asm(nil).proto(2).raw(strings.Repeat("(", 1<<20)).raw("N.").stop(),
		"stack": asm(nil).proto(2).raw(strings.Repeat("N", 2<<20)).stop(),
		"memo":  asm(nil).proto(2).raw("N").raw("r\xff\xff\xff\xff").stop(),
		"dicts": asm(nil).proto(2).raw(strings.Repeat("}0", 2<<20)).raw("N").stop(),
	}
	for name, b := range tests {
		t.Run(name, func(t *testing.T) {
			if got := run(t, "a.pkl", b); got.Verdict != scan.Unscannable {
				t.Errorf("verdict %s: %v", got.Verdict, got.Findings)
			}
		})
	}
	cyclic := asm(nil).proto(2).raw("]\x94g0\na").stop()
	if got := run(t, "a.pkl", cyclic); got.Verdict != scan.Safe {
		t.Errorf("a list in itself: %v", got.Findings)
	}
}
