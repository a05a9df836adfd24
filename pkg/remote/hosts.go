package remote

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

const (
	maxHostsFile = 64 << 10 // bytes of a hosts.toml
	maxHosts     = 64       // hosts in it, and certificate files beside it
)

// A hostsFile is what containerd's hosts.toml says of one registry (containerd,
// docs/hosts.md).
type hostsFile struct {
	name    string   // the file, or the directory where there is none
	mirrors []Mirror // those that may be pulled from, in the order of the file
	server  Mirror   // asked last; no URL means the registry itself
}

// readHosts reads the settings for a registry below dir. It returns nil when
// there are none. Where hosts.toml is missing or damaged, the certificates
// beside it count; the error then is for a warning.
func readHosts(dir, host string) (*hostsFile, error) {
	found, err := hostsDir(dir, host)
	if found == "" || err != nil {
		return nil, err
	}
	name := filepath.Join(found, "hosts.toml")
	raw, err := readBounded(name)
	if len(raw) > 0 && err == nil {
		f, parsing := parseHosts(found, raw)
		if parsing == nil {
			f.name = name
			return &f, nil
		}
		err = fmt.Errorf("read %s: %w", name, parsing)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	f, listing := certificates(found)
	return f, errors.Join(err, listing)
}

// hostsDir returns the directory that is there for host, or nothing.
func hostsDir(dir, host string) (string, error) {
	names := []string{host, "_default"}
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		names = slices.Insert(names, 0, host[:i]+"_"+host[i+1:]+"_")
	}
	for _, name := range names {
		if strings.HasPrefix(name, ".") || !filepath.IsLocal(name) {
			continue // no host, but a way out of dir
		}
		_, err := os.Stat(filepath.Join(dir, name))
		if err == nil {
			return filepath.Join(dir, name), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHostsFile+1))
	if err == nil && len(raw) > maxHostsFile {
		err = fmt.Errorf("read %s: over %d bytes", name, maxHostsFile)
	}
	return raw, err
}

// A hostTable is what can be said of a host, in its own table or for the
// server at the top.
type hostTable struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`     // a name, or a list of them
	Client       any            `toml:"client"` // a name, or a list of names or of pairs
	SkipVerify   bool           `toml:"skip_verify"`
	Header       map[string]any `toml:"header"` // a value, or a list of them
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
	Proxy        string         `toml:"proxy"`
}

// parseHosts reads a hosts.toml that lies in dir. What it does not know is
// passed over, as containerd does.
func parseHosts(dir string, raw []byte) (hostsFile, error) {
	var doc struct {
		hostTable

		Server string               `toml:"server"`
		Hosts  map[string]hostTable `toml:"host"`
	}
	if err := toml.Unmarshal(raw, &doc); err != nil {
		return hostsFile{}, errors.New(cleanText(err.Error()))
	}
	names := hostOrder(raw)
	if len(names) > maxHosts {
		return hostsFile{}, fmt.Errorf("more than %d hosts", maxHosts)
	}
	var f hostsFile
	for _, name := range names {
		m, pull, err := doc.Hosts[name].mirror(name, dir)
		if err == nil && name == "" {
			err = errors.New("no URL")
		}
		if err != nil {
			return hostsFile{}, fmt.Errorf("host %q: %w", cleanText(name), err)
		}
		if pull {
			f.mirrors = append(f.mirrors, m)
		}
	}
	server, pull, err := doc.mirror(doc.Server, dir)
	if err != nil {
		return hostsFile{}, fmt.Errorf("server: %w", err)
	}
	if !pull {
		server.URL = "" // it may not be read, so the registry is
	}
	f.server = server
	return f, nil
}

// hostOrder returns the hosts that have a table [host."…"], in the order of the
// file, which decoding into a map loses.
func hostOrder(raw []byte) []string {
	var names []string
	var p unstable.Parser
	p.Reset(raw)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var key []string
		for it := e.Key(); it.Next(); {
			key = append(key, string(it.Node().Data))
		}
		if len(key) >= 2 && key[0] == "host" && !slices.Contains(names, key[1]) {
			names = append(names, key[1])
		}
		if len(names) > maxHosts {
			break
		}
	}
	return names
}

// mirror returns what the table says of the host at url, and whether that may
// be pulled from.
func (t hostTable) mirror(url, dir string) (m Mirror, pull bool, err error) {
	m = Mirror{URL: url, OverridePath: t.OverridePath, SkipVerify: t.SkipVerify, Proxy: t.Proxy}
	if url != "" && !strings.HasPrefix(url, "http") {
		m.URL = "https://" + url
	}
	if m.URL != "" {
		if _, err := parseMirror(m); err != nil {
			return m, false, err
		}
	}
	if pull, m.Resolve, err = t.can(); err != nil {
		return m, false, err
	}
	if m.CAFiles, err = texts("ca", t.CA); err != nil {
		return m, false, err
	}
	for i, name := range m.CAFiles {
		m.CAFiles[i] = absolute(dir, name)
	}
	if m.ClientCerts, err = t.clients(dir); err != nil {
		return m, false, err
	}
	if m.Header, err = t.headers(); err != nil {
		return m, false, err
	}
	if t.DialTimeout != "" {
		if m.DialTimeout, err = time.ParseDuration(t.DialTimeout); err != nil || m.DialTimeout < 0 {
			return m, false, fmt.Errorf("dial_timeout %q", cleanText(t.DialTimeout))
		}
	}
	if m.Proxy != "" {
		_, err = parseProxy(m.Proxy)
	}
	return m, pull, err
}

// can returns the capabilities that matter to reading. A table without any has
// all.
func (t hostTable) can() (pull, resolve bool, err error) {
	if len(t.Capabilities) == 0 {
		return true, true, nil
	}
	for _, c := range t.Capabilities {
		switch strings.ToLower(c) {
		case "pull":
			pull = true
		case "resolve":
			resolve = true
		case "push", "referrers":
		default:
			return false, false, fmt.Errorf("unknown capability %q", cleanText(c))
		}
	}
	return pull, resolve, nil
}

func (t hostTable) clients(dir string) ([][2]string, error) {
	list, ok := t.Client.([]any)
	if !ok && t.Client != nil {
		list = []any{t.Client}
	}
	var pairs [][2]string
	for _, entry := range list {
		names, err := texts("client", entry)
		if err != nil {
			return nil, err
		}
		_, single := entry.(string)
		if !single && len(names) != 2 {
			return nil, errors.New("client: a pair has two names")
		}
		pair := [2]string{absolute(dir, names[0])}
		if !single && names[1] != "" {
			pair[1] = absolute(dir, names[1])
		}
		pairs = append(pairs, pair)
	}
	return pairs, nil
}

func (t hostTable) headers() (http.Header, error) {
	h := make(http.Header)
	for name, value := range t.Header {
		values, err := texts("header", value)
		if err != nil {
			return nil, err
		}
		if token, rest := cutToken(name); token == "" || rest != "" {
			return nil, fmt.Errorf("header: %q is no name", cleanText(name))
		}
		for _, v := range values {
			if !validHeaderText(v) {
				return nil, fmt.Errorf("header %s: a control character", name)
			}
			h.Add(name, v)
		}
	}
	return h, nil
}

// texts reads a string, or a list of strings.
func texts(key string, v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var all []string
		for _, entry := range v {
			s, ok := entry.(string)
			if !ok {
				return nil, fmt.Errorf("%s: %T where a string should be", key, entry)
			}
			all = append(all, s)
		}
		return all, nil
	}
	return nil, fmt.Errorf("%s: %T where a string or a list should be", key, v)
}

func absolute(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}

// certificates reads a directory of docker's kind: authorities in *.crt, client
// certificates in *.cert, their keys in *.key.
func certificates(dir string) (*hostsFile, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	f := &hostsFile{name: dir}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		base, client := strings.CutSuffix(name, ".cert")
		switch {
		case e.IsDir() || len(f.server.CAFiles)+len(f.server.ClientCerts) >= maxHosts:
		case strings.HasSuffix(name, ".crt"):
			f.server.CAFiles = append(f.server.CAFiles, name)
		case client:
			pair := [2]string{name}
			if _, err := os.Stat(base + ".key"); err == nil {
				pair[1] = base + ".key"
			}
			f.server.ClientCerts = append(f.server.ClientCerts, pair)
		}
	}
	return f, nil
}
