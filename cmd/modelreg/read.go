package main

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/remote"
)

func newResolve(a *app) *cobra.Command {
	var at string
	cmd := &cobra.Command{
		Use:   "resolve REF",
		Short: "Print the digest that a reference stands for now",
		Long: `Print the digest that REF stands for now. A version that has several variants is
known by the digest of its index; REF#VARIANT, --variant, --for and --fit choose one.

With --at, print what it stood for at a time: of a protected alias by its log
("modelreg tag log"), of a branch by what its versions say of when they were made. A
date means its end, in UTC. REF@{TIME} is the same.

A version that was yanked is refused (exit 11), unless REF names its digest or a time; of
a range the highest version that was not is taken. One that was deprecated is a warning.`,
		Example: `  modelreg resolve ghcr.io/acme/support:v1
  modelreg resolve ghcr.io/acme/support:prod --at 2026-05-03
  modelreg pull "ghcr.io/acme/support@$(modelreg resolve ghcr.io/acme/support:v1)" ./model`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, r, err := a.open(args[0])
			if err == nil && at != "" {
				r, err = atTime(r, at)
			}
			if err != nil {
				return err
			}
			res, err := h.Resolve(cmd.Context(), r)
			if err != nil {
				return err
			}
			return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res.Digest) })
		},
	}
	a.addVariantFlags(cmd)
	cmd.Flags().StringVar(&at, "at", "", "what it stood for at `TIME`: a date, or RFC 3339")
	a.addStrictFlag(cmd)
	return cmd
}

// atTime is a reference to what r stood for at a time.
func atTime(r ref.Reference, at string) (ref.Reference, error) {
	if r.Digest != "" || r.Prefix != "" || r.Range != "" || r.Revision != "" {
		return r, usagef("--at %s: %s does not name a tag, and only tags move", at, r)
	}
	r.Revision = "@{" + at + "}"
	if _, err := ref.ParseRevision(r.Revision); err != nil {
		return r, usagef("--at %s: give a date or a time, such as 2026-05-03 or 2026-05-03T10:00:00Z", at)
	}
	return r, nil
}

func newLs(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "ls HOST | ORG | REPOSITORY | REF",
		Short: "List repositories, versions, or files",
		Long: `List the repositories of a registry (ls HOST) or of an organisation in it (ls HOST/ORG),
the versions of a model (ls HOST/ORG/MODEL), or the files of one version
(ls HOST/ORG/MODEL:TAG). Many hosted registries do not list all that they hold; of an
organisation in some of them GitHub, GitLab, Harbor, Quay or Docker Hub are asked.
Versions that were deprecated or yanked are marked, where that counts for those who pull
them.`,
		Args:              exactArgs(1),
		ValidArgsFunction: positions(a.references),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.ls(cmd, args[0], all) },
	}
	cmd.Flags().BoolVarP(&all, "all", "a", false, "list tags that modelreg and cosign keep for themselves, too")
	return cmd
}

func (a *app) ls(cmd *cobra.Command, arg string, all bool) error {
	h, err := a.hub(nil)
	if err != nil {
		return err
	}
	if !strings.Contains(arg, "/") && isHost(arg) {
		return a.lsRepositories(cmd, h, arg, "")
	}
	r, err := a.parse(arg)
	if err != nil {
		return err
	}
	if r.Tag != "" || r.Range != "" || r.Digest != "" || r.Prefix != "" {
		files, err := h.Files(cmd.Context(), r)
		if err != nil {
			return err
		}
		return a.printer.Result(files, func(w io.Writer) { printFiles(w, files) })
	}
	versions, err := h.Versions(cmd.Context(), r, all)
	if errors.Is(err, errdef.ErrNotFound) || errors.Is(err, remote.ErrUnauthorized) || errors.Is(err, remote.ErrForbidden) {
		// Not a repository, as far as one may see: perhaps an organisation that
		// holds some.
		lsErr := a.lsRepositories(cmd, h, r.Host, r.Repository)
		if _, ok := errors.AsType[*catalog.AccessError](lsErr); lsErr == nil || ok && !strings.Contains(r.Repository, "/") {
			return lsErr
		}
	}
	if err != nil {
		return err
	}
	return a.printer.Result(versions, func(w io.Writer) { a.printVersions(w, versions) })
}

func (a *app) lsRepositories(cmd *cobra.Command, h *hub.Hub, host, prefix string) error {
	repos, err := h.Repositories(cmd.Context(), host, prefix)
	if err != nil {
		return err
	}
	if prefix != "" && len(repos) == 0 {
		return errdef.ErrNotFound
	}
	return a.printer.Result(repos, func(w io.Writer) {
		for _, r := range repos {
			fmt.Fprintln(w, ui.Line(r.Repository))
		}
	})
}

// isHost tells a registry from a model's name, as docker does.
func isHost(s string) bool {
	host, port, found := strings.Cut(s, ":")
	if found && !strings.HasPrefix(s, "[") {
		_, err := strconv.ParseUint(port, 10, 16)
		return err == nil // else a tag
	}
	return strings.Contains(host, ".") || s == "localhost" || strings.HasPrefix(s, "[")
}

// versionSize is that of the files, with the number of variants that have them.
func versionSize(v hub.VersionInfo) string {
	switch n := len(v.Variants); {
	case n == 0:
		return ui.Bytes(v.Size)
	case v.Size == 0:
		return fmt.Sprintf("%d variants", n)
	default:
		return fmt.Sprintf("%s in %d variants", ui.Bytes(v.Size), n)
	}
}

func (a *app) printVersions(w io.Writer, versions []hub.VersionInfo) {
	list := a.markedTable(w, "TAG\tDIGEST\tSIZE\tCREATED")
	for _, v := range versions {
		list.row(v.Status, ui.Line(v.Tag), short(v.Digest), versionSize(v), ui.Line(v.Created))
	}
	list.flush()
}
