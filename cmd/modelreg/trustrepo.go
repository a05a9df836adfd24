package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/signing"
)

func newTrust(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trust",
		Short: "Look after whom certificates are believed of",
		Long: `A trusted root says which sigstore deployment is believed: its certificate authorities,
logs and timestamp authorities. The public sigstore publishes its own, and changes it when
keys change. "trust update" fetches it; keyless signing and verifying need no --trusted-root
then. Nothing else asks for it: verifying needs no network but the registry.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTrustUpdate(a), newTrustShow(a))
	return cmd
}

// updated is the result of "trust update".
type updated struct {
	Repository string    `json:"repository"`
	File       string    `json:"file"` // the trusted root
	Checked    time.Time `json:"checked"`
	Expires    time.Time `json:"expires"`
	Changed    bool      `json:"changed"`
	Services   bool      `json:"services"` // it says whom to sign with, too
}

func newTrustUpdate(a *app) *cobra.Command {
	var mirror, rootFile string
	cmd := &cobra.Command{
		Use:   "update",
		Short: "Fetch the trusted root of the public sigstore, or of a deployment of your own",
		Long: `Ask the repository of a sigstore deployment, by The Update Framework (TUF), whom to believe
of it, check the answer with the keys that were believed before, and keep it. What is
older than what was seen before, out of date, or signed by others is refused, and what was
kept stays in use.

Without --mirror it is the repository in the configuration (trust-repository), or that of
the public sigstore, whose first keys are built in. A deployment of your own needs
--root FILE the first time: its root.json.`,
		Example: `  modelreg trust update
  modelreg trust update --mirror https://tuf.acme.example --root root.json
  modelreg config set trust-repository https://tuf.acme.example`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.trustUpdate(cmd, mirror, rootFile) },
	}
	cmd.Flags().StringVar(&mirror, "mirror", "", "repository at `URL`")
	cmd.Flags().StringVar(&rootFile, "root", "", "begin with the keys in `FILE`, the repository's root.json, got in a way that you trust")
	return cmd
}

func (a *app) trustUpdate(cmd *cobra.Command, mirror, rootFile string) error {
	r, err := a.trustRepository()
	if err != nil {
		return err
	}
	r.URL = cmp.Or(mirror, r.URL)
	if rootFile != "" {
		if r.Root, err = readSmall(rootFile, maxTrustedRoot); err != nil {
			return fmt.Errorf("read root.json: %w", err)
		}
	}
	if err := r.Check(); err != nil {
		return usageError{err, ""}
	}
	before, err := r.Kept()
	if r.Root == nil && r.URL != "" && r.URL != signing.PublicTrust && errors.Is(err, fs.ErrNotExist) {
		return usageError{
			fmt.Errorf("%s was never asked before, and nothing says which keys are its own", r.URL),
			"give --root FILE once: the repository's root.json, from those who run the deployment",
		}
	}
	p, err := r.Update(cmd.Context())
	if err != nil {
		return err
	}
	res := updated{
		Repository: p.Repository, File: p.File, Checked: p.Checked, Expires: p.Expires, Services: p.SigningConfig != nil,
		Changed: before == nil || !bytes.Equal(before.TrustedRoot, p.TrustedRoot) || !bytes.Equal(before.SigningConfig, p.SigningConfig),
	}
	word := "as before"
	if res.Changed {
		word = "new"
	}
	a.printer.Note("trusted root of %s: %s, good until %s", p.Repository, word, p.Expires.Format(time.RFC3339))
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, ui.Line(p.File)) })
}

// shownRoot is the result of "trust show".
type shownRoot struct {
	Source     string       `json:"source"` // flag, configuration, fetched, cosign
	File       string       `json:"file"`
	Repository string       `json:"repository"` // empty unless it was fetched
	Checked    time.Time    `json:"checked,omitzero"`
	Expires    time.Time    `json:"expires,omitzero"`
	Stale      bool         `json:"stale"` // it was fetched, and is out of date
	Parties    []shownParty `json:"parties"`
}

type shownParty struct {
	Kind  string    `json:"kind"`
	Name  string    `json:"name"`
	ID    string    `json:"id"`
	From  time.Time `json:"from,omitzero"`
	Until time.Time `json:"until,omitzero"`
}

func newTrustShow(a *app) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show whom certificates are believed of, and who says so",
		Long: `Show the trusted root that is used where a command needs one: that of --trusted-root, of
trusted-root in the configuration, what "trust update" has fetched, or what cosign has
cached, the first that there is. No network is asked.`,
		Args: exactArgs(0),
		RunE: func(*cobra.Command, []string) error { return a.trustShow(file) },
	}
	cmd.Flags().StringVar(&file, "trusted-root", "", "show the trusted root in `FILE`")
	return cmd
}

func (a *app) trustShow(file string) error {
	found, err := a.findRoot(file)
	if err != nil {
		return err
	}
	res := shownRoot{Source: found.source, File: found.file, Parties: []shownParty{}}
	if k := found.kept; k != nil {
		res.Repository, res.Checked, res.Expires, res.Stale = k.Repository, k.Checked, k.Expires, time.Now().After(k.Expires)
	}
	for _, p := range found.roots.Parties() {
		res.Parties = append(res.Parties, shownParty{p.Kind, p.Name, p.ID, p.From.UTC(), p.Until.UTC()})
	}
	if res.Stale {
		a.warnStale(found.kept)
	}
	return a.printer.Result(res, func(w io.Writer) {
		fmt.Fprintf(w, "%s (%s)\n", ui.Line(res.File), res.Source)
		t := ui.Table(w)
		for _, p := range res.Parties {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s – %s\n", p.Kind, ui.Clean(p.Name), p.ID[:min(12, len(p.ID))], inUse(p.From), inUse(p.Until))
		}
		_ = t.Flush()
	})
}

// inUse is the day at which a range begins or ends, which may be open.
func inUse(t time.Time) string { return cmp.Or(day(t), "…") }

// trustRepository is where the deployment publishes its trusted root that is used
// unless another is named.
func (a *app) trustRepository() (signing.TrustRepository, error) {
	dir, err := stateDir()
	if err != nil {
		return signing.TrustRepository{}, err
	}
	return signing.TrustRepository{URL: a.config.TrustRepository, Dir: filepath.Join(dir, "trust")}, nil
}

// keptTrust is what was fetched from there last, nil if nothing ever was.
func (a *app) keptTrust() (*signing.Published, error) {
	r, err := a.trustRepository()
	if err != nil {
		return nil, nil // nowhere to have kept it
	}
	kept, err := r.Kept()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return kept, err
}

// warnStale says, once, that a trusted root is out of date.
func (a *app) warnStale(p *signing.Published) {
	a.stale.Do(func() {
		a.printer.Warn("the trusted root is what %s published by %s, and vouched for until %s: \"modelreg trust update\" fetches the present one",
			p.Repository, p.Checked.Format(time.DateOnly), p.Expires.Format(time.DateOnly))
	})
}

// usualServices are those that keyless signatures are made with when no flag names
// any: what the deployment itself publishes, if that was fetched, or the public
// sigstore's as they are known here. A signature is then attached only if the
// published trusted root believes it.
func (a *app) usualServices() (signing.Services, error) {
	none := signing.Services{}
	kept, err := a.keptTrust()
	if err != nil {
		return none, err
	}
	private := a.config.TrustRepository
	if kept != nil && private == "" && time.Now().After(kept.Expires) {
		a.warnStale(kept) // keys may have changed since
		kept = nil
	}
	if private != "" && (kept == nil || kept.SigningConfig == nil) {
		return none, usageError{
			fmt.Errorf("nothing is known of the services of the deployment at %s, which trust-repository names", private),
			"run \"modelreg trust update\"; if it publishes no signing configuration, give --signing-config FILE or --fulcio-url",
		}
	}
	if kept == nil {
		return signing.PublicServices(), nil
	}
	s := signing.PublicServices()
	if kept.SigningConfig != nil {
		if s, err = signing.ParseSigningConfig(kept.SigningConfig); err != nil {
			return none, fmt.Errorf("services of %s: %w", kept.Repository, err)
		}
	}
	s.Roots, err = signing.ParseTrustedRoot(kept.TrustedRoot)
	return s, err
}
