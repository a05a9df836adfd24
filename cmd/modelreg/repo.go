package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/signing"
)

func newRepo(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repo COMMAND",
		Short: "Show and change what a repository says about itself",
		Long: `A repository can have a record, behind the tag _modelreg: what a reference without a tag
means, which tags are never moved, the moves of which are logged, whose statements about
versions count, and where it has moved to. modelreg keeps to it; a registry does not know
of it, and lets other clients do what they may.

With --key or --keyless the record is signed, as a version is: "modelreg verify
REPOSITORY:_modelreg" checks that.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		newRepoShow(a), newRepoSet(a), newRepoRule(a, "protect", "aliases, whose moves are logged"),
		newRepoRule(a, "freeze", "releases, which are never moved or deleted"),
		newRepoRetire(a),
		newRepoParties(a, "publishers", "whose cards and statements about versions are the repository's own"),
		newRepoParties(a, "evaluators", "whose measurements are trusted besides"),
	)
	return cmd
}

func newRepoShow(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "show REPOSITORY",
		Short:             "Show what a repository says about itself",
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err != nil {
				return err
			}
			res, err := h.Record(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printRecord(res)
		},
	}
}

// changeRecord changes the record of the repository that arg names.
func (a *app) changeRecord(cmd *cobra.Command, arg string, f signerFlags, change func(*record.Record) error) error {
	h, r, err := a.open(arg)
	if err != nil {
		return err
	}
	var signer *signing.Signer
	if f.given() {
		if signer, err = a.signerOf(cmd.Context(), f); err != nil {
			return err
		}
	}
	res, err := h.SetRecord(cmd.Context(), r, signer, change)
	if err != nil {
		return err
	}
	if !res.Changed && res.Signatures == 0 {
		a.printer.Note("nothing to change")
	}
	return a.printRecord(res)
}

func (a *app) printRecord(res *hub.RecordResult) error {
	return a.printer.Result(res, func(w io.Writer) {
		t := ui.Table(w)
		row := func(name, value string) {
			if value != "" {
				fmt.Fprintf(t, "%s\t%s\n", name, ui.Line(value))
			}
		}
		r := res.Record
		row("repository", res.Repository)
		row("record", res.Digest)
		row("default branch", r.DefaultBranch)
		row("immutable", strings.Join(r.Immutable, ", "))
		row("protected", strings.Join(r.Protected, ", "))
		for _, p := range r.Publishers {
			row("publisher", partyLine(p))
		}
		for _, p := range r.Evaluators {
			row("evaluator", partyLine(p))
		}
		row("evaluations in", strings.Join(r.Evaluations, ", "))
		row("moved to", r.Redirect)
		row("status", wholeLine(r.Status))
		row("notice", r.Notice)
		row("retention", string(r.Retention))
		_ = t.Flush()
	})
}

// wholeLine tells what became of a repository.
func wholeLine(s record.Status) string {
	if s.State == "" {
		return ""
	}
	line := fmt.Sprintf("%s since %s: %s", s.State, s.Since.Format(time.RFC3339), s.Reason)
	if s.Replacement != "" {
		line += "; use " + s.Replacement
	}
	return line
}

func partyLine(p record.Party) string {
	line := p.Identity + " (issuer " + p.Issuer + ")"
	if p.Key != "" {
		line = "key " + fingerprint(p)
	}
	if p.Name != "" {
		line = p.Name + ": " + line
	}
	return line
}

// fingerprint is that of a party's key.
func fingerprint(p record.Party) string {
	key, err := signing.LoadPublicKey([]byte(p.Key))
	if err != nil {
		return "that cannot be read"
	}
	return key.Fingerprint()
}

func newRepoSet(a *app) *cobra.Command {
	var f signerFlags
	var branch, notice, redirect, retention string
	cmd := &cobra.Command{
		Use:   "set REPOSITORY",
		Short: "Set the default branch, a notice, where a repository has moved to",
		Long: `Set what the flags name; an empty value takes it away.

A redirect is followed, once and with a warning, by those who look for what is not in the
repository any more: to a repository of the same registry, and to another registry only
for references with a digest. What policies say of the old name holds too.`,
		Example: `  modelreg repo set ghcr.io/acme/support --default-branch main
  modelreg repo set ghcr.io/acme/helpdesk --redirect ghcr.io/acme/support --notice "renamed"`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			if !given("default-branch") && !given("notice") && !given("redirect") && !given("retention") && !f.given() {
				return usagef("repo set: nothing to set: give --default-branch, --notice, --redirect or --retention")
			}
			return a.changeRecord(cmd, args[0], f, func(r *record.Record) error {
				if given("default-branch") {
					r.DefaultBranch = branch
				}
				if given("notice") {
					r.Notice = notice
				}
				if given("redirect") {
					r.Redirect = redirect
				}
				if given("retention") {
					return setRetention(r, retention)
				}
				return nil
			})
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&branch, "default-branch", "", "what a reference without a tag means: `TAG`")
	fl.StringVar(&notice, "notice", "", "`TEXT` for those who look at the repository")
	fl.StringVar(&redirect, "redirect", "", "where the repository has moved to: `HOST/ORG/MODEL`")
	fl.StringVar(&retention, "retention", "", "what garbage collection may remove: the JSON object in `FILE`")
	f.add(cmd)
	return cmd
}

// setRetention takes the rules from a file.
func setRetention(r *record.Record, file string) error {
	if file == "" {
		r.Retention = nil
		return nil
	}
	raw, err := readSmall(file, record.MaxBytes)
	if err != nil {
		return fmt.Errorf("read retention: %w", err)
	}
	r.Retention = raw
	if !r.Retention.IsValid() || r.Retention.Kind() != '{' {
		return usagef("%s: retention is a JSON object", file)
	}
	return r.Retention.Compact()
}

func newRepoRule(a *app, verb, what string) *cobra.Command {
	var f signerFlags
	var remove bool
	cmd := &cobra.Command{
		Use:   verb + " REPOSITORY GLOB...",
		Short: "Name the tags that are " + what,
		Long: `Add patterns of tags to those that are ` + what + `, or with
--remove take them away. "*" is any text, "?" one letter and "[a-z]" one of some.`,
		Example:           fmt.Sprintf("  modelreg repo %s ghcr.io/acme/support %q", verb, map[string]string{"protect": "prod", "freeze": "v*"}[verb]),
		Args:              rangeArgs(2, -1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeRecord(cmd, args[0], f, func(r *record.Record) error {
				list := &r.Protected
				if verb == "freeze" {
					list = &r.Immutable
				}
				for _, glob := range args[1:] {
					at := slices.Index(*list, glob)
					switch {
					case remove && at < 0:
						return usagef("repo %s: %q is not among the patterns", verb, glob)
					case remove:
						*list = slices.Delete(*list, at, at+1)
					case at < 0:
						*list = append(*list, glob)
					}
				}
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&remove, "remove", false, "take the patterns away")
	f.add(cmd)
	return cmd
}

type partyFlags struct {
	keys, identities, remove []string
	issuer, name             string
	signer                   signerFlags

	repositories []string // of evaluators
}

func newRepoParties(a *app, list, what string) *cobra.Command {
	var f partyFlags
	long := `Add keys and identities to those ` + what + `,
or take some away. --key is what the record itself is signed with.`
	example := fmt.Sprintf(`  modelreg repo %s ghcr.io/acme/support --add-key release.pub --name "release team"
  modelreg repo %s ghcr.io/acme/support --add-identity ci@acme.example --issuer https://accounts.google.com`, list, list)
	if list == "evaluators" {
		long += evaluatorsLong
		example += "\n  modelreg repo evaluators ghcr.io/acme/support --add-key lab.pub --add-repository ghcr.io/lab/evals"
	}
	cmd := &cobra.Command{
		Use:               list + " REPOSITORY",
		Short:             "Name those " + what,
		Long:              long,
		Example:           example,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			add, err := f.parties(cmd.Context())
			if err != nil {
				return err
			}
			at, err := a.keptAt(args[0], f.repositories)
			if err != nil {
				return err
			}
			return a.changeRecord(cmd, args[0], f.signer, func(r *record.Record) error {
				if list == "evaluators" {
					return f.changeEvaluators(r, add, at)
				}
				return f.change(&r.Publishers, add)
			})
		},
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.keys, "add-key", nil, "a public key: `FILE`, env://NAME, or one kept elsewhere (repeatable)")
	fl.StringArrayVar(&f.identities, "add-identity", nil, "whom a certificate names: `WHO` (repeatable)")
	fl.StringVar(&f.issuer, "issuer", "", "the provider that vouches for these: `URL`")
	fl.StringVar(&f.name, "name", "", "what people call what is added: `NAME`")
	removed := "take away the key with this `FINGERPRINT`, or the identity (repeatable)"
	if list == "evaluators" {
		fl.StringArrayVar(&f.repositories, "add-repository", nil, "`REPO` on the same host, in which others keep what they have measured (repeatable)")
		removed = "take away the key with this `FINGERPRINT`, the identity, or the repository (repeatable)"
	}
	fl.StringArrayVar(&f.remove, "remove", nil, removed)
	f.signer.add(cmd)
	return cmd
}

// parties are those that are to be added.
func (f *partyFlags) parties(ctx context.Context) ([]record.Party, error) {
	if len(f.keys)+len(f.identities)+len(f.remove)+len(f.repositories) == 0 && !f.signer.given() {
		return nil, usageError{errors.New("nobody to add or to remove"), "give --add-key, --add-identity with --issuer, or --remove; \"modelreg repo show\" lists who is there"}
	}
	if (len(f.identities) > 0) != (f.issuer != "") {
		return nil, usagef("--add-identity and --issuer go together: a name says nothing without who vouches for it")
	}
	var list []record.Party
	for _, name := range f.keys {
		key, err := publicKey(ctx, name)
		if err != nil {
			return nil, err
		}
		list = append(list, record.Party{Name: f.name, Key: string(key.PEM())})
	}
	for _, who := range f.identities {
		list = append(list, record.Party{Name: f.name, Identity: who, Issuer: f.issuer})
	}
	return list, nil
}

// change adds and removes parties. Each is in a list once.
func (f *partyFlags) change(list *[]record.Party, add []record.Party) error {
	for _, p := range add {
		same := func(o record.Party) bool { return o.Key == p.Key && o.Identity == p.Identity && o.Issuer == p.Issuer }
		if !slices.ContainsFunc(*list, same) {
			*list = append(*list, p)
		}
	}
	for _, who := range f.remove {
		before := len(*list)
		*list = slices.DeleteFunc(*list, func(p record.Party) bool {
			return p.Identity == who && who != "" || p.Key != "" && fingerprint(p) == who
		})
		if len(*list) == before {
			return usagef("remove %s: no key has this fingerprint, and no identity this name", who)
		}
	}
	return nil
}
