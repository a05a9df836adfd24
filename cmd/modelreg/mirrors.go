package main

import (
	"fmt"
	"io"
	"net/url"
	"runtime"
	"strings"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/remote"
)

// mirrorKey begins the keys of mirror lists; a host follows.
const mirrorKey = "mirrors."

// mirrors returns the mirrors of the configuration. A path that begins with
// the API's own "/v2/" is meant as it stands: so a proxy of several registries
// names one of them.
func (c config) mirrors() map[string][]remote.Mirror {
	all := make(map[string][]remote.Mirror, len(c.Mirrors))
	for host, urls := range c.Mirrors {
		for _, s := range urls {
			m := remote.Mirror{URL: strings.TrimSpace(s)}
			if u, err := url.Parse(m.URL); err == nil {
				m.OverridePath = strings.HasPrefix(u.Path, "/v2/")
			}
			all[host] = append(all[host], m)
		}
	}
	return all
}

func (c config) checkMirrors() error {
	if _, err := remote.New(remote.Options{Mirrors: c.mirrors()}); err != nil {
		return usagef("%w", err)
	}
	return nil
}

// hostsDir returns where hosts.toml files are looked for: where containerd
// does, if nobody says otherwise.
func (c config) hostsDir() string {
	switch {
	case c.HostsDir == "none" || c.HostsDir == "" && runtime.GOOS == "windows":
		return ""
	case c.HostsDir == "":
		return "/etc/containerd/certs.d"
	}
	return c.HostsDir
}

// printMirrors shows what is asked before a registry, and whether it answers.
func printMirrors(w io.Writer, mirrors []remote.MirrorStatus) {
	t := ui.Table(w)
	for _, m := range mirrors {
		answer := "answers"
		if m.Problem != "" {
			answer = ui.Clean(m.Problem)
		}
		what := "content"
		if m.Tags {
			what = "content and tags"
		}
		fmt.Fprintf(t, "mirror %s\t%s\t%s (%s)\n", ui.Clean(m.URL), answer, what, ui.Clean(m.From))
	}
	_ = t.Flush()
}
