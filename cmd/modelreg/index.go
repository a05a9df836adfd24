package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
)

// Notes that are left in an index: where its records are from, one place a line,
// and when that was last looked at.
const (
	notePlaces  = "places"
	noteUpdated = "updated"
)

func newIndex(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "index",
		Short: "Make the index that \"modelreg search\" looks into",
		Long: `An index has what registries say of their models, in one file, for "modelreg search".
It holds nothing that is not in the registries: it can be thrown away and built again.

An index shows to whoever reads the file all that its builder may see. For people who may
see less, build one as somebody who may see less.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newIndexBuild(a), newIndexUpdate(a), newIndexStatus(a), newIndexRemove(a), newIndexPush(a), newIndexPull(a))
	return cmd
}

// crawlFlags are those of "index build" and "index update".
type crawlFlags struct {
	index        string
	repositories string
	requests     int
	trust        trustFlags
}

func (f *crawlFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	addIndexFlag(fl, &f.index)
	fl.StringVar(&f.repositories, "repositories", "", "take repositories from `FILE`, one a line, # begins a comment (-: standard input)")
	fl.IntVar(&f.requests, "requests", 64, "have at most `N` requests under way (up to 200); a registry that says it is too much gets fewer")
	f.trust.add(fl)
}

func newIndexBuild(a *app) *cobra.Command {
	var f crawlFlags
	var fresh bool
	cmd := &cobra.Command{
		Use:   "build [PLACE...]",
		Short: "Read registries into the index",
		Long: `Read registries into the index: all of HOST, all below HOST/PREFIX/, or one repository
HOST/ORG/MODEL. What the index has already is not fetched again, so an interrupted build
goes on where it ended, and another one adds its places.

Many hosted registries do not list all that they hold. What an organisation has there,
as in ghcr.io/acme, is asked of GitHub, GitLab, Harbor, Quay or Docker Hub, with what one
is logged in with ("modelreg login"), and for ghcr.io without a login GITHUB_TOKEN. Where
nothing is listed, --repositories names them one by one. See docs/search.md.

With --key or --certificate-identity signatures are verified, and models are found by
verified:yes and by who has signed them. Without, only that there is a signature is known.`,
		Example: `  modelreg index build registry.example.com
  modelreg index build ghcr.io/acme --key acme.pub
  modelreg index build --repositories models.txt`,
		Args: rangeArgs(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			named, err := a.namedRepositories(f)
			if err != nil {
				return err
			}
			if args = append(args, named...); len(args) == 0 {
				return usageError{errors.New("build an index: no place"), "name registries, organisations or repositories, or take them from a file with --repositories"}
			}
			return a.crawl(cmd.Context(), f, crawlJob{places: args, noted: true, fresh: fresh})
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&fresh, "fresh", false, "make a new index, which takes the place of the old one when it is whole")
	return cmd
}

func newIndexUpdate(a *app) *cobra.Command {
	var f crawlFlags
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Bring the index up to date with the places that it was built from",
		Long: `Look at the places that the index was built from: new versions and new attachments
are fetched, what is gone is removed, and nothing that is unchanged is fetched again.

With --repositories only those are looked at, such as the ones that a registry has told of.
They must be at places of the index.`,
		Example: `  modelreg index update
  echo ghcr.io/acme/support | modelreg index update --repositories -`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			named, err := a.namedRepositories(f)
			if err != nil {
				return err
			}
			return a.crawl(cmd.Context(), f, crawlJob{places: named})
		},
	}
	f.add(cmd)
	return cmd
}

// crawlReport is what "index build" and "index update" print.
type crawlReport struct {
	Index string `json:"index"`
	*hub.CrawlResult
}

// A crawlJob is what is to be read into an index.
type crawlJob struct {
	places []string // none for those of the index
	noted  bool     // they become places of the index
	fresh  bool     // into a new index
}

// crawl reads places into an index.
func (a *app) crawl(ctx context.Context, f crawlFlags, job crawlJob) (err error) {
	opts := hub.CrawlOptions{Requests: f.requests, Progress: a.crawlProgress}
	if f.trust.used() {
		if opts.Trust, err = a.trusted(ctx, f.trust); err != nil {
			return err
		}
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	var res *hub.CrawlResult
	file, err := a.writeIndex(ctx, f.index, job.fresh, job.noted, func(ix *index.Index) (err error) {
		res, err = crawlInto(ctx, h, ix, job, opts)
		if _, ok := errors.AsType[*hub.CrawlError](err); ok && job.fresh {
			return fmt.Errorf("%w; the old index is as it was", err)
		}
		return err
	})
	if !job.noted && len(job.places) == 0 {
		err = goneOf(err, f.index)
	}
	if res == nil || err != nil && len(res.Places) == 0 {
		return err
	}
	for _, p := range res.Problems {
		a.printer.Warn("%s", ui.Line(p))
	}
	if err != nil && job.fresh {
		return err
	}
	if job.fresh && res.Failed > 0 {
		a.printer.Warn("%d could not be read, and are not in the new index", res.Failed)
	}
	return errors.Join(err, a.printer.Result(crawlReport{file, res}, func(w io.Writer) {
		fmt.Fprintf(w, "%d versions in %d repositories: %d fetched, %d with other tags, %d gone\n",
			res.Versions, res.Repositories, res.Fetched, res.Changed, res.Deleted)
		if res.Failed > 0 {
			fmt.Fprintf(w, "%d could not be read\n", res.Failed)
		}
	}))
}

// crawlInto crawls, and notes what was read and when. What could not be read is told
// by the error.
func crawlInto(ctx context.Context, h *hub.Hub, ix *index.Index, job crawlJob, opts hub.CrawlOptions) (*hub.CrawlResult, error) {
	places, noted, err := placesOf(ctx, ix, job)
	if err != nil {
		return nil, err
	}
	opts.Named, opts.Whole = noted, !job.noted && len(job.places) == 0
	res, err := h.Crawl(ctx, ix, places, opts)
	if job.noted {
		if noting := addPlaces(context.WithoutCancel(ctx), ix, res.Places); noting != nil {
			return res, errors.Join(err, noting)
		}
	}
	part := !job.noted && len(job.places) > 0
	if _, ended := errors.AsType[*hub.CrawlError](err); part || err != nil && (!ended || len(res.Places) == 0) {
		return res, err
	}
	return res, errors.Join(err, ix.SetNote(ctx, noteUpdated, time.Now().UTC().Format(time.RFC3339)))
}

func (a *app) crawlProgress(res hub.CrawlResult) {
	if !a.printer.NoProgress {
		a.printer.Note("%d repositories, %d versions, %d fetched", res.Repositories, res.Versions, res.Fetched)
	}
}

// writeIndex lets f change the index, which is made if that is allowed, or a new one
// that takes its place when f is done.
func (a *app) writeIndex(ctx context.Context, given string, fresh, make bool, f func(*index.Index) error) (file string, err error) {
	if file, err = a.indexFile(given); err != nil {
		return "", err
	}
	if _, err := os.Stat(file); !make && errors.Is(err, fs.ErrNotExist) {
		return file, fmt.Errorf("%w: %w", errNoIndex, err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return file, err
	}
	if fresh {
		err := index.Replace(ctx, file, f)
		if errors.Is(err, index.ErrLayout) {
			err = usagef("%q is no index, and --fresh would replace it: name another file, or remove it yourself", file)
		}
		return file, err
	}
	ix, err := index.Open(ctx, file, index.OpenOptions{})
	if err != nil {
		return file, err
	}
	return file, errors.Join(f(ix), ix.Close())
}

// addPlaces adds places that were read to those that the index is made from.
func addPlaces(ctx context.Context, ix *index.Index, places []string) error {
	noted, err := ix.Note(ctx, notePlaces)
	if err != nil {
		return err
	}
	all := append(strings.Fields(noted), places...)
	slices.Sort(all)
	return ix.SetNote(ctx, notePlaces, strings.Join(slices.Compact(all), "\n"))
}

// indexStatus is what "index status" prints.
type indexStatus struct {
	Index        string   `json:"index"`
	Size         int64    `json:"size"` // bytes
	Versions     int64    `json:"versions"`
	Replaced     int64    `json:"replaced"` // that still take room
	Repositories int      `json:"repositories"`
	Places       []string `json:"places"`
	Snapshot     string   `json:"snapshot,omitempty"` // that it was made of
	Updated      string   `json:"updated"`            // RFC 3339, empty if no crawl came to its end
}

func newIndexStatus(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell what is in the index, and how old it is",
		Args:  exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.indexStatus(cmd.Context(), file)
			if err != nil {
				return err
			}
			return a.printer.Result(s, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d versions in %d repositories, %s\n", s.Index, s.Versions, s.Repositories, ui.Bytes(s.Size))
				if s.Replaced > s.Versions {
					fmt.Fprintf(w, "%d versions were replaced and still take room: \"modelreg index build --fresh\" frees it\n", s.Replaced)
				}
				fmt.Fprintf(w, "updated: %s\n", cmp.Or(s.Updated, "never to its end"))
				if s.Snapshot != "" {
					fmt.Fprintf(w, "from: oci://%s\n", ui.Line(s.Snapshot))
				}
				for _, p := range s.Places {
					fmt.Fprintf(w, "from: %s\n", ui.Line(p))
				}
			})
		},
	}
	addIndexFlag(cmd.Flags(), &file)
	return cmd
}

func (a *app) indexStatus(ctx context.Context, given string) (s indexStatus, err error) {
	ix, file, err := a.openIndex(ctx, given)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, ix.Close()) }()
	s.Index = file
	info, err := os.Stat(file)
	if err != nil {
		return s, err
	}
	s.Size = info.Size()
	stats, err := ix.Stats(ctx)
	if err != nil {
		return s, err
	}
	s.Versions, s.Replaced = stats.Versions, stats.Replaced
	repositories, err := ix.Repositories(ctx, "")
	if err != nil {
		return s, err
	}
	s.Repositories = len(repositories)
	if s.Updated, err = ix.Note(ctx, noteUpdated); err != nil {
		return s, err
	}
	if s.Snapshot, err = ix.Note(ctx, noteSnapshot); err != nil {
		return s, err
	}
	places, err := ix.Note(ctx, notePlaces)
	s.Places = append([]string{}, strings.Fields(places)...)
	return s, err
}
