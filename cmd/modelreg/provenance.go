package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/provenance"
)

// provenanceFlags say what push and import attest of how a version was made.
type provenanceFlags struct {
	wanted bool
}

func (f *provenanceFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.wanted, "provenance", false, "attest, as the signer of --sign, how the version was made: builder, run, commit, base models, datasets")
}

// provenance reads the flags and the environment. dir is what will be pushed,
// empty if that is no directory.
func (a *app) provenance(ctx context.Context, f provenanceFlags, dir string, parameters map[string]string) (*hub.Provenance, error) {
	if !f.wanted {
		return nil, nil
	}
	p := &hub.Provenance{Environment: provenance.Detect(os.Getenv), Version: version(), Parameters: parameters}
	if dir != "" {
		if commit, clean, ok := a.workTree(ctx, dir); ok {
			p.Environment = p.Environment.WorkTree(commit, clean)
		}
	}
	return p, nil
}

// signWith adds --sign, which takes what to sign with or leaves that to the
// flags of every command that signs.
func (f *pushFlags) signWith(fl *pflag.FlagSet) {
	fl.StringVar(&f.with, "sign", "", "sign the version with --key or --keyless; or `WITH` the word keyless or a key, after a =")
	fl.Lookup("sign").NoOptDefVal = "true"
}

// signFlag reads --sign.
func (f *pushFlags) signFlag() error {
	switch f.with {
	case "", "false":
		f.sign = false
		return nil
	case "true":
	case "keyless":
		f.signer.keyless = true
	default:
		if f.signer.key != "" {
			return usagef("--sign=%s and --key %s: give one key", f.with, f.signer.key)
		}
		f.signer.key = f.with
	}
	f.sign = true
	return nil
}

// parameters are those flags of push that change what is made of the files.
func (f *pushFlags) parameters() map[string]string {
	p := map[string]string{}
	if f.layout != "" && f.layout != "auto" {
		p["layout"] = f.layout
	}
	if f.Reshard != 0 {
		p["reshard"] = strconv.FormatInt(int64(f.Reshard), 10)
	}
	if f.created != "" {
		p["created"] = f.created
	}
	return p
}

// workTree asks git for the commit that dir is a work tree of, and whether all
// files in dir are that commit's: changed, new and ignored ones are not. It is
// not ok when dir is no work tree or has no commit yet. What keeps git from
// telling is said.
func (a *app) workTree(ctx context.Context, dir string) (commit string, clean, ok bool) {
	if inside, err := git(ctx, dir, "rev-parse", "--is-inside-work-tree"); err != nil || strings.TrimSpace(string(inside)) != "true" {
		if err != nil && !strings.Contains(err.Error(), "not a git repository") {
			a.printer.Warn("the provenance does not say which commit %s is of: %v", dir, err)
		}
		return "", false, false
	}
	head, err := git(ctx, dir, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
	if err != nil {
		return "", false, false // no commit yet
	}
	commit = strings.TrimSpace(string(head))
	changes, err := git(ctx, dir, "status", "--porcelain", "--ignored", "--untracked-files=normal", "--", ".")
	if err != nil {
		a.printer.Warn("the provenance does not say which commit %s is of: %v", dir, err)
		return "", false, false
	}
	return commit, len(bytes.TrimSpace(changes)) == 0, true
}

// git runs git in a directory, of which alone it is to speak: a hook of another
// repository sets variables that mean that one. It is not to run what the
// directory's own configuration names as a monitor of the file system, nor to
// write there.
func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir, "-c", "core.fsmonitor=false"}, args...)...)
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(v, "=")
		if !slices.Contains([]string{"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"}, name) {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_OPTIONAL_LOCKS=0", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil, fmt.Errorf("git %s: %w: %s", args[0], err, bytes.TrimSpace(exit.Stderr))
	}
	return out, err
}
