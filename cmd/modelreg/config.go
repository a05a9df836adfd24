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
	"github.com/modelreg/modelreg/pkg/ref"
)

// config is the user's configuration. What the file does not know is an error,
// so that a mistyped key does not go unnoticed.
type config struct {
	names `yaml:",inline"`

	// Cache is the directory of the local store.
	Cache string `yaml:"cache,omitempty"`

	// Realms are token servers on other hosts that may see the credentials
	// of a registry.
	Realms map[string][]string `yaml:"realms,omitempty"`

	// Mirrors are URLs of hosts that have copies of what a registry has.
	Mirrors map[string][]string `yaml:"mirrors,omitempty"`

	// APIs list the repositories of registries: KIND or KIND=URL by their hosts.
	APIs map[string]string `yaml:"apis,omitempty"`

	// Scanners are commands that are asked about files, by name.
	Scanners map[string]string `yaml:"scanners,omitempty"`

	// HostsDir is a directory like containerd's certs.d, or "none".
	HostsDir string `yaml:"certs.d,omitempty"`

	// TrustedRoot is the file of the sigstore deployment that certificates
	// are believed of.
	TrustedRoot string `yaml:"trusted-root,omitempty"`

	// TrustRepository is the URL at which the sigstore deployment that is used
	// unless another is named publishes its trusted root.
	TrustRepository string `yaml:"trust-repository,omitempty"`

	// Policy is what every version is held against: a file, or oci://REF that
	// one of PolicyKeys, files too, or the identity has signed.
	Policy         string   `yaml:"policy,omitempty"`
	PolicyKeys     []string `yaml:"policy-keys,omitempty"`
	PolicyIdentity string   `yaml:"policy-identity,omitempty"`
	PolicyIssuer   string   `yaml:"policy-issuer,omitempty"`

	// Evaluations are repositories in which others keep what they have measured.
	Evaluations []string `yaml:"evaluations,omitempty"`

	// TrustRoots are files like TrustedRoot by the names that policies have
	// for them.
	TrustRoots map[string]string `yaml:"trust-roots,omitempty"`
}

// names are the settings that say what short references mean. They are all that
// a project's file may set: a file that came with a download must not say who
// sees credentials, or who is asked in a registry's place.
type names struct {
	Default struct {
		// Registry completes references without a host: "host" or
		// "host/prefix".
		Registry string `yaml:"registry,omitempty"`
	} `yaml:"default,omitempty"`

	Registries struct {
		// Alias are short names: "corp" for what @corp/org/model begins with.
		Alias map[string]string `yaml:"alias,omitempty"`
	} `yaml:"registries,omitempty"`
}

// projectFile is the configuration of the directory that modelreg runs in.
const projectFile = "modelreg.yaml"

// maxConfig bounds the configuration file, in bytes.
const maxConfig = 1 << 20

// loadConfig reads the user's file, then the project's, then the environment.
func (a *app) loadConfig() (config, error) {
	c, err := a.readConfig()
	if err != nil {
		return c, err
	}
	if err := decodeFile(projectFile, &c.names); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	if v := os.Getenv("MODELREG_REGISTRY"); v != "" {
		c.Default.Registry = v
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
	err = decodeFile(file, &c)
	if errors.Is(err, fs.ErrNotExist) && a.configPath == "" {
		err = nil
	}
	return c, err
}

// decodeFile reads a YAML file into what is known of it.
func decodeFile(file string, into any) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	if len(data) > maxConfig {
		return usagef("read configuration %s: over %d bytes", file, maxConfig)
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return usagef("read configuration %s: %w", file, err)
	}
	return nil
}

func newConfig(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show or change the configuration",
		Long: `Keys:
  default.registry       completes references without a host, e.g. ghcr.io/acme
  registries.alias.NAME  what @NAME stands for at the start of a reference, e.g. harbor.example.com/ml
  cache                  directory of the local store
  realms.HOST            token servers, separated by commas, that may see the credentials of HOST
  mirrors.HOST           URLs of mirrors of HOST, separated by commas; "_default" is for all other hosts
  apis.HOST              KIND or KIND=URL of the API that lists the repositories of HOST, see docs/search.md
  scanners.NAME          command of another scanner that "modelreg scan" asks too, see docs/scan.md
  certs.d                directory of hosts.toml files (default: containerd's); "none" reads none
  trusted-root           FILE of the sigstore deployment whose certificates count (verify --trusted-root)
  policy                 FILE or oci://REF: refuse versions that this policy does not allow
  policy-keys            public key files, separated by commas, of which one must have signed a policy at oci://REF
  policy-identity        or the identity that a certificate must have been issued to, by policy-issuer
  trust-repository       URL of the TUF repository that says whom to believe without trusted-root ("trust update")
  trust-roots.NAME       FILE like trusted-root, for what a policy calls NAME
  evaluations            repositories, separated by commas, in which others keep what they have measured

A file modelreg.yaml in the current directory may set the first two for a project. What
MODELREG_REGISTRY and MODELREG_CACHE say goes before both files. A policy in MODELREG_POLICY
or --policy is added to that of the configuration: all must allow a version. MODELREG_STATE names the
directory of what must outlive the cache (default: modelreg in XDG_STATE_HOME).`,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	settings := positions(words("default.registry", "registries.alias.", "cache", "realms.", mirrorKey, apiKey, scannerKey, "certs.d", "trusted-root", "trust-repository", "policy", "policy-keys", "policy-identity", "policy-issuer", trustRootKey, "evaluations"))
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
	put("default.registry", c.Default.Registry)
	put("cache", c.Cache)
	for name, v := range c.Registries.Alias {
		put(aliasKey+name, v)
	}
	for host, v := range c.Realms {
		put("realms."+host, strings.Join(v, ","))
	}
	for host, v := range c.Mirrors {
		put(mirrorKey+host, strings.Join(v, ","))
	}
	for host, v := range c.APIs {
		put(apiKey+host, v)
	}
	for name, v := range c.Scanners {
		put(scannerKey+name, v)
	}
	put("certs.d", c.HostsDir)
	put("trusted-root", c.TrustedRoot)
	put("trust-repository", c.TrustRepository)
	put("evaluations", strings.Join(c.Evaluations, ","))
	put("policy", c.Policy)
	put("policy-keys", strings.Join(c.PolicyKeys, ","))
	put("policy-identity", c.PolicyIdentity)
	put("policy-issuer", c.PolicyIssuer)
	for name, file := range c.TrustRoots {
		put(trustRootKey+name, file)
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

// scannerKey begins the keys of other scanners; a name follows.
const scannerKey = "scanners."

// trustRootKey begins the keys of trusted roots; a name follows.
const trustRootKey = "trust-roots."

// aliasKey begins the keys of aliases; a name follows.
const aliasKey = "registries.alias."

func (c *config) set(key, value string) error {
	alias, isAlias := strings.CutPrefix(key, aliasKey)
	realm, isRealm := strings.CutPrefix(key, "realms.")
	host, isMirror := strings.CutPrefix(key, mirrorKey)
	api, isAPI := strings.CutPrefix(key, apiKey)
	scanner, isScanner := strings.CutPrefix(key, scannerKey)
	root, isRoot := strings.CutPrefix(key, trustRootKey)
	switch {
	case key == "default.registry" || isAlias && alias != "":
		if _, err := ref.Parse(value + "/x"); value != "" && err != nil {
			return usagef("set %s to %q: use HOST or HOST/PREFIX: %w", key, value, err)
		}
		if !isAlias {
			c.Default.Registry = value
			return nil
		}
		c.Registries.Alias = with(c.Registries.Alias, alias, value, value != "")
	case key == "cache":
		c.Cache = value
	case isRealm && realm != "":
		c.Realms = with(c.Realms, realm, strings.Split(value, ","), value != "")
	case isMirror && host != "":
		c.Mirrors = with(c.Mirrors, host, strings.Split(value, ","), value != "")
		return c.checkMirrors()
	case isAPI && api != "":
		c.APIs = with(c.APIs, api, value, value != "")
		_, err := c.apis()
		return err
	case isScanner && scanner != "":
		c.Scanners = with(c.Scanners, scanner, value, value != "")
	case key == "certs.d":
		c.HostsDir = value
	case key == "trusted-root":
		c.TrustedRoot = value
	case key == "trust-repository":
		c.TrustRepository = value
	case key == "evaluations":
		c.Evaluations = nil
		if value != "" {
			c.Evaluations = strings.Split(value, ",")
		}
	case isRoot && root != "":
		c.TrustRoots = with(c.TrustRoots, root, value, value != "")
	case strings.HasPrefix(key, "policy"):
		return c.setPolicy(key, value)
	default:
		return usagef("set %s: no such setting: use default.registry, registries.alias.NAME, cache, realms.HOST, mirrors.HOST, apis.HOST, scanners.NAME, certs.d, trusted-root, trust-repository, trust-roots.NAME, policy, policy-keys, policy-identity, policy-issuer or evaluations", key)
	}
	return nil
}

// with returns m with a key set, or without it.
func with[V any](m map[string]V, key string, value V, keep bool) map[string]V {
	if m == nil {
		m = map[string]V{}
	}
	m[key] = value
	if !keep {
		delete(m, key)
	}
	return m
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
