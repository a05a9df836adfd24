package scan

import (
	"slices"
	"strings"
	"sync"
)

// harmfulModules are modules of which nearly all does what no model needs. A
// module counts with all below it. The list only makes findings of names that
// are not allowed worse, and says so in better words.
const harmfulModules = `
os posix posixpath nt ntpath sys subprocess _posixsubprocess popen2 commands pty pipes socket _socket ssl select
shutil tempfile glob fileinput io _io _pyio codecs linecache mmap fcntl signal
builtins __builtin__ __builtins__ _builtin_ importlib imp pkgutil zipimport runpy codeop site sitecustomize usercustomize
pickle _pickle cPickle copy_reg copyreg dill cloudpickle marshal shelve dbm jsonpickle yaml ruamel
operator _operator functools _functools types inspect gc weakref atexit threading _thread multiprocessing concurrent asyncio sched
ctypes _ctypes cffi _cffi_backend distutils setuptools pip ensurepip venv virtualenv conda pkg_resources
bdb pdb cProfile pstats timeit doctest unittest pydoc this antigravity
idlelib lib2to3 turtledemo webbrowser _osx_support _aix_support _pyrepl _bootsubprocess readline rlcompleter
httplib urllib urllib2 urllib3 requests aiohttp httpx ftplib smtplib imaplib poplib telnetlib nntplib xmlrpc socketserver cgi wsgiref
sqlite3 _sqlite3 logging paramiko fabric plumbum psutil invoke
tkinter turtle IPython ipykernel jupyter notebook
`

// harmfulBelow are modules and names of larger packages, and of modules whose
// names users give to their own too.
const harmfulBelow = `
code.interact code.compile_command code.InteractiveInterpreter code.InteractiveConsole
profile.run profile.runctx profile.Profile profile.main trace.Trace trace.main resource.setrlimit resource.prlimit
http.client http.server http.cookiejar test.support test.libregrtest test.regrtest test.__main__
numpy.f2py numpy.testing numpy.distutils numpy.load numpy.loads
numpy.fromfile numpy.memmap numpy.save numpy.__builtins__ numpy.distutils.exec_command numpy.os numpy.sys numpy.ctypeslib
torch.hub torch._dynamo torch._inductor torch.fx torch.jit torch.utils torch.load torch.serialization torch.storage torch.package
torch.distributed torch.multiprocessing torch.ops torch.classes torch.library torch.compile torch.os torch.sys torch._C torch.export
torch.testing torch._utils_internal torch.onnx torch.cuda.nvtx torch._classes torch._ops
scipy.weave pandas.eval pandas.read_pickle pandas.io pandas.core.computation pandas.util.testing
sklearn.externals sklearn.datasets joblib.load joblib.numpy_pickle joblib.externals joblib.parallel joblib.memory joblib.test
tensorflow.io tensorflow.python keras.utils keras.saving keras.config mlflow.projects mlflow.pyfunc mlflow.utils
transformers.dynamic_module_utils transformers.utils transformers.pipelines transformers.tools lightning.fabric
`

var harmfulNames = sync.OnceValue(func() map[string]bool {
	names := make(map[string]bool, 300)
	for name := range strings.FieldsSeq(harmfulModules + harmfulBelow) {
		names[name] = true
	}
	return names
})

// harmfulCalls are parts of names, not of modules, that run what they are given.
var harmfulCalls = []string{"system", "popen", "eval", "exec", "execfile", "compile"}

// harmfulWords are parts of names and modules by which Python reaches anything
// from anywhere.
var harmfulWords = []string{
	"__import__", "__globals__", "__builtins__", "__subclasses__",
	"__class__", "__base__", "__mro__", "__code__", "__dict__", "__getattribute__", "__reduce__", "__reduce_ex__",
	"getattr", "setattr", "attrgetter", "methodcaller", "sys", "os", "subprocess",
}

// harmful tells names known to be able to run commands, use files or the
// network, or load code.
func harmful(module, name string) bool {
	full := module + "." + name
	full = full[:min(len(full), maxName)]
	for i := range len(full) + 1 {
		if (i == len(full) || full[i] == '.') && harmfulNames()[full[:i]] {
			return true
		}
	}
	return hasWord(full, harmfulWords) || hasWord(name, harmfulCalls)
}

// hasWord tells whether a part of a dotted name is one of some words.
func hasWord(name string, words []string) bool {
	name = name[:min(len(name), maxName)]
	return slices.ContainsFunc(strings.Split(name, "."), func(w string) bool { return slices.Contains(words, w) })
}
