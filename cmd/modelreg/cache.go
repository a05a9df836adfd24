package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/store"
)

func newCache(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look after the local store",
		Long: `The local store holds blobs by digest, for all models of this user, in the form of an
OCI image layout. Everything in it can be fetched again: removing it costs only time. What is
pulled is kept here where the file system can clone files (btrfs, XFS, APFS), since that
takes no space.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheLs(a), newCacheDu(a), newCachePrune(a), newCacheVerify(a))
	return cmd
}

// withStore opens the local store for a command, and closes it after.
func (a *app) withStore(do func(ctx context.Context, s *store.Store) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, _ []string) error {
		s, err := a.store()
		if err != nil {
			return err
		}
		defer s.Close()
		return do(cmd.Context(), s)
	}
}

// cached is a line of "cache ls".
type cached struct {
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
}

func newCacheLs(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the versions in the store",
		Args:  exactArgs(0),
		RunE: a.withStore(func(ctx context.Context, s *store.Store) error {
			list := []cached{}
			for e, err := range s.References(ctx) {
				if err != nil {
					return err
				}
				list = append(list, cached{e.Reference, e.Descriptor.Digest.String()})
			}
			return a.printer.Result(list, func(w io.Writer) {
				t := ui.Table(w)
				for _, c := range list {
					fmt.Fprintf(t, "%s\t%s\n", short(c.Digest), ui.Clean(spoken(c.Reference)))
				}
				_ = t.Flush()
			})
		}),
	}
}

// usage is the result of "cache du". Sizes are bytes.
type usage struct {
	Directory    string `json:"directory"`
	Versions     int    `json:"versions"`
	Blobs        int    `json:"blobs"`
	BlobBytes    int64  `json:"blobBytes"`
	Partials     int    `json:"partials"`
	PartialBytes int64  `json:"partialBytes"`
	Damaged      int    `json:"damaged"`
	DamagedBytes int64  `json:"damagedBytes"`
}

func newCacheDu(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "du",
		Short: "Show how much the store holds",
		Args:  exactArgs(0),
		RunE: a.withStore(func(ctx context.Context, s *store.Store) error {
			u, err := s.Usage(ctx)
			if err != nil {
				return err
			}
			res := usage{s.Dir(), u.References, u.Blobs, u.BlobBytes, u.Partials, u.PartialBytes, u.Damaged, u.DamagedBytes}
			return a.printer.Result(res, func(w io.Writer) {
				t := ui.Table(w)
				fmt.Fprintf(t, "directory\t%s\n", res.Directory)
				fmt.Fprintf(t, "versions\t%d\n", res.Versions)
				fmt.Fprintf(t, "blobs\t%d\t%s\n", res.Blobs, ui.Bytes(res.BlobBytes))
				fmt.Fprintf(t, "partial\t%d\t%s\n", res.Partials, ui.Bytes(res.PartialBytes))
				fmt.Fprintf(t, "damaged\t%d\t%s\n", res.Damaged, ui.Bytes(res.DamagedBytes))
				_ = t.Flush()
			})
		}),
	}
}

// pruned is the result of "cache prune".
type pruned struct {
	Blobs    int   `json:"blobs"`
	Partials int   `json:"partials"`
	Versions int   `json:"versions"`
	Bytes    int64 `json:"bytes"`
}

func newCachePrune(a *app) *cobra.Command {
	var opts store.PruneOptions
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove what no version in the store needs",
		Long: `Remove blobs that belong to no version in the store, and leftovers of transfers that
nobody goes on with. What was used in the last hour stays, since another process may
be at work on it.`,
		Args: exactArgs(0),
		RunE: a.withStore(func(ctx context.Context, s *store.Store) error {
			p, err := s.Prune(ctx, opts)
			if err != nil {
				return err
			}
			res := pruned{p.Blobs, p.Partials + p.Damaged, p.References, p.Bytes}
			return a.printer.Result(res, func(w io.Writer) {
				fmt.Fprintf(w, "%d blobs, %d leftovers: %s\n", res.Blobs, res.Partials, ui.Bytes(res.Bytes))
			})
		}),
	}
	cmd.Flags().BoolVar(&opts.All, "all", false, "remove the versions too")
	cmd.Flags().DurationVar(&opts.OlderThan, "older-than", time.Hour, "only what was last used this long ago (at least an hour)")
	cmd.Flags().BoolVar(&opts.DryRun, "dry-run", false, "only count")
	return cmd
}

// damage is a line of "cache verify".
type damage struct {
	Digest string `json:"digest"`
	Reason string `json:"reason"`
}

func newCacheVerify(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read all blobs again and put damaged ones aside",
		Long: `Read all blobs of the store and compare them with their digests. What is damaged is put
aside, and fetched again when it is needed. Exits with 15 if anything was found.`,
		Args: exactArgs(0),
		RunE: a.withStore(a.cacheVerify),
	}
}

func (a *app) cacheVerify(ctx context.Context, s *store.Store) error {
	found := []damage{}
	for f, err := range s.Verify(ctx) {
		if err != nil {
			return err
		}
		found = append(found, damage{f.Digest.String(), f.Err.Error()})
	}
	err := a.printer.Result(found, func(w io.Writer) {
		for _, d := range found {
			fmt.Fprintf(w, "%s: %s\n", d.Digest, ui.Clean(d.Reason))
		}
	})
	if err == nil && len(found) > 0 {
		return fmt.Errorf("verify store: %d blobs are damaged or missing: %w", len(found), store.ErrCorrupt)
	}
	return err
}
