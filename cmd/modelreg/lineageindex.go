package main

import (
	"context"
	"errors"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
)

// lineageIndex opens the index that is asked for what was made of a version: the one
// that is named, or that of "modelreg search" if there is one. Nil is none.
func (a *app) lineageIndex(ctx context.Context, run lineageRun) (*index.Index, error) {
	ix, _, err := a.openIndex(ctx, run.index)
	switch {
	case err == nil || run.index != "" || run.opts.Offline:
		return ix, err
	case !errors.Is(err, errNoIndex):
		a.printer.Warn("the index is not asked: %s", spoken(err.Error()))
	}
	return nil, nil
}

// checkIndexFlags refuses flags about the index where they would mean nothing.
func (r lineageRun) checkIndexFlags() error {
	o := r.opts
	switch {
	case !o.Down && (r.index != "" || o.Confirm || o.Offline):
		return usagef("--index, --confirm and --offline are used with --down")
	case o.Offline && (o.Both || o.Confirm || len(o.In) > 0 || r.trust.used()):
		return usagef("--offline asks no registry: it does not go with --up, --in, --confirm and --key")
	}
	return nil
}

// learntWords tell how it was found that something was made of a version, where
// nobody has read the repositories for it.
func learntWords(e hub.LineageEdge, made hub.LineageNode) string {
	switch {
	case e.Learnt == hub.LearntAnnounced:
		return "  (announced)"
	case e.Learnt == hub.LearntIndex && made.Read:
		return "  (by the index, read)"
	case e.Learnt == hub.LearntIndex:
		return "  (by the index)"
	}
	return ""
}
