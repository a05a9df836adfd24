package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
)

// Bounds of a list of repositories.
const (
	maxRepositoryLine = 8192    // bytes
	maxRepositoryList = 100_000 // entries
	shownLineErrors   = 5
)

// namedRepositories reads the list that --repositories names; nil if there is none.
func (a *app) namedRepositories(f crawlFlags) ([]string, error) {
	if f.repositories == "" {
		return nil, nil
	}
	in, name := a.in, "standard input"
	if f.repositories != "-" {
		file, err := os.Open(f.repositories)
		if err != nil {
			return nil, fmt.Errorf("read repositories: %w", err)
		}
		defer file.Close()
		in, name = file, f.repositories
	}
	list, err := a.readRepositories(in)
	if err == nil && len(list) == 0 {
		err = usagef("it names no repository")
	}
	if err != nil {
		return nil, fmt.Errorf("read repositories of %s: %w", ui.Clean(name), err)
	}
	return list, nil
}

// readRepositories reads references of repositories, one a line.
func (a *app) readRepositories(in io.Reader) (list []string, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxRepositoryLine)
	var wrong []string
	n := 0
	for lines.Scan() {
		n++
		text := uncommented(lines.Text())
		if text == "" {
			continue
		}
		name, err := a.repositoryName(text)
		if err != nil {
			wrong = append(wrong, fmt.Sprintf("line %d: %v", n, err))
			continue
		}
		if list = append(list, name); len(list) > maxRepositoryList {
			return nil, usagef("line %d: more than %d repositories", n, maxRepositoryList)
		}
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, usagef("line %d: more than %d bytes", n+1, maxRepositoryLine)
		}
		return nil, err
	}
	if more := len(wrong) - shownLineErrors; more > 0 {
		wrong = append(wrong[:shownLineErrors], fmt.Sprintf("and %d more", more))
	}
	if len(wrong) > 0 {
		return nil, usageError{errors.New(strings.Join(wrong, "; ")), "each line names one repository, HOST/ORG/MODEL"}
	}
	return list, nil
}

// uncommented cuts off a comment: what begins with # at the start of a line, or after
// a space.
func uncommented(line string) string {
	for i := range len(line) {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			line = line[:i]
			break
		}
	}
	return strings.TrimSpace(line)
}

// repositoryName reads a reference that names a repository and nothing in it.
func (a *app) repositoryName(s string) (string, error) {
	r, err := a.parse(s)
	if err != nil {
		return "", err
	}
	if r.String() != r.Name() || r.Scheme != "" {
		return "", fmt.Errorf("%q is more than the name of a repository", ui.Line(s))
	}
	return r.Name(), nil
}

// placesOf are what a crawl of an index is to read, and what the index is made of.
func placesOf(ctx context.Context, ix *index.Index, job crawlJob) (places, noted []string, err error) {
	text, err := ix.Note(ctx, notePlaces)
	if err != nil {
		return nil, nil, err
	}
	noted = strings.Fields(text)
	if job.noted {
		return job.places, noted, nil
	}
	if len(noted) == 0 {
		return nil, nil, usageError{errors.New("update the index: it was not built of any place"), "\"modelreg index pull\" brings a newer snapshot, \"modelreg index build PLACE\" adds places"}
	}
	for _, name := range job.places {
		if !slices.ContainsFunc(noted, func(place string) bool { return isAt(name, place) }) {
			return nil, nil, usageError{fmt.Errorf("update the index: %s is at no place of it", name), fmt.Sprintf("\"modelreg index build %s\" adds it", name)}
		}
	}
	if len(job.places) > 0 {
		return job.places, noted, nil
	}
	return noted, noted, nil
}

// A gonePlacesError tells of places of an index that are not there any more.
type gonePlacesError struct {
	places []string
	index  string // as it was given; "" for the usual one
	error
}

func (e *gonePlacesError) Unwrap() error { return e.error }

// hint is the command that mends it.
func (e *gonePlacesError) hint() string {
	command := "modelreg index remove " + ui.Line(e.places[0])
	if e.index != "" {
		command += " --index " + quoted(e.index)
	}
	if more := len(e.places) - 1; more > 0 {
		return fmt.Sprintf("if it is gone for good, \"%s\" takes it out of the index; so for the %d others", command, more)
	}
	return fmt.Sprintf("if it is gone for good, \"%s\" takes it out of the index", command)
}

// quoted writes a word for a shell.
func quoted(s string) string {
	if s == ui.Line(s) && !strings.ContainsAny(s, " \t'\"\\$`&|;<>()*?[]{}~#!") {
		return s
	}
	return "'" + strings.ReplaceAll(ui.Line(s), "'", `'\''`) + "'"
}

// goneOf tells the places that are gone from others that could not be read.
func goneOf(err error, index string) error {
	failed, ok := errors.AsType[*hub.CrawlError](err)
	if !ok {
		return err
	}
	var places []string
	for i, cause := range failed.Unwrap() {
		if errors.Is(cause, errdef.ErrNotFound) {
			places = append(places, failed.Places[i])
		}
	}
	if len(places) == 0 {
		return err
	}
	return &gonePlacesError{places, index, err}
}
