// Package arch holds the map of the module's packages, and the test that keeps
// the code to it.
//
// Data goes one way: cmd, server → hub → artifact, signing, lineage, index,
// card, format → transfer → remote, store → mediatypes, ref. A package imports
// only what its line in [Packages] names, and a package without a line fails
// the test: a new package begins as a line there. [Owners] names the heavy
// dependencies that only some packages may import.
//
// Tests are free to import what they need; what is only for tests is in no
// other line.
package arch

// A Package is one line of the map.
type Package struct {
	// Path is the package's directory in the module. A last element of "..."
	// stands for all packages at or below the rest, which may also import
	// each other.
	Path string

	// May are the packages that it may import, separated by spaces. An
	// element of "*" stands for one directory, whatever its name.
	May string

	// Why is the reason for what surprises.
	Why string
}

// Packages is the map, from the top down.
var Packages = []Package{
	{Path: "cmd/modelreg", May: "internal/ui pkg/* pkg/signing/policy pkg/signing/policy/admission pkg/signing/oms pkg/format/scan"},
	{Path: "examples/...", May: "pkg/*"},
	{Path: "tools/...", May: "pkg/* internal/testmodel", Why: "generators of test data live there too"},
	{Path: "internal/ui", May: "pkg/transfer", Why: "progress is drawn from its events"},

	{Path: "pkg/server/...", May: "pkg/hub pkg/registry pkg/index pkg/card"},
	{Path: "pkg/hub", May: "pkg/lineage pkg/diff pkg/eval pkg/bom pkg/variant pkg/signing pkg/signing/oms pkg/signing/policy pkg/provenance pkg/lock pkg/record pkg/layout pkg/format/scan pkg/index pkg/source pkg/catalog pkg/artifact pkg/card pkg/format pkg/transfer pkg/remote pkg/store pkg/mediatypes pkg/ref"},

	{Path: "pkg/diff", May: "pkg/lineage pkg/eval pkg/artifact pkg/chunk pkg/card pkg/format pkg/mediatypes"},
	{Path: "pkg/bom", May: "pkg/lineage pkg/eval pkg/card"},
	{Path: "pkg/lineage", May: "pkg/artifact pkg/card pkg/ref pkg/mediatypes"},
	{Path: "pkg/eval", May: "pkg/card"},
	{Path: "pkg/variant", May: "pkg/mediatypes"},
	{Path: "pkg/signing", May: "pkg/mediatypes pkg/ref"},
	{Path: "pkg/signing/oms", May: "pkg/signing", Why: "a signature over a directory, by the same keys"},
	{Path: "pkg/signing/policy", May: "pkg/signing pkg/glob pkg/sarif", Why: "it decides on what signing found"},
	{Path: "pkg/signing/policy/admission", May: "pkg/signing/policy", Why: "it writes a policy in the language of a cluster"},
	{Path: "pkg/provenance"},
	{Path: "pkg/lock", May: "pkg/ref"},
	{Path: "pkg/record", May: "pkg/glob pkg/mediatypes pkg/ref"},
	{Path: "pkg/index"},
	{Path: "pkg/artifact", May: "pkg/transfer pkg/chunk pkg/coding pkg/store pkg/format pkg/format/shard pkg/card pkg/glob pkg/secrets pkg/mediatypes", Why: "unpacking takes files from a store, and uses its partial files for those that are not in it"},
	{Path: "pkg/mount", May: "pkg/artifact", Why: "it asks the one judge of names; what it shows is given to it"},
	{Path: "pkg/registry", May: "pkg/mediatypes pkg/store", Why: "names are made durable in one way"},

	{Path: "pkg/source", May: "pkg/remote pkg/glob", Why: "other hubs are reached by remote's transport, and fail in its classes"},

	{Path: "pkg/catalog", May: "pkg/remote pkg/ref", Why: "the APIs beside registries are reached by remote's transport, with its credentials"},

	{Path: "pkg/transfer"},
	{Path: "pkg/chunk"},
	{Path: "pkg/remote", May: "pkg/ref"},
	{Path: "pkg/store", May: "pkg/mediatypes"},
	{Path: "pkg/layout", May: "pkg/store pkg/mediatypes", Why: "blobs on their way lie in partial files of the store's kind"},

	{Path: "pkg/format", May: readers + " pkg/format/malformed"},
	{Path: "pkg/format/scan", May: readers + " pkg/format/malformed pkg/format/internal/zipdir pkg/card pkg/sarif pkg/secrets", Why: "it looks at the same files, for what they could do"},
	{Path: "pkg/format/shard", May: "pkg/format/safetensors pkg/format/gguf pkg/format/malformed", Why: "it writes what these read"},
	{Path: "pkg/format/safetensors", May: below},
	{Path: "pkg/format/gguf", May: below},
	{Path: "pkg/format/onnx", May: below},
	{Path: "pkg/format/pickle", May: below},
	{Path: "pkg/format/numpy", May: below},
	{Path: "pkg/format/internal/window", May: "pkg/format/malformed"},
	{Path: "pkg/format/internal/zipdir", May: "pkg/format/malformed"},
	{Path: "pkg/format/malformed", Why: "the one error that all readers share"},

	{Path: "pkg/mediatypes"},
	{Path: "pkg/coding"},
	{Path: "pkg/ref"},
	{Path: "pkg/card"},
	{Path: "pkg/glob"},
	{Path: "pkg/sarif"},
	{Path: "pkg/secrets"},

	{Path: "pkg/store/storetest", May: "pkg/transfer", Why: "for tests: the suite that every store passes"},
	{Path: "internal/testreg", May: "pkg/registry internal/testmodel", Why: "for tests"},
	{Path: "internal/testhub", May: "internal/testreg", Why: "for tests"},
	{Path: "internal/testsigstore", Why: "for tests"},
	{Path: "internal/testmodel", Why: "for tests"},
	{Path: "internal/testcards", May: "pkg/index", Why: "for tests"},
	{Path: "internal/arch"},
}

const (
	readers = "pkg/format/safetensors pkg/format/gguf pkg/format/onnx pkg/format/pickle pkg/format/numpy"
	below   = "pkg/format/malformed pkg/format/internal/window pkg/format/internal/zipdir"
)

// An Owner says who may import a module from outside.
type Owner struct {
	// Prefix is the beginning of import paths. The longest that fits counts.
	Prefix string

	// May are the packages that may import them, separated by spaces.
	May string
}

// Owners are the dependencies with a weight, a surface for attacks, or a state
// of their own, each behind one package's API.
var Owners = []Owner{
	{"github.com/sigstore/", "pkg/signing pkg/signing/oms internal/testsigstore"},
	{"github.com/theupdateframework/", "pkg/signing internal/testsigstore"},
	{"github.com/google/go-containerregistry", "pkg/signing"}, // what cosign speaks
	{"github.com/distribution/distribution", "pkg/registry"},
	{"github.com/vbauerster/mpb", "internal/ui"},
	{"github.com/yuin/goldmark", "pkg/card"},
	{"github.com/microcosm-cc/bluemonday", "pkg/card"},
	{"modernc.org/sqlite", "pkg/index"},
	{"database/sql", "pkg/index"},
	{"github.com/jackc/pgx", "pkg/index"},
	{"github.com/go-git/", "pkg/artifact"}, // gitignore patterns
	{"github.com/hanwen/go-fuse", "pkg/mount"},
	{"github.com/spf13/cobra", "cmd/modelreg"},
	{"github.com/spf13/pflag", "cmd/modelreg"},

	{"oras.land/oras-go", orasUsers},
	{"oras.land/oras-go/v2/registry", "pkg/remote"},                             // the client
	{"oras.land/oras-go/v2/registry/remote/errcode", "pkg/remote pkg/transfer"}, // which answers are worth another try
	// The one vocabulary of content and errors, for which commands have exit
	// codes and suites have expectations.
	{"oras.land/oras-go/v2/content", orasUsers + " pkg/source pkg/store/storetest cmd/modelreg"},
	{"oras.land/oras-go/v2/errdef", orasUsers + " pkg/lineage pkg/source pkg/store/storetest cmd/modelreg pkg/server"},
}

const orasUsers = "pkg/remote pkg/store pkg/layout pkg/artifact pkg/transfer pkg/signing pkg/hub"

// VagueNames are names for packages that say nothing of what is in them.
var VagueNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "managers", "types", "constants", "misc", "shared", "base", "core", "lib"}
