package hub

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

// A Missing is a kind of thing that is not there.
type Missing int

// What can be missing.
const (
	MissingVersion   Missing = iota // what a reference names: repository, tag or digest
	MissingDefault                  // what a reference without a tag means, in a repository that has tags
	MissingAlias                    // the tag to promote to, in a repository that protects others
	MissingLog                      // the log of a tag
	MissingPast                     // where an alias was: the log does not go back so far
	MissingHistory                  // a version before the first, or before what was collected
	MissingBOM                      // a bill of materials
	MissingStatement                // a statement of evaluations
	MissingFile                     // a file of a version
)

// A MissingError is something that was not found in a repository, with what is
// known of where else to look. It wraps errdef.ErrNotFound, or fs.ErrNotExist for a
// file.
type MissingError struct {
	What       Missing
	Repository string // host/name
	Reference  string // the version or tag that was asked about, as people write it
	Tag        string // of it; empty where it has none

	// Tags are some that can be named in its place: of MissingDefault tags that
	// are there, of MissingAlias globs of those that the record protects.
	Tags []string

	Err error
}

// Error implements error.
func (e *MissingError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *MissingError) Unwrap() error { return e.Err }

// missing tells what is not there, if err says that something is not and nobody
// has told what.
func missing(what Missing, r ref.Reference, err error) error {
	if _, told := errors.AsType[*MissingError](err); told || !errors.Is(err, errdef.ErrNotFound) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &MissingError{What: what, Repository: r.Name(), Reference: asTyped(r), Tag: ref.DecodeBranch(r.Tag), Err: err}
}

// maxOffered bounds the tags that are named in place of one.
const maxOffered = 8

// noDefault is missing for a reference that names no version. It looks which tags
// are there, in one page of them.
func noDefault(ctx context.Context, repo *remote.Repository, r ref.Reference, err error) error {
	err = missing(MissingVersion, r.WithTag(""), err)
	e, ok := errors.AsType[*MissingError](err)
	if !ok {
		return err
	}
	for tag, err := range repo.Tags(ctx) {
		if err != nil || len(e.Tags) == maxOffered {
			break // what was not found is the better error
		}
		if !hidden(tag) {
			e.Tags = append(e.Tags, ref.DecodeBranch(tag))
		}
	}
	slices.Sort(e.Tags)
	if len(e.Tags) > 0 {
		e.What = MissingDefault
	}
	return e
}

// asTyped is where a reference starts from, as people write it: with the slashes of
// branches, and without a revision.
func asTyped(r ref.Reference) string {
	r.Revision, r.Tag = "", ref.DecodeBranch(r.Tag)
	return r.String()
}
