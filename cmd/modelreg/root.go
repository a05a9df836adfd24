package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// streams is where a run reads and writes, and what it runs.
type streams struct {
	in       io.Reader
	out, err io.Writer
	self     string // the file of this program; "" if it is not to be run
}

// app is what the commands share: the streams, the global flags and, once
// flags are parsed, the configuration.
type app struct {
	streams
	printer ui.Printer
	config  config

	format, progress, configPath string
	plainHTTP, insecure          bool
	caFile, certFile, keyFile    string
	authFile                     string

	policies policyFlags
	variant  variantFlags
	maxWait  waitValue // for a registry that gives next to nothing; 0 leaves it to remote and transfer

	opened *store.Store // nil until a command needs it
	stale  sync.Once    // for the warning about the trusted root
}

// run executes one command line and returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	a := &app{streams: s, printer: ui.Printer{Out: s.out, Err: s.err}}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	err := root.ExecuteContext(ctx)
	if a.opened != nil {
		err = errors.Join(err, a.opened.Close())
	}
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errDifferent) {
		return exitFailure
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Canceled, err)
	}
	if wantsJSON(args) {
		a.printer.Format = ui.JSON
	}
	f := explain(err)
	a.printer.Fail(f)
	return f.Code
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "modelreg COMMAND",
		Short: "A model hub on the OCI registry you already have",
		Long: `modelreg packs model directories as OCI artifacts, pushes them to any registry,
signs and verifies them, and brings them back by digest.

A reference is [HOST/]ORG/MODEL[:TAG][@DIGEST]. Without a host it is looked up
in the default registry of the configuration ("modelreg config").`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return a.setup(cmd) },
		Args:              subcommand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	a.globalFlags(root)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newInit(a), newPush(a), newPull(a), newCopy(a), newBundle(a), newImport(a), newInspect(a), newLs(a), newResolve(a), newTag(a), newCat(a), newMount(a), newTensors(a),
		newLogin(a), newLogout(a), newKeygen(a), newSign(a), newVerify(a), newLock(a), newLineage(a), newAttest(a), newScan(a), newTree(a), newTrust(a),
		newCard(a), newBOM(a),
		newDiff(a), newLog(a), newShow(a), newStatus(a), newBranch(a), newRevert(a), newMerge(a),
		newPolicy(a), newEval(a),
		newRepo(a), newPromote(a), newRollback(a), newYank(a), newDeprecate(a), newRestore(a),
		newSearch(a), newIndex(a),
		newCache(a), newGC(a), newServe(a), newDoctor(a), newConfig(a), newVersion(a), newExitCodes(),
	)
	root.CompletionOptions.HiddenDefaultCmd = false
	checkHelp(root)
	noFiles(root)
	return root
}

func (a *app) globalFlags(root *cobra.Command) {
	choose(root, choiceFlag{&a.format, "format", "shape of results on standard output: `text|json`", true}, "text", "json")
	choose(root, choiceFlag{&a.progress, "progress", "progress on standard error: `auto|plain|none`", true}, "auto", "plain", "none")
	f := root.PersistentFlags()
	f.BoolVarP(&a.printer.Quiet, "quiet", "q", false, "no progress and no notes")
	f.StringVar(&a.configPath, "config", "", "configuration `FILE` (default: $MODELREG_CONFIG, or modelreg/config.yaml in the user's configuration directory)")
	f.BoolVar(&a.plainHTTP, "plain-http", false, "speak HTTP to registries (loopback addresses do so without it)")
	f.BoolVar(&a.insecure, "insecure", false, "do not check TLS certificates of registries")
	f.StringVar(&a.caFile, "ca-file", "", "trust the certificate authorities in PEM `FILE` too")
	f.StringVar(&a.certFile, "cert-file", "", "client certificate, PEM `FILE`")
	f.StringVar(&a.keyFile, "key-file", "", "key of the client certificate, PEM `FILE`")
	f.StringVar(&a.authFile, "registry-config", "", "credentials `FILE` in the form of docker's config.json (default: docker's own)")
}

// setup makes the global flags true, before any command runs.
func (a *app) setup(cmd *cobra.Command) error {
	a.printer.Format = ui.Format(a.format)
	a.printer.Terminal = a.progress == "auto" && isTerminal(a.err)
	a.printer.NoProgress = a.progress == "none"
	a.printer.Color = isTerminal(a.out) && os.Getenv("NO_COLOR") == ""
	if !needsConfig(cmd) {
		return nil
	}
	var err error
	a.config, err = a.loadConfig()
	return err
}

// needsConfig tells which commands stop at a broken configuration; the others
// are what one needs to find out and mend it.
func needsConfig(cmd *cobra.Command) bool {
	for ; cmd.HasParent(); cmd = cmd.Parent() {
		if !cmd.Parent().HasParent() {
			return !slices.Contains([]string{
				"completion", "config", "exit-codes", "help", "version",
				cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd,
			}, cmd.Name())
		}
	}
	return false
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
}

// parse reads a reference with the names of the configuration.
func (a *app) parse(s string) (ref.Reference, error) {
	return ref.Names{Default: a.config.Default.Registry, Aliases: a.config.Registries.Alias}.Parse(s)
}

// hub opens what commands that talk to a registry need. Bytes of a version are
// used only as the policies of this user allow.
func (a *app) hub(observe transfer.Observer) (*hub.Hub, error) {
	return a.hubUnder(observe, a.policySources())
}

// hubUnder is hub with other policies.
func (a *app) hubUnder(observe transfer.Observer, policies []policySource) (*hub.Hub, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	s, err := a.store()
	if err != nil {
		a.printer.Warn("working without a local store (MODELREG_CACHE names another place for it): %v", err)
	}
	a.opened = s // nil after an error
	var seen *signing.Seen
	if dir, err := stateDir(); err != nil {
		a.printer.Warn("tags that go back to an older version will not be noticed (MODELREG_STATE names a place to remember them): %v", err)
	} else {
		seen = signing.NewSeen(filepath.Join(dir, "seen"))
	}
	want, err := a.variant.want()
	if err != nil {
		return nil, err
	}
	as, err := a.asRepository()
	if err != nil {
		return nil, err
	}
	apis, err := a.config.apis()
	if err != nil {
		return nil, err
	}
	evaluations, err := a.repositoriesOf(a.config.Evaluations)
	if err != nil {
		return nil, fmt.Errorf("read \"evaluations\" of the configuration: %w", err)
	}
	opts := hub.Options{
		Evaluations: evaluations,
		Catalog:     catalog.Options{APIs: apis, GitHubToken: os.Getenv("GITHUB_TOKEN")},
		As:          as, Remote: client, Store: s, Seen: seen, Observe: observe, Strict: a.policies.strict, Want: want, Machine: a.machine, Chose: a.noteChoice,
		Warn: func(m string) { a.printer.Warn("%s", spoken(m)) },
	}
	opts.Rules = a.rules(hub.New(opts), policies)
	return hub.New(opts), nil
}

// open opens what a command about one reference needs, and reads the reference.
func (a *app) open(arg string) (*hub.Hub, ref.Reference, error) {
	r, err := a.parse(arg)
	if err == nil {
		err = a.checkAs(r)
	}
	if err != nil {
		return nil, r, err
	}
	h, err := a.hub(nil)
	return h, r, err
}

func (a *app) client() (*remote.Client, error) {
	if err := a.config.checkMirrors(); err != nil {
		return nil, err
	}
	opts := remote.Options{
		CAFile: a.caFile, CertFile: a.certFile, KeyFile: a.keyFile,
		InsecureTLS: a.insecure, AuthFile: a.authFile,
		UserAgent: "modelreg/" + version(), Realms: a.config.Realms,
		Mirrors: a.config.mirrors(), HostsDir: a.config.hostsDir(), MaxWait: time.Duration(a.maxWait),
		Warn: func(m string) { a.printer.Warn("%s", spoken(m)) },
	}
	if a.plainHTTP {
		opts.PlainHTTP = func(string) bool { return true }
	}
	return remote.New(opts)
}

func (a *app) store() (*store.Store, error) {
	dir, err := a.cacheDir()
	if err != nil {
		return nil, err
	}
	return store.Open(dir)
}

// stateDir is where things lie that must outlive the cache, which may be deleted
// at any time: where the XDG base directory specification puts them, and beside
// the configuration on systems that know nothing of it.
func stateDir() (string, error) {
	if dir := os.Getenv("MODELREG_STATE"); dir != "" {
		return dir, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "modelreg"), nil
	}
	if runtime.GOOS == "linux" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("find state directory: %w", err)
		}
		return filepath.Join(home, ".local", "state", "modelreg"), nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find state directory: %w", err)
	}
	return filepath.Join(dir, "modelreg", "state"), nil
}

// cacheDir is where the local store lies.
func (a *app) cacheDir() (string, error) {
	if a.config.Cache != "" {
		return a.config.Cache, nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find cache directory: %w", err)
	}
	return filepath.Join(dir, "modelreg"), nil
}
