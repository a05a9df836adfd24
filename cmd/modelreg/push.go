package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
)

type pushFlags struct {
	hub.PushOptions
	annotations []string
	layout      string
	variants    []string
	created     string
	with        string // of --sign
	sign        bool
	signer      signerFlags
	provenance  provenanceFlags
	lineage     lineageFlags
	forms       formFlags
}

func newPush(a *app) *cobra.Command {
	var f pushFlags
	cmd := &cobra.Command{
		Use:   "push DIR REF | push [DIR] REF --variant [NAME=]PATH...",
		Short: "Pack a model directory and upload it as a version",
		Long: `Pack the files of DIR as an OCI artifact, upload what the registry does not have,
and point the tag of REF at it (latest, when REF has none).

The same files give the same digest on every machine, so pushing again without a
change uploads nothing and makes nothing. What does change something becomes a version
whose parent is the one that the tag pointed to ("modelreg log" shows them); if somebody
else has moved the tag meanwhile, or since DIR was pulled from there or last pushed to it, both
versions are kept and the push ends with 4. Files named in .modelregignore
(gitignore syntax) stay out, and so do .git, .env, credentials and caches.

Registries have a largest blob: ghcr.io takes 10 GB. With --reshard, safetensors
and GGUF files over SIZE are uploaded as shards that every loader reads. DIR
stays as it is, and no room on the disk is needed.

With --variant, several forms of one model are one version: safetensors, and GGUF in
several quantisations. DIR is one of them, if it is given, and each PATH another; a
PATH that is a file brings its shards, and the card, licence, configuration and
tokenizer beside it. "modelreg pull" then takes the one that is asked for, or fits, and
each can be had alone by the tag TAG-NAME. The version has these variants and no
others, unless --add keeps those that it had.`,
		Example: `  modelreg push ./model ghcr.io/acme/support:v1
  modelreg push ./model ghcr.io/acme/support:v1 --sign --key cosign.key
  modelreg push ./model ghcr.io/acme/support:v1.2.0 --branch main -m "longer context"
  modelreg push ./model ghcr.io/acme/support:v1 --base ghcr.io/acme/base:v3 --dataset ghcr.io/acme/tickets:v7
  modelreg push ./model ghcr.io/acme/support:v1 --reshard 4GB
  modelreg push ./model ghcr.io/acme/support:v1 --variant ./gguf/support-Q4_K_M.gguf --variant ./gguf/support-Q8_0.gguf
  modelreg push ./gguf ghcr.io/acme/support:v1 --variants-by-file
  modelreg push ghcr.io/acme/support:v1 --add --variant onnx=./onnx
  modelreg push ./model ghcr.io/acme/support:v1 --dry-run --format json`,
		Args:              func(cmd *cobra.Command, args []string) error { return f.forms.pushArgs(cmd, args) },
		ValidArgsFunction: positions(directories, a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.push(cmd, args, f) },
	}
	f.pack(cmd)
	commitFlags(cmd, &f.Committing)
	f.signWith(cmd.Flags())
	f.signer.add(cmd)
	f.signer.addCertificate(cmd)
	f.provenance.add(cmd)
	f.lineage.add(cmd)
	f.forms.add(cmd, &f.PushOptions)
	a.addWaitFlag(cmd)
	return cmd
}

// pack adds the flags about what is packed, and how it is sent.
func (f *pushFlags) pack(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.Tags, "tag", "t", nil, "set `TAG` too (repeatable)")
	fl.StringArrayVar(&f.annotations, "annotation", nil, "add `KEY=VALUE` to the manifest (repeatable; part of the version's identity)")
	choose(cmd, choiceFlag{value: &f.layout, name: "layout", usage: "how files become layers: `auto|raw`; auto packs hundreds of small files into tar layers, raw never"}, "auto", "raw")
	fl.Var((*sizeValue)(&f.Reshard), "reshard", "cut safetensors and GGUF files larger than `SIZE`, such as 4GB, into shards between tensors")
	fl.StringSliceVar(&f.variants, "variants", nil, "keep codings of the weights in fewer bytes beside the version: `bf16z,delta:REF`; see pull --variants")
	fl.StringVar(&f.created, "created", "", "creation `TIME`, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else none)")
	fl.IntVarP(&f.Workers, "jobs", "j", 0, "handle `N` files at once (default: one per CPU)")
	fl.StringArrayVar(&f.IncludeSecrets, "include-secret", nil, "pack `FILE` although it looks like a secret (repeatable)")
	fl.StringArrayVar(&f.MountFrom, "mount-from", nil, "link blobs from `REPOSITORY` of the same registry instead of uploading (repeatable)")
	fl.BoolVar(&f.NoPreflight, "no-preflight", false, "push files that are larger than the registry is known to take")
	fl.BoolVar(&f.Strict, "strict", false, "refuse base models that are known by name alone")
	scanFlagsOf(cmd, &f.PushOptions)
	fl.BoolVar(&f.Rescan, "rescan", false, rescanUsage)
	fl.BoolVar(&f.DryRun, "dry-run", false, "pack and hash, and send nothing")
}

func (a *app) push(cmd *cobra.Command, args []string, f pushFlags) error {
	dir, reference, err := pushPlaces(args)
	if err != nil {
		return err
	}
	r, err := a.parse(reference)
	if err != nil {
		return err
	}
	if err := f.forms.check(f.PushOptions); err != nil {
		return err
	}
	if err := a.pushOptions(cmd.Context(), &f); err != nil {
		return err
	}
	if f.Provenance, err = a.provenance(cmd.Context(), f.provenance, dir, f.parameters()); err != nil {
		return err
	}
	progress := a.printer.Progress("push")
	h, err := a.hub(progress.Observe)
	if err != nil {
		progress.Close()
		return err
	}
	started := time.Now()
	res, err := a.pushed(cmd.Context(), h, dir, r, f)
	progress.Close()
	if err != nil {
		return err
	}
	for _, n := range res.Notes {
		a.printer.Note("note: %s", n)
	}
	a.notePushed(res)
	a.noteAnnounced(res)
	a.printer.Note("%s", pushSummary(res, f.DryRun, time.Since(started)))
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, spoken(res.Reference)) })
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// pushOptions reads the flags that are not options as they stand.
func (a *app) pushOptions(ctx context.Context, f *pushFlags) (err error) {
	if f.Annotations, err = pairs("annotation", f.annotations); err != nil {
		return err
	}
	if f.layout == "raw" {
		f.Layout = artifact.LayoutRaw
	}
	if f.Reshard != 0 && f.Reshard < artifact.MinReshard {
		return usagef("--reshard %d: shards are at least %d bytes; say 4GB for gigabytes", f.Reshard, artifact.MinReshard)
	}
	if f.Variants, err = a.variants(f.variants); err != nil {
		return err
	}
	if f.DryRun && len(f.Variants) > 0 {
		return usagef("--dry-run and --variants do not go together: codings are made while they are sent")
	}
	if f.Inputs, err = a.inputs(f.lineage); err != nil {
		return err
	}
	f.Announce = f.lineage.announce
	if f.Created, err = createdTime(f.created); err != nil {
		return err
	}
	if err := f.signFlag(); err != nil {
		return err
	}
	if f.sign != f.signer.given() {
		return usagef("--sign and %s go together", signerUsage)
	}
	if !f.sign && f.signer.certificate+f.signer.chain != "" {
		return usagef("--certificate goes with --sign --key: it is put beside a signature")
	}
	if f.provenance.wanted && !f.sign {
		return usagef("--provenance needs --sign: unsigned it says nothing")
	}
	if f.sign {
		f.Signer, err = a.signerOf(ctx, f.signer)
	}
	return err
}

// variants reads --variants.
func (a *app) variants(names []string) ([]hub.Variant, error) {
	var list []hub.Variant
	for _, name := range names {
		kind, base, isDelta := strings.Cut(name, ":")
		switch {
		case name == "bf16z":
			list = append(list, hub.Variant{})
		case kind == "delta" && isDelta:
			r, err := a.parse(base)
			if err != nil {
				return nil, err
			}
			list = append(list, hub.Variant{Base: &r})
		default:
			return nil, usagef("--variants %s: use bf16z, delta:REF, or both with a comma between", name)
		}
	}
	return list, nil
}

// createdTime reads --created, or the environment variable that reproducible
// builds use.
func createdTime(flag string) (time.Time, error) {
	if flag != "" {
		t, err := time.Parse(time.RFC3339, flag)
		if err != nil {
			return t, usagef("--created %s: use a time such as 2026-11-22T10:00:00Z", flag)
		}
		return t, nil
	}
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if epoch == "" {
		return time.Time{}, nil
	}
	sec, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH=%s: not a number of seconds", epoch)
	}
	return time.Unix(sec, 0).UTC(), nil
}

func pushSummary(res *hub.PushResult, dry bool, took time.Duration) string {
	size := ui.Files(res.Files) + ", " + ui.Bytes(res.Size)
	switch {
	case dry:
		return "would push " + size + " as " + res.Digest
	case !res.Created && res.UploadedBytes == 0:
		s := "everything up-to-date: " + size
		if res.Signatures > 0 {
			s += ", signed"
		}
		return s
	}
	s := fmt.Sprintf("pushed %s in %s: %s uploaded, %s mounted, %s already there",
		size, ui.Duration(took), ui.Bytes(res.UploadedBytes), ui.Bytes(res.MountedBytes), ui.Bytes(res.SkippedBytes))
	if res.Signatures > 0 {
		s += ", signed"
	}
	return s
}
