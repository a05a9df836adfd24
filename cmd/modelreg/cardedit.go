package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/signing"
)

// revisionFlags say how a revision of a card is written.
type revisionFlags struct {
	message, author, created string
	signer                   signerFlags
}

func (f *revisionFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVarP(&f.message, "message", "m", "", "what changed, as `TEXT` in the revision")
	fl.StringVar(&f.author, "author", "", "who changed it, as `TEXT` in the revision; a claim that nobody checks")
	fl.StringVar(&f.created, "created", "", "`TIME` of the revision, RFC 3339 (default: SOURCE_DATE_EPOCH if set, else now)")
	f.signer.add(cmd)
}

// revision reads the flags. Created is zero where the time is that of the push.
func (a *app) revision(ctx context.Context, f revisionFlags) (hub.CardPush, error) {
	p := hub.CardPush{Message: f.message, Author: f.author}
	var err error
	if p.Created, err = createdTime(f.created); err != nil {
		return p, err
	}
	if f.signer.given() {
		p.Signer, err = a.signerOf(ctx, f.signer)
	}
	return p, err
}

func newCardPush(a *app) *cobra.Command {
	var f revisionFlags
	cmd := &cobra.Command{
		Use:   "push REF FILE",
		Short: "Attach a README to a version as the newest revision of its card",
		Long: `Attach FILE (- is standard input) to the version that REF resolves to, as a revision of its
card. The version's digest and signatures stay what they are. A revision that is not signed
counts for nobody who knows whom to trust. What the card says already makes no revision.`,
		Example:           `  modelreg card push ghcr.io/acme/support:v1 README.md -m "say who must not use it" --key team.key`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(a.references, anyFile),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := a.readCardArg(cmd.Context(), args[1])
			if err != nil {
				return err
			}
			opts, err := a.revision(cmd.Context(), f)
			if err != nil {
				return err
			}
			return a.pushCard(cmd.Context(), args[0], raw, opts)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) readCardArg(ctx context.Context, name string) ([]byte, error) {
	if name != "-" {
		return readCardFile(name)
	}
	raw, err := await(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(a.in, card.MaxBytes+1)) })
	if err != nil {
		return nil, fmt.Errorf("read card: %w", err)
	}
	return raw, nil
}

// pushCard writes a revision and says what became of it.
func (a *app) pushCard(ctx context.Context, arg string, raw []byte, opts hub.CardPush) error {
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	if opts.Created.IsZero() {
		opts.Created = time.Now()
	}
	res, err := h.PushCard(ctx, r, raw, opts)
	if err != nil {
		return err
	}
	switch {
	case res.Created:
		a.printer.Note("attached revision %d of the card; the version is still %s", res.Revision.Seq, short(res.Digest))
		if opts.Signer == nil {
			a.printer.Note("it is not signed: who knows whom to trust sees it as an unverified update (--key FILE or --keyless signs it)")
		}
	case res.Signatures > 0:
		a.printer.Note("the card says this already; it is signed now")
	default:
		a.printer.Note("the card says this already: nothing to do")
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res.Revision.Digest) })
}

func newCardEdit(a *app) *cobra.Command {
	var f revisionFlags
	cmd := &cobra.Command{
		Use:   "edit REF | DIR",
		Short: "Edit a card in your editor",
		Long: `Open the card in the editor that VISUAL or EDITOR names (default: vi). For a version what
was written becomes the newest revision of its card (see "modelreg card push"); for a
directory it is its README.md. Nothing happens when nothing was changed.`,
		Example:           `  EDITOR="code --wait" modelreg card edit ghcr.io/acme/support:v1 --key team.key`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.cardEdit(cmd.Context(), args[0], f) },
	}
	f.add(cmd)
	return cmd
}

func (a *app) cardEdit(ctx context.Context, arg string, f revisionFlags) error {
	editor, err := a.editor()
	if err != nil {
		return err
	}
	if name, ok := a.localCard(arg); ok {
		if err := a.runEditor(ctx, editor, name); err != nil {
			return err
		}
		return a.tellProblem(name)
	}
	before, opts, err := a.editedCard(ctx, arg, f)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "modelreg-card-*")
	if err != nil {
		return fmt.Errorf("edit card: %w", err)
	}
	file := filepath.Join(dir, readmeName)
	if err := os.WriteFile(file, before, 0o600); err != nil {
		return fmt.Errorf("edit card: %w", err)
	}
	after, err := a.editFile(ctx, editor, file)
	if err == nil && bytes.Equal(before, after) {
		a.printer.Note("nothing was changed")
		return os.RemoveAll(dir)
	}
	if err == nil {
		err = a.pushCard(ctx, arg, after, opts)
	}
	if err != nil {
		a.printer.Warn("what was edited is kept in %s", file)
		return err
	}
	return os.RemoveAll(dir)
}

func (a *app) editFile(ctx context.Context, editor []string, file string) ([]byte, error) {
	if err := a.runEditor(ctx, editor, file); err != nil {
		return nil, err
	}
	return readCardFile(file)
}

// editedCard is what an edit of a version's card begins with, and how it is going
// to be written: the card that counts, or where the repository names no publishers
// its newest revision; nothing if there is no card. Who signs an edit signs all of
// the card, so that what others wrote is told. What the same key has signed is the
// signer's own, whomever the repository names.
func (a *app) editedCard(ctx context.Context, arg string, f revisionFlags) ([]byte, hub.CardPush, error) {
	opts, err := a.revision(ctx, f)
	if err != nil {
		return nil, opts, err
	}
	h, r, err := a.open(arg)
	if err != nil {
		return nil, opts, err
	}
	res, err := h.Card(ctx, r, hub.CardOptions{})
	if errors.Is(err, errdef.ErrNotFound) {
		_, err = h.Resolve(ctx, r)
		return nil, opts, err
	}
	if err != nil {
		return nil, opts, err
	}
	newer := res.Revision.Newer
	if newer == nil {
		return res.Revision.Bytes(), opts, nil
	}
	newest := hub.CardOptions{Revision: newer.Digest}
	if opts.Signer != nil && opts.Signer.Public() != nil {
		newest.Trust = &signing.Trust{Keys: []*signing.PublicKey{opts.Signer.Public()}}
	}
	last, err := h.Card(ctx, r, newest)
	switch {
	case err != nil:
		return nil, opts, err
	case last.Revision.Status == hub.CardVerified: // by this very key
	case newer.Reason != "":
		a.printer.Warn("revision %d is not signed by a publisher and is left out: what it says is not in what is edited", newer.Seq)
		return res.Revision.Bytes(), opts, nil
	default:
		a.printer.Warn("this edits revision %d, which nobody who is known has signed: \"modelreg card diff %s --revision %d\" shows what it says", newer.Seq, arg, newer.Seq)
	}
	return last.Revision.Bytes(), opts, nil
}

// editor is the user's editor, with its arguments.
func (a *app) editor() ([]string, error) {
	if words := strings.Fields(cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"))); len(words) > 0 {
		return words, nil
	}
	if f, ok := a.in.(*os.File); !ok || !term.IsTerminal(int(f.Fd())) {
		return nil, usagef("edit card: standard input is not a terminal and EDITOR names no editor: \"modelreg card push REF FILE\" attaches a file")
	}
	return []string{"vi"}, nil
}

// runEditor opens a file in the editor.
func (a *app) runEditor(ctx context.Context, words []string, file string) error {
	cmd := exec.CommandContext(ctx, words[0], append(words[1:], file)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.in, a.err, a.err
	if err := cmd.Run(); err != nil {
		return usageError{fmt.Errorf("run editor %s: %w", words[0], err), "EDITOR names the program to edit with, such as EDITOR=\"code --wait\""}
	}
	return nil
}

// tellProblem says what is wrong with a card that was just written.
func (a *app) tellProblem(name string) error {
	raw, err := readCardFile(name)
	if err != nil {
		return err
	}
	c, err := card.Parse(raw)
	if err != nil {
		return err
	}
	if c.Problem != nil {
		a.printer.Warn("%s: %v", name, c.Problem)
	}
	return nil
}

func newCardSet(a *app) *cobra.Command {
	var f revisionFlags
	var unset []string
	cmd := &cobra.Command{
		Use:   "set REF | DIR KEY=VALUE...",
		Short: "Set keys of a card's front matter, and change nothing else",
		Long: `Set keys of the front matter. Comments, the order of keys, keys of other tools and the text
stay as they are, byte for byte.

  KEY=VALUE    sets it; of tags, datasets, metrics, language and base_model, commas stand
               between several; [a, b] and {a: 1} are YAML
  KEY+=VALUE   adds to a list what is not in it
  KEY-=VALUE   takes it out of a list
  --unset KEY  removes the key

A key that is almost one that loaders read is refused, unless the card has it already.

For a version this attaches a revision of its card (see "modelreg card push").`,
		Example: `  modelreg card set ./model license=apache-2.0 language=en,de tags+=support
  modelreg card set ghcr.io/acme/support:v1 license=llama3.1 --key team.key -m "name the licence"`,
		Args:              rangeArgs(1, -1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			edits, err := editsOf(args[1:], unset)
			if err != nil {
				return err
			}
			return a.cardSet(cmd.Context(), args[0], edits, f)
		},
	}
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "remove `KEY` (repeatable)")
	f.add(cmd)
	return cmd
}

func editsOf(args, unset []string) ([]card.Edit, error) {
	var edits []card.Edit
	for _, arg := range args {
		e, err := card.ParseEdit(arg)
		if err != nil {
			return nil, usageError{err, ""}
		}
		edits = append(edits, e)
	}
	for _, key := range unset {
		edits = append(edits, card.Edit{Key: key, Op: card.Unset})
	}
	if len(edits) == 0 {
		return nil, usagef("nothing to set: give KEY=VALUE or --unset KEY")
	}
	given := map[string]bool{}
	for _, e := range edits {
		if e.Op != card.Set && e.Op != card.Unset {
			continue
		}
		if given[e.Key] {
			return nil, usagef("set %s: it is given twice", ui.Line(e.Key))
		}
		given[e.Key] = true
	}
	return edits, nil
}

// misspelt refuses to make a key that is almost one that loaders read. What a card
// has already may be changed, and removed.
func misspelt(readme []byte, edits []card.Edit) error {
	c, err := card.Parse(readme)
	if err != nil {
		return err
	}
	for _, e := range edits {
		meant := card.Misspelt(e.Key)
		if meant == "" || e.Op == card.Remove || e.Op == card.Unset || c.Field(e.Key) != "" {
			continue
		}
		return usageError{
			fmt.Errorf("set %s: no loader reads that key: did you mean %s?", ui.Line(e.Key), meant),
			"\"modelreg card edit\" writes any key",
		}
	}
	return nil
}

// tellDoubts warns of values that were just set and that a rule speaks against.
func (a *app) tellDoubts(readme []byte, edits []card.Edit) {
	c, err := card.Parse(readme)
	if err != nil {
		return
	}
	r, err := c.Lint(card.LintOptions{})
	if err != nil {
		return // who shows the card is told
	}
	about := map[string]string{
		"license-unknown": "license", "license-name": "license", "license-family": "license", "license-missing": "license",
		"task-unknown": "pipeline_tag", "language-unknown": "language", "base-relation": "base_model_relation",
	}
	for _, f := range r.Findings {
		if slices.ContainsFunc(edits, func(e card.Edit) bool { return e.Op != card.Unset && e.Key == about[f.Rule] }) {
			a.printer.Warn("%s", ui.Line(f.Message))
		}
	}
}

// cardSetResult is the result of "card set" on this machine.
type cardSetResult struct {
	Path    string `json:"path"`
	Changed bool   `json:"changed"`
}

func (a *app) cardSet(ctx context.Context, arg string, edits []card.Edit, f revisionFlags) error {
	name, local := a.localCard(arg)
	var before []byte
	var opts hub.CardPush
	var err error
	if local {
		if before, err = readCardFile(name); errors.Is(err, os.ErrNotExist) {
			if info, statErr := os.Stat(filepath.Dir(name)); statErr == nil && info.IsDir() {
				before, err = nil, nil
			}
		}
	} else {
		before, opts, err = a.editedCard(ctx, arg, f)
	}
	if err != nil {
		return err
	}
	if err := misspelt(before, edits); err != nil {
		return err
	}
	after, err := card.Rewrite(before, edits...)
	if err != nil {
		return usageError{err, "\"modelreg card edit\" opens the card in your editor"}
	}
	a.tellDoubts(after, edits)
	if !local {
		return a.pushCard(ctx, arg, after, opts)
	}
	res := cardSetResult{Path: name, Changed: !bytes.Equal(before, after)}
	if res.Changed {
		if err := writeCardFile(name, after); err != nil {
			return err
		}
	}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, name) })
}

// writeCardFile writes a file that is there in whole or not at all.
func writeCardFile(name string, raw []byte) error {
	mode := os.FileMode(0o644)
	if info, err := os.Stat(name); err == nil {
		mode = info.Mode().Perm()
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	tmp, err := os.CreateTemp(filepath.Dir(name), ".modelreg-*")
	if err != nil {
		return fmt.Errorf("write card: %w", err)
	}
	_, err = tmp.Write(raw)
	err = errors.Join(err, tmp.Chmod(mode), tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("write card: %w", err)
	}
	return nil
}
