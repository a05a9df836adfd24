package main

import (
	"fmt"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/catalog"
)

// apiKey begins the keys of APIs; a host follows.
const apiKey = "apis."

// apis reads what lists the repositories of registries.
func (c config) apis() (map[string]catalog.API, error) {
	all := make(map[string]catalog.API, len(c.APIs))
	for host, s := range c.APIs {
		api, err := catalog.ParseAPI(s)
		if err != nil {
			return nil, fmt.Errorf("use %s%s: %w", apiKey, host, err)
		}
		all[host] = api
	}
	return all, nil
}

// catalogHint tells what a registry's API wants before it lists repositories.
func catalogHint(e *catalog.AccessError) string {
	host := ui.Line(e.Host)
	login := fmt.Sprintf("\"modelreg login %s\"", host)
	how := ""
	switch e.Kind {
	case catalog.GitHub:
		how = login + " with a personal access token (classic) that has read:packages"
		if e.GitHubToken {
			how += ", or set GITHUB_TOKEN to one"
		}
	case catalog.GitLab:
		how = login + " with a token that has read_api and read_registry, of somebody who is at least a reporter there"
	case catalog.Quay:
		how = fmt.Sprintf("\"modelreg login %s -u '$oauthtoken'\" with an OAuth token that has repo:read", host)
	default:
		how = login + " as somebody who may see the repositories there"
	}
	if e.Token {
		how = "the one that was sent was not enough: " + how
	}
	return how + "; --repositories names repositories without a list"
}
