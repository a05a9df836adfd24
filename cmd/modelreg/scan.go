package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/format/scan"
	"github.com/modelreg/modelreg/pkg/hub"
)

type scanFlags struct {
	failOn   string
	scanners []string
	whole    bool
	attach   bool
	rescan   bool
	signer   signerFlags
}

func newScan(a *app) *cobra.Command {
	var f scanFlags
	cmd := &cobra.Command{
		Use:   "scan REF | DIR | FILE",
		Short: "Tell what the files of a model could do to whoever loads them",
		Long: `Look at the files of a version, or on this machine, for what could run when they are
loaded, and for what is not what it says. Nothing is loaded, imported or rendered. Of a
version in a registry, headers, code and small files are read by range, and weights are
not fetched.

The verdict is safe (all of it was followed and does nothing), unknown (it names code
that is not known to be harmless), unscannable (it could not be followed to its end) or
dangerous. The exit code is 16 for what --fail-on says:

  unsafe     verdict dangerous or unscannable (the default)
  unknown    any verdict but safe
  low, medium, high, critical
             a finding of that severity or above
  never      nothing

Other scanners are asked with --scanner, or under "scanners" in the configuration: they
get a JSON document of the files on standard input and answer in SARIF. They need whole
files, so that a version is fetched for them. docs/scan.md has the rules and the protocol.

What was found in files that have not changed since is remembered in the local store, and
they are not read again; --rescan reads them.

With --attach the report is signed and attached to the version, for policies.`,
		Example: `  modelreg scan ./model
  modelreg scan ghcr.io/acme/support:v1 --format sarif > scan.sarif
  modelreg scan ghcr.io/acme/support:v1 --attach --key cosign.key
  modelreg scan ./model --scanner 'modelscan=modelscan-sarif' --fail-on high`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.scan(cmd.Context(), args[0], f) },
	}
	choose(cmd, choiceFlag{value: &a.format, name: "format", usage: "shape of results on standard output: `text|json|sarif`"}, "text", "json", "sarif")
	choose(cmd, choiceFlag{value: &f.failOn, name: "fail-on", usage: "what ends with exit code 16: `unsafe|unknown|low|medium|high|critical|never`"},
		"unsafe", "unknown", "low", "medium", "high", "critical", "never")
	fl := cmd.Flags()
	fl.StringArrayVar(&f.scanners, "scanner", nil, "ask another scanner too: `NAME=COMMAND`, or NAME of one in the configuration (repeatable)")
	fl.BoolVar(&f.whole, "whole", false, "fetch the version, to look at all of it and to know that it is the version's")
	fl.BoolVar(&f.rescan, "rescan", false, rescanUsage)
	fl.BoolVar(&f.attach, "attach", false, "sign the report and attach it to the version")
	f.signer.add(cmd)
	return cmd
}

func (a *app) scan(ctx context.Context, arg string, f scanFlags) error {
	opts, done, err := a.scanOptions(ctx, f)
	if err != nil {
		return err
	}
	res, err := a.scanned(ctx, arg, opts)
	if err = errors.Join(err, done()); err != nil {
		return err
	}
	if err := a.printScan(res); err != nil {
		return err
	}
	return f.judge(res)
}

// scanned looks at arg, on this machine or in a registry.
func (a *app) scanned(ctx context.Context, arg string, opts hub.ScanOptions) (*hub.ScanResult, error) {
	if a.local(arg) {
		if opts.Signer != nil {
			return nil, usagef("scan %s: --attach is for a version in a registry: push it first", arg)
		}
		if s, err := a.store(); err == nil { // without it all is read
			defer s.Close()
			opts.Store = s
		}
		return hub.LocalScan(ctx, arg, opts)
	}
	r, err := a.parse(arg)
	if err != nil {
		return nil, err
	}
	h, err := a.hub(nil)
	if err != nil {
		return nil, err
	}
	return h.Scan(ctx, r, opts)
}

// scanOptions reads the flags. What it returns besides is to be called in the
// end.
func (a *app) scanOptions(ctx context.Context, f scanFlags) (opts hub.ScanOptions, done func() error, err error) {
	done = func() error { return nil }
	opts = hub.ScanOptions{Whole: f.whole, Rescan: f.rescan, Version: version(), Run: a.scanRunner()}
	if f.attach != f.signer.given() {
		return opts, done, usagef("--attach and %s go together", signerUsage)
	}
	if opts.Scanners, err = a.otherScanners(f.scanners); err != nil {
		return opts, done, err
	}
	if f.attach {
		if opts.Signer, err = a.signerOf(ctx, f.signer); err != nil {
			return opts, done, err
		}
	}
	if opts.Whole || opts.Signer != nil || len(opts.Scanners) > 0 {
		// Beside the store, so that its blobs can be shared: /tmp may be small.
		dir, err := a.cacheDir()
		if err != nil {
			return opts, done, err
		}
		if err := os.MkdirAll(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return opts, done, err
		}
		if opts.Scratch, err = os.MkdirTemp(dir, "scratch-*"); err != nil {
			return opts, done, err
		}
		done = func() error { return os.RemoveAll(opts.Scratch) }
	}
	return opts, done, nil
}

// judge makes an error of what --fail-on says.
func (f scanFlags) judge(res *hub.ScanResult) error {
	switch f.failOn {
	case "never":
		return nil
	case "unsafe":
		return res.Unacceptable("", scan.Dangerous, scan.Unscannable)
	case "unknown":
		return res.Unacceptable("", scan.Dangerous, scan.Unscannable, scan.Unknown)
	}
	return res.Unacceptable(scan.Severity(f.failOn))
}

func (a *app) printScan(res *hub.ScanResult) error {
	if a.format == "sarif" {
		raw, err := res.SARIF(scan.Tool{Name: "modelreg", Version: version(), URI: "https://github.com/modelreg/modelreg"})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.out, string(raw))
		return err
	}
	if res.Digest != "" && !res.Verified {
		a.printer.Warn("parts of %s were read that only the whole file could verify; --whole looks at all of it", spoken(res.Reference))
	}
	if res.Attestation != "" {
		a.printer.Note("attached the signed report as %s", res.Attestation)
	}
	return a.printer.Result(res, func(w io.Writer) { printFindings(w, res) })
}

func printFindings(w io.Writer, res *hub.ScanResult) {
	if len(res.Findings) > 0 {
		t := ui.Table(w)
		fmt.Fprintln(t, "SEVERITY\tRULE\tFILE\tOFFSET\tFINDING")
		for _, f := range res.Findings {
			fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\n", f.Severity, ui.Line(f.Rule), ui.Line(f.Path), f.Offset, ui.Line(f.Message))
		}
		_ = t.Flush()
	}
	known := ""
	if res.Remembered > 0 {
		known = fmt.Sprintf(", %d unchanged since an earlier scan", res.Remembered)
	}
	fmt.Fprintf(w, "verdict: %s (%s%s)\n", res.Verdict, ui.Files(res.Files), known)
}

// scanFlagsOf adds the flags that say how a push looks at what it sends.
func scanFlagsOf(cmd *cobra.Command, opts *hub.PushOptions) {
	cmd.Flags().BoolVar(&opts.NoScan, "no-scan", false, "do not look at the files for what they could do to whoever loads them")
	cmd.Flags().BoolVar(&opts.AllowUnsafe, "allow-unsafe", false, "send files although they are dangerous to whoever loads them")
}

const rescanUsage = "read files again although they have not changed since they were last scanned"

// scanHint tells what to do about what a scan has found.
func scanHint(e *hub.ScanError) string {
	switch e.Op {
	case "scan":
		return "docs/scan.md says what the rules mean; convert weights to safetensors where you can, and choose what ends so with --fail-on"
	case "import":
		return "leave the file out with --exclude, or take it all the same with --allow-unsafe"
	}
	return "\"modelreg scan DIR\" tells all; convert the weights to safetensors, or push them all the same with --allow-unsafe"
}
