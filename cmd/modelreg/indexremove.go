package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/index"
)

func newIndexRemove(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "remove PLACE",
		Short: "Take a place out of the index",
		Long: `Take a place that the index was built from out of it, with the versions that no other
place of the index has. "modelreg index status" lists the places.`,
		Example: `  modelreg index remove ghcr.io/acme/support`,
		Args:    exactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.indexRemove(cmd.Context(), file, args[0])
		},
	}
	addIndexFlag(cmd.Flags(), &file)
	return cmd
}

// indexRemoved is what "index remove" prints.
type indexRemoved struct {
	Index   string `json:"index"`
	Place   string `json:"place"`
	Deleted int    `json:"deleted"` // versions
}

func (a *app) indexRemove(ctx context.Context, given, place string) error {
	var gone int
	file, err := a.writeIndex(ctx, given, false, false, func(ix *index.Index) (err error) {
		gone, err = removePlace(ctx, ix, place)
		return err
	})
	if err != nil {
		return err
	}
	return a.printer.Result(indexRemoved{file, place, gone}, func(w io.Writer) {
		fmt.Fprintf(w, "%s gone\n", plural(gone, "version"))
	})
}

// removePlace takes a place out of an index, and tells how many versions went.
func removePlace(ctx context.Context, ix *index.Index, place string) (int, error) {
	text, err := ix.Note(ctx, notePlaces)
	if err != nil {
		return 0, err
	}
	places := strings.Fields(text)
	i := slices.Index(places, place)
	if i < 0 {
		return 0, usageError{fmt.Errorf("remove %s: it is no place of the index: %w", place, errdef.ErrNotFound), "\"modelreg index status\" lists the places"}
	}
	places = slices.Delete(places, i, i+1)
	gone, err := onlyOf(ctx, ix, place, places)
	if err != nil {
		return 0, err
	}
	if err := ix.Delete(ctx, gone); err != nil {
		return 0, err
	}
	return len(gone), ix.SetNote(ctx, notePlaces, strings.Join(places, "\n"))
}

// onlyOf lists the versions at a place that none of the others has.
func onlyOf(ctx context.Context, ix *index.Index, place string, others []string) ([]index.Key, error) {
	repositories, err := ix.Repositories(ctx, "")
	if err != nil {
		return nil, err
	}
	var gone []index.Key
	for _, name := range repositories {
		if !isAt(name, place) || slices.ContainsFunc(others, func(other string) bool { return isAt(name, other) }) {
			continue
		}
		versions, err := ix.Versions(ctx, name)
		if err != nil {
			return nil, err
		}
		for _, v := range versions {
			gone = append(gone, v.Key())
		}
	}
	return gone, nil
}

// isAt tells whether a repository is a place, or below it.
func isAt(repository, place string) bool {
	place = strings.TrimSuffix(strings.TrimPrefix(place, "oci://"), "/")
	return repository == place || strings.HasPrefix(repository, place+"/")
}
