package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v4"

	"github.com/modelreg/modelreg/internal/ui"
)

// config is the user's configuration. What the file does not know is an error,
// so that a mistyped key does not go unnoticed.
type config struct {
	// Registry completes references without a host: "host" or "host/prefix".
	Registry string `yaml:"registry,omitempty"`

	// Cache is the directory of the local store.
	Cache string `yaml:"cache,omitempty"`

	// Aliases are short names: "corp" for what @corp/org/model begins with.
	Aliases map[string]string `yaml:"aliases,omitempty"`

	// Realms are token servers on other hosts that may see the credentials
	// of a registry.
	Realms map[string][]string `yaml:"realms,omitempty"`
}

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// loadConfig reads the file, then the environment.
func (a *app) loadConfig() (config, error) {
	c, err := a.readConfig()
	if err != nil {
		return c, err
	}
	if v := os.Getenv("MODELREG_REGISTRY"); v != "" {
		c.Registry = v
	}
	if v := os.Getenv("MODELREG_CACHE"); v != "" {
		c.Cache = v
	}
	return c, nil
}

func (a *app) configFile() (string, error) {
	if a.configPath != "" {
		return a.configPath, nil
	}
	if v := os.Getenv("MODELREG_CONFIG"); v != "" {
		return v, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("find configuration: %w", err)
	}
	return filepath.Join(dir, "modelreg", "config.yaml"), nil
}

func (a *app) readConfig() (config, error) {
	var c config
	file, err := a.configFile()
	if err != nil {
		return c, err
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) && a.configPath == "" {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return c, fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxConfig {
		return c, usagef("read configuration %s: over %d bytes", file, maxConfig)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return c, usagef("read configuration %s: %w", file, err)
	}
	return c, nil
}

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or change the configuration",
		Long: `Keys:
  registry      completes references without a host, e.g. ghcr.io/acme
  cache         directory of the local store
  aliases.NAME  what @NAME stands for at the start of a reference, e.g. harbor.example.com/ml
  realms.HOST   token servers, separated by commas, that may see the credentials of HOST

MODELREG_REGISTRY and MODELREG_CACHE go before the file.`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	settings := positions(words("registry", "cache", "aliases.", "realms."))
	cmd.AddCommand(
		&cobra.Command{
			Use: "path", Short: "Print where the configuration is", Args: exactArgs(0),
			RunE: func(*cobra.Command, []string) error { return a.configPathResult() },
		},
		&cobra.Command{
			Use: "list", Short: "Print all settings", Args: exactArgs(0),
			RunE: func(*cobra.Command, []string) error { return a.configList() },
		},
		&cobra.Command{
			Use: "get KEY", Short: "Print one setting", Args: exactArgs(1), ValidArgsFunction: settings,
			RunE: func(_ *cobra.Command, args []string) error { return a.configGet(args[0]) },
		},
		&cobra.Command{
			Use: "set KEY VALUE", Short: "Change one setting; an empty VALUE removes it", Args: exactArgs(2), ValidArgsFunction: settings,
			RunE: func(_ *cobra.Command, args []string) error { return a.configSet(args[0], args[1]) },
		},
	)
	return cmd
}

func (a *app) configPathResult() error {
	file, err := a.configFile()
	if err != nil {
		return err
	}
	return a.printer.Result(map[string]string{"path": file}, func(w io.Writer) { fmt.Fprintln(w, file) })
}

// settings flattens the configuration into keys and values.
func (c config) settings() map[string]string {
	m := map[string]string{}
	put := func(k, v string) {
		if v != "" {
			m[k] = v
		}
	}
	put("registry", c.Registry)
	put("cache", c.Cache)
	for name, v := range c.Aliases {
		put("aliases."+name, v)
	}
	for host, v := range c.Realms {
		put("realms."+host, strings.Join(v, ","))
	}
	return m
}

func (a *app) configList() error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	all := c.settings()
	return a.printer.Result(all, func(w io.Writer) {
		for _, k := range slices.Sorted(maps.Keys(all)) {
			fmt.Fprintf(w, "%s=%s\n", k, ui.Clean(all[k]))
		}
	})
}

func (a *app) configGet(key string) error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	v, ok := c.settings()[key]
	if !ok {
		return fmt.Errorf("get %s: %w", key, fs.ErrNotExist)
	}
	return a.printer.Result(map[string]string{key: v}, func(w io.Writer) { fmt.Fprintln(w, v) })
}

func (a *app) configSet(key, value string) error {
	return a.changeConfig(func(c *config) error { return c.set(key, value) })
}

// changeConfig changes the file, and nothing that only the environment says.
func (a *app) changeConfig(change func(c *config) error) error {
	c, err := a.readConfig()
	if err != nil {
		return err
	}
	if err := change(&c); err != nil {
		return err
	}
	file, err := a.configFile()
	if err != nil {
		return err
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return replaceFile(file, data)
}

// allow lets token servers see the credentials of a registry.
func (c *config) allow(registry string, realms []string) {
	if len(realms) == 0 {
		return
	}
	all := map[string][]string{}
	maps.Copy(all, c.Realms)
	for _, realm := range realms {
		if !slices.Contains(all[registry], realm) {
			all[registry] = append(slices.Clone(all[registry]), realm)
		}
	}
	c.Realms = all
}

func (c *config) set(key, value string) error {
	group, name, sub := strings.Cut(key, ".")
	switch {
	case key == "registry":
		c.Registry = value
	case key == "cache":
		c.Cache = value
	case group == "aliases" && sub && name != "":
		if c.Aliases == nil {
			c.Aliases = map[string]string{}
		}
		c.Aliases[name] = value
		if value == "" {
			delete(c.Aliases, name)
		}
	case group == "realms" && sub && name != "":
		if c.Realms == nil {
			c.Realms = map[string][]string{}
		}
		c.Realms[name] = strings.Split(value, ",")
		if value == "" {
			delete(c.Realms, name)
		}
	default:
		return usagef("set %s: no such setting: use registry, cache, aliases.NAME or realms.HOST", key)
	}
	return nil
}

// replaceFile writes a file whole or not at all.
func replaceFile(file string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".modelreg-*")
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	defer os.Remove(f.Name()) // gone already when renamed
	_, err = f.Write(data)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	return nil
}
