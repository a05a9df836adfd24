package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/source"
)

type importFlags struct {
	hub.ImportOptions
	push pushFlags
}

func newImport(a *app) *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use:   "import SOURCE REF",
		Short: "Bring a model from another hub into a registry",
		Long: `Take the model that SOURCE names and make it the version that the tag of REF
points to. Bytes go from the source straight into the registry, and only those that
the registry does not have. SOURCE is one of

  hf://ORG/MODEL[@REVISION]       the Hugging Face Hub, or HF_ENDPOINT
  ms://ORG/MODEL[@REVISION]       ModelScope
  ollama://NAME[:TAG]             an Ollama model
  docker://NAME[:TAG]             a Docker model artifact
  oci://HOST/NAME[:TAG]           a ModelKit or other model artifact in a registry
  PATH                            a model in a cache of Hugging Face's clients

The revision is resolved to a commit once, and the version says which it was. It is
otherwise the one that "modelreg push" makes of the same files. Stopped half-way, the
same command goes on with what has arrived.

A hub that asks to wait is waited for up to 10 minutes, and a registry up to 5, unless
--max-wait says otherwise.

Tokens come from HF_TOKEN or the file that "hf auth login" writes, and from
MODELSCOPE_API_TOKEN.`,
		Example: `  modelreg import hf://Qwen/Qwen3-0.6B ghcr.io/acme/qwen3:v1
  modelreg import hf://Qwen/Qwen3-0.6B@c1899de ghcr.io/acme/qwen3:v1 --include '*.safetensors' --include '*.json'
  modelreg import ollama://llama3.2:1b ghcr.io/acme/llama3.2:1b --sign --key cosign.key`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(sources, a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.importModel(cmd, args, f) },
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.Source.Include, "include", nil, "take only files that match `PATTERN`, as huggingface_hub's allow_patterns (repeatable)")
	fl.StringArrayVar(&f.Source.Exclude, "exclude", nil, "leave out files that match `PATTERN` (repeatable)")
	fl.BoolVar(&f.Source.Offline, "offline", false, "take models of the Hugging Face Hub from the local cache (also: HF_HUB_OFFLINE=1)")
	fl.StringArrayVarP(&f.Tags, "tag", "t", nil, "set `TAG` too (repeatable)")
	fl.StringArrayVar(&f.push.annotations, "annotation", nil, "add `KEY=VALUE` to the manifest (repeatable; part of the version's identity)")
	choose(cmd, choiceFlag{value: &f.push.layout, name: "layout", usage: "how files become layers: `auto|raw`; auto packs hundreds of small files into tar layers, raw never"}, "auto", "raw")
	fl.StringVar(&f.push.created, "created", "", "creation `TIME`, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else none)")
	fl.StringArrayVar(&f.IncludeSecrets, "include-secret", nil, "take `FILE` although it looks like a secret (repeatable)")
	fl.StringArrayVar(&f.MountFrom, "mount-from", nil, "link blobs from `REPOSITORY` of the same registry instead of moving them (repeatable)")
	fl.IntVar(&f.Uploads, "concurrency", 0, "move `N` files at once (default 4)")
	fl.BoolVar(&f.NoPreflight, "no-preflight", false, "move files that are larger than the registry is known to take")
	scanFlagsOf(cmd, &f.PushOptions)
	fl.BoolVar(&f.DryRun, "dry-run", false, "resolve, read the headers, and send nothing")
	commitFlags(cmd, &f.push.Committing)
	f.push.signWith(fl)
	f.push.signer.add(cmd)
	f.push.signer.addCertificate(cmd)
	f.push.provenance.add(cmd)
	f.push.lineage.add(cmd)
	a.addWaitFlag(cmd)
	return cmd
}

func (a *app) importModel(cmd *cobra.Command, args []string, f importFlags) error {
	if isDir(args[0]) && !source.IsCached(args[0]) {
		return usagef("import %s: it is a directory, and not of a Hugging Face cache: use push", args[0])
	}
	r, err := a.parse(args[1])
	if err != nil {
		return err
	}
	if err := a.importOptions(cmd.Context(), &f); err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(args[0], "oci://"); ok {
		at, err := a.parse(rest) // the configuration's names are good here too
		if err != nil {
			return err
		}
		args[0] = "oci://" + at.String()
	}
	f.Resolved = func(o hub.Origin) { a.printer.Note("%s", resolved(o)) }
	progress := a.printer.Progress("import")
	h, err := a.hub(progress.Observe)
	if err != nil {
		progress.Close()
		return err
	}
	started := time.Now()
	res, err := h.Import(cmd.Context(), args[0], r, f.ImportOptions)
	progress.Close()
	if err != nil {
		return err
	}
	for _, n := range res.Notes {
		a.printer.Note("note: %s", n)
	}
	a.noteAnnounced(&res.PushResult)
	a.printer.Note("%s", importSummary(res, f.DryRun, time.Since(started)))
	return a.printer.Result(res, func(w io.Writer) {
		if res.Reference != "" { // of a dry run it may not be known
			fmt.Fprintln(w, spoken(res.Reference))
		}
	})
}

// importOptions reads the flags that are not options as they stand, and the
// environment variables of the hubs' own clients.
func (a *app) importOptions(ctx context.Context, f *importFlags) error {
	if err := a.pushOptions(ctx, &f.push); err != nil {
		return err
	}
	f.Annotations, f.Created, f.Signer, f.Inputs, f.Announce = f.push.Annotations, f.push.Created, f.push.Signer, f.push.Inputs, f.push.Announce
	f.Scan = a.scanRunner()
	var err error
	if f.Provenance, err = a.provenance(ctx, f.push.provenance, "", f.parameters()); err != nil {
		return err
	}
	if f.push.layout == "raw" {
		f.Layout = artifact.LayoutRaw
	}
	f.Source.MaxWait = time.Duration(a.maxWait)
	home, err := hfHome()
	if err != nil {
		return err
	}
	if f.Source.Cache, err = hfCacheDir(); err != nil {
		return err
	}
	f.Source.Offline = f.Source.Offline || isTrue(os.Getenv("HF_HUB_OFFLINE"))
	f.Source.HuggingFace = source.Hub{Endpoint: os.Getenv("HF_ENDPOINT"), Token: hfToken(home)}
	f.Source.ModelScope = source.Hub{Endpoint: modelScopeEndpoint(), Token: os.Getenv("MODELSCOPE_API_TOKEN")}
	return nil
}

// parameters are those flags of import that change what is made of the source.
func (f *importFlags) parameters() map[string]string {
	p := f.push.parameters()
	if len(f.Source.Include) > 0 {
		p["include"] = strings.Join(f.Source.Include, "\n")
	}
	if len(f.Source.Exclude) > 0 {
		p["exclude"] = strings.Join(f.Source.Exclude, "\n")
	}
	return p
}

// modelScopeEndpoint is the domain that ModelScope's client is told to use.
func modelScopeEndpoint() string {
	domain := os.Getenv("MODELSCOPE_DOMAIN")
	if domain == "" || strings.Contains(domain, "://") {
		return domain
	}
	return "https://" + domain
}

// sources proposes the schemes of other hubs.
func sources(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"hf://", "ms://", "ollama://", "docker://", "oci://"}, cobra.ShellCompDirectiveNoSpace
}

// resolved tells what will be imported.
func resolved(o hub.Origin) string {
	s := fmt.Sprintf("resolved %s %s @ %s   %s in %s", o.Hub, o.ID, shortCommit(o.Commit), ui.Bytes(o.Size), ui.Files(o.Files))
	if o.License != "" {
		s += " · " + o.License
	}
	return s
}

func shortCommit(c string) string {
	if rest, ok := strings.CutPrefix(c, "sha256:"); ok {
		return "sha256:" + shortCommit(rest)
	}
	if len(c) > 8 {
		return c[:8] + "…"
	}
	return c
}

func importSummary(res *hub.ImportResult, dry bool, took time.Duration) string {
	size := ui.Files(res.Files) + ", " + ui.Bytes(res.Size)
	switch {
	case dry && res.Digest == "":
		return "would import " + size + "; the digest is not known before chunk indexes are made of the bytes"
	case dry:
		return "would import " + size + " as " + res.Digest
	case !res.Created && res.UploadedBytes == 0:
		return "everything up-to-date: " + size
	}
	s := fmt.Sprintf("imported %s in %s: %s streamed, %s mounted, %s already there",
		size, ui.Duration(took), ui.Bytes(res.UploadedBytes), ui.Bytes(res.MountedBytes), ui.Bytes(res.SkippedBytes))
	if res.Origin.Claimed > 0 {
		s += fmt.Sprintf("; sha256 as %s says for %d of %s", res.Origin.Hub, res.Origin.Claimed, ui.Files(res.Files))
	}
	if res.Signatures > 0 {
		s += "; signed"
	}
	return s
}
