package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

// readmeName is the card among the files of a model.
const readmeName = "README.md"

func newCard(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "card",
		Short: "Read, edit, check and export the card of a model",
		Long: `The card of a model is its README.md: what it is, what it is for, what it was made of and
how good it is, with front matter as the Hugging Face Hub has it.

A version has the card that it was released with. It can be revised later without a new
version: a revision is attached to the version, whose digest and signatures stay. The
newest revision that somebody who is trusted has signed counts (--key, --certificate-identity,
or the publishers that the repository names), else the card as released. Who can push to a
repository can name its publishers: name the keys that matter.

Where a command takes DIR, it means README.md in that directory; a path begins with ./ or /,
or is that of an existing directory or file.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newCardShow(a), newCardEdit(a), newCardSet(a), newCardLint(a), newCardPush(a),
		newCardHistory(a), newCardDiff(a), newCardExport(a),
	)
	return cmd
}

// cardFlags say which card of a version is meant, and whose word counts.
type cardFlags struct {
	trust    trustFlags
	released bool
	revision string
}

func (f *cardFlags) add(a *app, cmd *cobra.Command) {
	f.trust.add(cmd.Flags())
	cmd.Flags().BoolVar(&f.released, "released", false, "take the card that the version was released with")
	cmd.Flags().StringVar(&f.revision, "revision", "", "take this `REVISION`: its number, the beginning of its digest, released or newest")
	a.addPolicyFlags(cmd)
}

// options reads the flags. Without anybody named the publishers count.
func (a *app) cardOptions(ctx context.Context, f cardFlags) (hub.CardOptions, error) {
	opts := hub.CardOptions{Released: f.released, Revision: f.revision}
	if f.released && f.revision != "" {
		return opts, usagef("--released and --revision do not go together")
	}
	var err error
	opts.Trust, err = a.givenTrust(ctx, f.trust)
	return opts, err
}

// givenTrust is who the flags name; nil if they name nobody.
func (a *app) givenTrust(ctx context.Context, f trustFlags) (*signing.Trust, error) {
	if !f.used() {
		return nil, nil
	}
	return a.trusted(ctx, f)
}

// localCard tells whether an argument is a directory or a file on this machine,
// and where its README is.
func (a *app) localCard(arg string) (string, bool) {
	info, err := os.Stat(arg)
	if !a.local(arg) && (err != nil || !strings.HasSuffix(arg, ".md")) {
		return "", false
	}
	if err == nil && !info.IsDir() {
		return arg, true
	}
	return filepath.Join(arg, readmeName), true
}

// readCardFile reads a README of this machine.
func readCardFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read card: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, card.MaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read card: %w", err)
	}
	if len(raw) > card.MaxBytes {
		return nil, fmt.Errorf("read card %s: %w", name, card.ErrTooLarge)
	}
	return raw, nil
}

// A shownCard is a card from wherever it is.
type shownCard struct {
	hub.CardResult        // the zero value for a card of this machine
	path           string // on this machine; "" for one of a version
	raw            []byte
	card           *card.Card
}

// fetchCard reads the card that an argument names.
func (a *app) fetchCard(ctx context.Context, arg string, f cardFlags) (*shownCard, error) {
	var s shownCard
	var err error
	if name, ok := a.localCard(arg); ok {
		if f.trust.used() || f.released || f.revision != "" {
			return nil, usagef("card of %s: what is trusted, and revisions, are of a version in a registry", arg)
		}
		s.path = name
		s.raw, err = readCardFile(name)
	} else {
		err = a.fetchCardOf(ctx, arg, f, &s)
	}
	if err != nil {
		return nil, err
	}
	s.card, err = card.Parse(s.raw)
	return &s, err
}

func (a *app) fetchCardOf(ctx context.Context, arg string, f cardFlags, s *shownCard) error {
	opts, err := a.cardOptions(ctx, f)
	if err != nil {
		return err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	res, err := h.Card(ctx, r, opts)
	if err != nil {
		return err
	}
	s.CardResult, s.raw = *res, res.Revision.Bytes()
	for _, p := range res.Problems {
		a.printer.Warn("%s", p)
	}
	return nil
}

// name is what the card is called in messages.
func (s *shownCard) name() string {
	if s.path != "" {
		return s.path
	}
	return s.Reference
}

func newCardLint(a *app) *cobra.Command {
	var f cardFlags
	var failOn string
	cmd := &cobra.Command{
		Use:   "lint REF | DIR",
		Short: "Tell what a card lacks, and how complete it is",
		Long: `Hold a card against the rules of docs/cards.md, and tell how complete it is, section by
section, in points of 100.

A finding is an error (who uses the model cannot rely on the card: no licence, a base
model without digest), a warning (something that readers look for is missing) or
information. The exit code is 1 where --fail-on says so.`,
		Example: `  modelreg card lint ./model
  modelreg card lint ./model --fail-on warn --format sarif >card.sarif`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.cardLint(cmd.Context(), args[0], f, failOn)
		},
	}
	choose(cmd, choiceFlag{value: &a.format, name: "format", usage: "shape of results on standard output: `text|json|sarif`"}, "text", "json", "sarif")
	choose(cmd, choiceFlag{value: &failOn, name: "fail-on", usage: "what ends with exit code 1: `error|warn|info|never`"}, "error", "warn", "info", "never")
	f.add(a, cmd)
	return cmd
}

// errLint says that a card was found wanting.
var errLint = errors.New("the card is not what --fail-on asks for")

// cardLinted is the result of "card lint".
type cardLinted struct {
	Reference string `json:"reference"` // or the path of the README
	Digest    string `json:"digest"`    // of the version; empty on this machine
	*card.Report
}

func (a *app) cardLint(ctx context.Context, arg string, f cardFlags, failOn string) error {
	s, err := a.fetchCard(ctx, arg, f)
	if err != nil {
		return err
	}
	opts := card.LintOptions{}
	if s.path == "" {
		opts.Pinned = s.Pinned
	}
	r, err := s.card.Lint(opts)
	if err != nil {
		return fmt.Errorf("lint %s: %w", s.name(), err)
	}
	if a.format == "sarif" {
		raw, err := r.SARIF(readmeName, version())
		if err != nil {
			return err
		}
		if _, err := a.out.Write(raw); err != nil {
			return err
		}
	} else if err := a.printer.Result(cardLinted{s.name(), s.Digest, r}, func(w io.Writer) { printLint(w, s, r) }); err != nil {
		return err
	}
	if failOn != "never" && r.Worst(card.Level(failOn)) {
		return fmt.Errorf("lint %s: %w: %s", s.name(), errLint, counted(r))
	}
	return nil
}

// counted says in words how many findings of each level there are.
func counted(r *card.Report) string {
	n := map[card.Level]int{}
	for _, f := range r.Findings {
		n[f.Level]++
	}
	return fmt.Sprintf("%s, %s, %d of information", plural(n[card.LevelError], "error"), plural(n[card.LevelWarn], "warning"), n[card.LevelInfo])
}

// anyFile leaves the completion of files to the shell.
func anyFile(*cobra.Command, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}
