package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/remote"
)

func newDoctor(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor HOST[/PREFIX]",
		Short: "Find out what a registry can do, and what that means",
		Long: `Try what modelreg would use on a registry, in a scratch repository below PREFIX that
is removed again where the registry can delete, and explain the consequences.
Mirrors that the configuration or hosts.toml names for it are asked whether they answer.`,
		Example: "  modelreg doctor ghcr.io/acme",
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			host, prefix, _ := strings.Cut(args[0], "/")
			h, err := a.hub(nil)
			if err != nil {
				return err
			}
			mirrors, err := h.Mirrors(cmd.Context(), host)
			if err != nil {
				return err
			}
			caps, err := h.Probe(cmd.Context(), host, prefix)
			if err != nil {
				printMirrors(a.err, mirrors)
				return err
			}
			return a.printer.Result(diagnosis{caps, mirrors}, func(w io.Writer) {
				printCapabilities(w, caps)
				printMirrors(w, mirrors)
			})
		},
	}
}

// A diagnosis is what doctor finds.
type diagnosis struct {
	remote.Capabilities

	Mirrors []remote.MirrorStatus `json:"mirrors,omitempty"`
}

// printCapabilities shows each capability and what it means for models.
func printCapabilities(w io.Writer, c remote.Capabilities) {
	t := ui.Table(w)
	row := func(has bool, what, yes, no string) {
		answer, means := "yes", yes
		if !has {
			answer, means = "no", no
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", what, answer, means)
	}
	row(c.Referrers, "referrers API", "signatures are listed by the registry", "signatures are found by a tag, sha256-<digest>; many signers at once may lose one, which modelreg notices and mends")
	row(c.Ranges, "ranges", "pulls resume inside a file, and inspect reads headers only", "an interrupted file starts again, and inspect of a big model is slow")
	row(c.Mount, "mounting blobs", "a model pushed to a second repository uploads nothing", "each repository gets its own upload")
	row(c.Chunked, "chunked upload", "uploads in several pieces", "uploads in one piece")
	row(c.UploadStatus, "upload status", "a broken upload goes on where it stopped", "a broken upload of a file starts again")
	if c.MinChunk > 0 {
		fmt.Fprintf(t, "least chunk\t%s\t\n", ui.Bytes(c.MinChunk))
	}
	row(c.DeleteTag, "deleting tags", "old names can be removed", "tags stay until the registry's own means remove them")
	row(c.DeleteDigest, "deleting versions", "versions can be removed", "versions stay until the registry's own means remove them")
	row(c.DeleteBlob, "deleting blobs", "space can be freed at once", "usual: garbage collection frees the space")
	row(c.Catalog, "catalogue", "\"modelreg ls HOST\" works", "\"modelreg ls\" needs the name of a repository")
	row(c.TagCAS, "compare-and-swap", "two writers of one tag cannot overwrite each other", "two writers of one tag are noticed afterwards; both versions are kept")
	row(c.DigestHeader, "digest header", "a tag is resolved without reading the manifest", "resolving a tag reads the whole manifest")
	fmt.Fprintf(t, "largest manifest\t%s\tmodels of up to about %d files without packing\n", ui.Bytes(c.MaxManifest), c.MaxManifest/bytesPerLayer)
	_ = t.Flush()
}

// bytesPerLayer is what a file costs in a manifest, about.
const bytesPerLayer = 420
