package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/card"
	"github.com/modelreg/modelreg/pkg/hub"
)

func newInit(a *app) *cobra.Command {
	var force bool
	var registry string
	cmd := &cobra.Command{
		Use:   "init [DIR]",
		Short: "Begin a model's card from what its files say",
		Long: `Write README.md, a card whose front matter and table have what the files say (architecture,
parameters, formats, library, task, licence, base model of an adapter, tokenizer, context
length) and whose sections ask for what only a person knows; and .modelregignore, with
what training leaves behind. DIR is the current directory unless given. Files that are
there stay as they are, unless --force is given; nothing is guessed.

With --registry it writes modelreg.yaml too, so that ORG/MODEL is looked up there by who
works in the directory.`,
		Example: `  modelreg init ./model
  modelreg init --registry ghcr.io/acme`,
		Args:              rangeArgs(0, 1),
		ValidArgsFunction: positions(directories),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			if len(args) == 1 {
				dir = args[0]
			}
			return a.initDir(cmd.Context(), dir, registry, force)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "write over files that are there")
	cmd.Flags().StringVar(&registry, "registry", "", "write modelreg.yaml with `HOST[/ORG]` as the default registry")
	return cmd
}

// initResult is the result of "init".
type initResult struct {
	Directory string   `json:"directory"`
	Written   []string `json:"written"`
	Kept      []string `json:"kept"` // were there, and stay as they are
	Score     int      `json:"score"`
}

const ignoreText = `# What push leaves out, in the syntax of .gitignore. Caches, .git and secrets are left out anyway.
checkpoint-*/
optimizer.pt
scheduler.pt
rng_state*.pth
runs/
wandb/
mlruns/
*.log
`

func (a *app) initDir(ctx context.Context, dir, registry string, force bool) error {
	facts, err := hub.DescribeDir(ctx, dir)
	if err != nil {
		return err
	}
	readme, err := draftOf(dir, facts).Readme()
	if err != nil {
		return fmt.Errorf("write card: %w", err)
	}
	files := []struct {
		name string
		raw  []byte
	}{{readmeName, readme}, {artifact.IgnoreFile, []byte(ignoreText)}}
	if registry != "" {
		if _, err := a.parse(registry + "/model"); err != nil {
			return usagef("--registry %s: %w", registry, err)
		}
		files = append(files, struct {
			name string
			raw  []byte
		}{projectFile, fmt.Appendf(nil, "default:\n  registry: %s\n", registry)})
	}
	res := initResult{Directory: dir, Written: []string{}, Kept: []string{}}
	for _, f := range files {
		made, err := writeMissing(filepath.Join(dir, f.name), f.raw, force)
		if err != nil {
			return err
		}
		if made {
			res.Written = append(res.Written, f.name)
		} else {
			res.Kept = append(res.Kept, f.name)
		}
	}
	if err := res.judge(dir); err != nil {
		return err
	}
	if len(res.Kept) > 0 {
		a.printer.Note("kept what was there: %s (--force writes over it)", strings.Join(res.Kept, ", "))
	}
	a.printer.Note("the card is complete to %d of 100; \"modelreg card lint %s\" tells what is missing", res.Score, pathOf(dir))
	return a.printer.Result(res, func(w io.Writer) {
		for _, name := range res.Written {
			fmt.Fprintln(w, filepath.Join(dir, name))
		}
	})
}

// judge scores the card that is there now.
func (r *initResult) judge(dir string) error {
	raw, err := readCardFile(filepath.Join(dir, readmeName))
	if err != nil {
		return err
	}
	c, err := card.Parse(raw)
	if err != nil {
		return err
	}
	report, err := c.Lint(card.LintOptions{})
	if err != nil {
		return fmt.Errorf("look at card: %w", err)
	}
	r.Score = report.Score
	return nil
}

// writeMissing writes a file that is not there, or any with force.
func writeMissing(name string, raw []byte, force bool) (bool, error) {
	if force {
		return true, writeCardFile(name, raw)
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	_, err = f.Write(raw)
	return true, errors.Join(err, f.Close())
}

// hubID is the name of a model on the Hugging Face Hub.
var hubID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$`)

// draftOf joins what the files say.
func draftOf(dir string, facts *hub.DirFacts) card.Draft {
	m := facts.Model
	d := card.Draft{
		Name: nameOf(dir), License: licenseIn(dir, facts.Files), Library: libraryIn(dir, m.Library), Task: m.Task, Languages: m.Languages,
	}
	// A path on somebody's machine is the name of nothing.
	if hubID.MatchString(m.BaseModel) && !strings.HasPrefix(m.BaseModel, ".") {
		d.BaseModels, d.BaseRelation = []string{m.BaseModel}, "adapter"
	}
	add := func(name, value string) {
		if value != "" && value != "0" {
			d.Facts = append(d.Facts, [2]string{name, value})
		}
	}
	add("Architecture", m.Architecture)
	if m.Parameters > 0 {
		add("Parameters", fmt.Sprintf("%s (%d)", ui.Count(m.Parameters), m.Parameters))
	}
	add("Data types", dtypes(m.DTypes))
	add("Formats", strings.Join(m.Formats, ", "))
	add("Quantization", m.Quantization)
	add("Context length", strconv.FormatInt(m.ContextLength, 10))
	add("Tokenizer", tokenizerIn(facts.Files))
	if m.ChatTemplate {
		add("Chat template", "yes")
	}
	if m.CustomCode {
		add("Custom code", "yes: loading it runs Python from this directory")
	}
	return d
}

// nameOf is what a directory is called.
func nameOf(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return dir
	}
	return filepath.Base(abs)
}

// libraryIn is the library that a model was made with, as far as its files say.
// A config.json with a model_type is enough to call it a model of transformers, but
// others write such files too; transformers leaves its version in them.
func libraryIn(dir, library string) string {
	if library != "transformers" {
		return library
	}
	raw, err := readSmall(filepath.Join(dir, "config.json"), maxConfigBytes)
	var config struct {
		Version string `json:"transformers_version"`
	}
	if err != nil || json.Unmarshal(raw, &config) != nil || config.Version == "" {
		return ""
	}
	return library
}

// tokenizerIn names the files that the tokenizer is in.
func tokenizerIn(files []string) string {
	var found []string
	for _, name := range []string{"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json"} {
		if slices.Contains(files, name) {
			found = append(found, name)
		}
	}
	return strings.Join(found, ", ")
}

// licenseIn tells which licence lies among the files.
func licenseIn(dir string, files []string) string {
	for _, name := range []string{"LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING"} {
		if !slices.Contains(files, name) {
			continue
		}
		raw, err := readSmall(filepath.Join(dir, name), maxLicenseBytes)
		if id := card.LicenseOfText(string(raw)); err == nil && id != "" {
			return id
		}
	}
	return ""
}

// Bounds of files that are looked into.
const (
	maxLicenseBytes = 1 << 20
	maxConfigBytes  = 1 << 20
)
