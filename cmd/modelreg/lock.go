package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/signing"
)

// lockFlags are those of more than one lock command.
type lockFlags struct {
	file  string
	trust trustFlags
	force bool
	opts  hub.LockOptions
}

func newLock(a *app) *cobra.Command {
	var f lockFlags
	cmd := &cobra.Command{
		Use:   "lock COMMAND",
		Short: "Keep the digests of the models that a project loads in modelreg.lock",
		Long: `modelreg.lock says which version of each model a project loads, by digest, and whose
signature was found good when it was locked. It belongs under version control:
"modelreg pull --locked NAME" then brings that version and no other.

The file is looked for in the current directory, and above it as far as the root of
the repository that it is in. docs/lock.md describes it.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&f.file, "file", "", "lock `FILE` (default: modelreg.lock here, or above in the repository)")
	cmd.AddCommand(newLockAdd(a, &f), newLockUpdate(a, &f), newLockCheck(a, &f), newLockVerify(a, &f), newLockExport(a, &f))
	return cmd
}

func newLockAdd(a *app, f *lockFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add NAME REF",
		Short: "Resolve a reference and lock what it leads to",
		Long: `Resolve REF once and write the digest that it leads to into the lock file, as NAME. REF
may be a tag, a range of versions in quotes, or a digest. With --key or a policy, nothing
is locked that is not signed, and who signed it is locked too. Of a version that has
several variants, the one that is chosen as by "modelreg pull" is locked, and an update
stays with it.`,
		Example: `  modelreg lock add support 'ghcr.io/acme/support:^1.4' --key cosign.pub
  modelreg pull --locked support /models/support --verify --key cosign.pub`,
		Args:              exactArgs(2),
		ValidArgsFunction: positions(words(), a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.lockAdd(cmd.Context(), f, args[0], args[1]) },
	}
	f.addTrust(cmd)
	a.addVariantFlags(cmd)
	a.addPolicyFlags(cmd)
	a.addStrictFlag(cmd)
	cmd.Flags().BoolVar(&f.force, "force", false, "replace what is locked as NAME, whatever that is")
	return cmd
}

func newLockUpdate(a *app, f *lockFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update [NAME…]",
		Short: "Lock what the references lead to now",
		Long: `Resolve the references of the models again, all or those named, and lock what they lead
to. Nothing is written if one of them fails. A version that is older than the locked
one is refused, by its semantic version, its time, or because it was locked before; a
model that was locked with a signature is only locked with one again.`,
		Args:              rangeArgs(0, -1),
		ValidArgsFunction: a.lockedNames(f),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.lockUpdate(cmd.Context(), f, args) },
	}
	f.addTrust(cmd)
	a.addPolicyFlags(cmd)
	a.addStrictFlag(cmd)
	return cmd
}

func newLockCheck(a *app, f *lockFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "check [NAME…]",
		Short: "Tell whether tags still lead to what is locked",
		Long: `Ask the registries where the references of the models lead now. A tag that leads
elsewhere than to the locked digest, or nowhere, is drift: exit 9. A higher version in a
range is told, and is no drift. Nothing is written.`,
		Args:              rangeArgs(0, -1),
		ValidArgsFunction: a.lockedNames(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.lockStatus(f, args, func(h *hub.Hub, models []hub.Locked) ([]hub.LockStatus, error) {
				return h.CheckLocked(cmd.Context(), models)
			})
		},
	}
}

func newLockVerify(a *app, f *lockFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [NAME…]",
		Short: "Check what is locked: that it is there, whole, and signed by the locked signer",
		Long: `Check each model by its locked digest: that the registry has its manifest and all blobs,
that the files are those that are locked, and with --key or a policy that the signature is
good and by the locked signer. Where tags lead is not looked at.`,
		Args:              rangeArgs(0, -1),
		ValidArgsFunction: a.lockedNames(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.readTrust(cmd.Context(), f); err != nil {
				return err
			}
			return a.lockStatus(f, args, func(h *hub.Hub, models []hub.Locked) ([]hub.LockStatus, error) {
				if f.opts.Trust == nil && !a.hasPolicy() {
					a.noteUnverified(models)
				}
				return h.VerifyLocked(cmd.Context(), models, f.opts)
			})
		},
	}
	f.addKeys(cmd)
	a.addPolicyFlags(cmd)
	a.addStrictFlag(cmd)
	return cmd
}

// noteUnverified tells which models have a signer that nobody asks about.
func (a *app) noteUnverified(models []hub.Locked) {
	for _, l := range models {
		if l.Signer != "" {
			a.printer.Note("%s was signed by %s when it was locked; no signature was looked at now: give --key or a policy", l.Name, l.Signer)
		}
	}
}

func newLockExport(a *app, f *lockFlags) *cobra.Command {
	var as string
	cmd := &cobra.Command{
		Use:   "export [NAME…]",
		Short: "Print the locked digests for other tools",
		Long: `Print the locked digests: as variables of an environment, as values for a Helm chart, or
as a kustomize component that sets them in containers and in image volumes.`,
		Example: `  modelreg lock export --as env > models.env
  modelreg lock export --as kustomize > models/kustomization.yaml`,
		Args:              rangeArgs(0, -1),
		ValidArgsFunction: a.lockedNames(f),
		RunE:              func(_ *cobra.Command, args []string) error { return a.lockExport(f, args, lock.Export(as)) },
	}
	choose(cmd, choiceFlag{value: &as, name: "as", usage: "`env|helm-values|kustomize`"}, string(lock.Env), string(lock.HelmValues), string(lock.Kustomize))
	return cmd
}

func (f *lockFlags) addTrust(cmd *cobra.Command) {
	f.addKeys(cmd)
	cmd.Flags().BoolVar(&f.opts.AllowDowngrade, "allow-downgrade", false, "accept a version that is older than what is locked, or was seen behind the tag")
}

func (f *lockFlags) addKeys(cmd *cobra.Command) {
	f.trust.add(cmd.Flags())
	f.trust.addAuthorities(cmd.Flags())
}

// readTrust reads what the flags name.
func (a *app) readTrust(ctx context.Context, f *lockFlags) (err error) {
	if f.trust.used() {
		f.opts.Trust, err = a.trusted(ctx, f.trust)
	}
	return err
}

// lockFile finds the lock file: the one named, or the nearest.
func lockFile(named string) (string, error) {
	if named != "" {
		return named, nil
	}
	return lock.Locate(".")
}

// readLock reads the lock file, which must be there.
func readLock(named string) (file string, f *lock.File, err error) {
	if file, err = lockFile(named); err != nil {
		return "", nil, err
	}
	f, err = lock.Read(file)
	return file, f, err
}

// A lockedModel is one model in the results of lock add and lock update.
type lockedModel struct {
	Name      string `json:"name"`
	Reference string `json:"reference"`
	Digest    string `json:"digest"`
	Tag       string `json:"tag"`
	Previous  string `json:"previous"` // digest that was locked; empty if none was
	Changed   bool   `json:"changed"`
	Signer    string `json:"signer"`
	Issuer    string `json:"issuer"`
	Policy    string `json:"policy"`
}

type lockResult struct {
	File   string        `json:"file"`
	Models []lockedModel `json:"models"`
}

func lockedResult(name string, old, e lock.Entry) lockedModel {
	return lockedModel{
		Name: name, Reference: e.Reference.String(), Digest: e.Digest.String(), Tag: e.Tag, Previous: old.Digest.String(),
		Changed: !old.Resolved.Equal(e.Resolved) || old.Digest != e.Digest, Signer: e.Signer, Issuer: e.Issuer, Policy: e.Policy.String(),
	}
}

func (a *app) lockAdd(ctx context.Context, f *lockFlags, name, arg string) error {
	if err := lock.CheckName(name); err != nil {
		return err
	}
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	if err := a.readTrust(ctx, f); err != nil {
		return err
	}
	file, err := lockFile(f.file)
	if errors.Is(err, fs.ErrNotExist) {
		file, err = lock.Name, nil
	}
	if err != nil {
		return err
	}
	models, err := lock.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		models, err = &lock.File{}, nil
	}
	if err != nil {
		return err
	}
	old, there := models.Models[name]
	if there && !f.force {
		return usageError{
			fmt.Errorf("lock %s: %s has a model of that name: %s", name, file, old.Reference),
			fmt.Sprintf("\"modelreg lock update %s\" locks what it leads to now; --force replaces it", name),
		}
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	e, err := h.Lock(ctx, r, f.opts)
	if err != nil {
		return err
	}
	if err := models.Set(name, e); err != nil {
		return err
	}
	if err := lock.Write(file, models); err != nil {
		return err
	}
	return a.lockWritten(lockResult{file, []lockedModel{lockedResult(name, old, e)}})
}

func (a *app) lockUpdate(ctx context.Context, f *lockFlags, names []string) error {
	if err := a.readTrust(ctx, f); err != nil {
		return err
	}
	file, models, err := readLock(f.file)
	if err != nil {
		return err
	}
	chosen, err := lockedModels(models, names)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	res := lockResult{file, make([]lockedModel, 0, len(chosen))}
	for _, old := range chosen {
		e, err := h.Relock(ctx, old, f.opts)
		if err != nil {
			return err
		}
		if err := models.Set(old.Name, e); err != nil {
			return err
		}
		res.Models = append(res.Models, lockedResult(old.Name, old.Entry, e))
	}
	if err := lock.Write(file, models); err != nil {
		return err
	}
	return a.lockWritten(res)
}

// lockWritten tells what was locked.
func (a *app) lockWritten(res lockResult) error {
	for _, m := range res.Models {
		what := cmp.Or(spoken(m.Tag), "digest")
		switch {
		case !m.Changed:
			a.printer.Note("%s: unchanged at %s", m.Name, what)
		case m.Previous == "" || m.Previous == m.Digest:
			a.printer.Note("%s: locked %s", m.Name, what)
		default:
			a.printer.Note("%s: locked %s, in place of %s", m.Name, what, m.Previous)
		}
		if m.Signer != "" && m.Changed {
			a.printer.Note("%s: signed by %s", m.Name, m.Signer)
		}
	}
	return a.printer.Result(res, func(w io.Writer) {
		for _, m := range res.Models {
			fmt.Fprintf(w, "%s %s\n", m.Name, m.Digest)
		}
	})
}

// lockedModels are the models of these names, or all.
func lockedModels(f *lock.File, names []string) ([]hub.Locked, error) {
	if len(names) == 0 {
		names = f.Names()
	}
	slices.Sort(names)
	var out []hub.Locked
	for _, name := range slices.Compact(names) {
		name, e, err := f.Find(name, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, hub.Locked{Name: name, Entry: e})
	}
	return out, nil
}

type lockStatusResult struct {
	File   string           `json:"file"`
	Models []hub.LockStatus `json:"models"`
}

// lockStatus asks about models and prints the answers, also those that are bad.
func (a *app) lockStatus(f *lockFlags, names []string, ask func(*hub.Hub, []hub.Locked) ([]hub.LockStatus, error)) error {
	file, models, err := readLock(f.file)
	if err != nil {
		return err
	}
	chosen, err := lockedModels(models, names)
	if err != nil {
		return err
	}
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	found, asked := ask(h, chosen)
	res := lockStatusResult{file, found}
	err = a.printer.Result(res, func(w io.Writer) {
		tw := ui.Table(w)
		for _, s := range found {
			state := s.Status
			if s.Newer != "" {
				state += ", newer: " + s.Newer
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", s.Name, cmp.Or(spoken(s.Tag), "-"), s.Digest, ui.Clean(state))
		}
		_ = tw.Flush()
	})
	return errors.Join(err, asked)
}

func (a *app) lockExport(f *lockFlags, names []string, as lock.Export) error {
	_, models, err := readLock(f.file)
	if err != nil {
		return err
	}
	chosen, err := lockedModels(models, names)
	if err != nil {
		return err
	}
	some := &lock.File{}
	for _, l := range chosen {
		if err := some.Set(l.Name, l.Entry); err != nil {
			return err
		}
	}
	text, err := some.Export(as)
	if err != nil {
		return err
	}
	res := map[string]string{"as": string(as), "document": text}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprint(w, text) })
}

// lockedNames completes the names of models in the lock file.
func (a *app) lockedNames(f *lockFlags) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
		_, models, err := readLock(f.file)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return models.Names(), cobra.ShellCompDirectiveNoFileComp
	}
}

// locked is findLocked for a command that uses the model, which says whose
// signature it does not look at.
func (a *app) locked(named string, args []string, trust *signing.Trust) (*hub.Locked, error) {
	l, err := a.findLocked(named, args)
	if err != nil {
		return nil, err
	}
	if l.Signer != "" && trust == nil && !a.hasPolicy() {
		a.printer.Note("%s was signed by %s when it was locked; --verify looks again", l.Name, l.Signer)
	}
	return &l, nil
}

// findLocked is the model that an argument of --locked means: a name, a
// reference, or nothing when only one is locked.
func (a *app) findLocked(named string, args []string) (hub.Locked, error) {
	file, models, err := readLock(named)
	if err != nil {
		return hub.Locked{}, err
	}
	if len(args) == 0 {
		if names := models.Names(); len(names) == 1 {
			return hub.Locked{Name: names[0], Entry: models.Models[names[0]]}, nil
		}
		return hub.Locked{}, usagef("--locked: %s has %d models: say which", file, len(models.Models))
	}
	var parsed *ref.Reference
	if r, err := a.parse(args[0]); err == nil {
		parsed = &r
	}
	name, e, err := models.Find(args[0], parsed)
	return hub.Locked{Name: name, Entry: e}, err
}
