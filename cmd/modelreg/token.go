package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// maxTokenFile bounds what holds an OIDC token, in bytes.
const maxTokenFile = 64 << 10

// errNoToken means that there is nobody to sign as.
var errNoToken = errors.New("no OIDC token")

// tokenSource finds out where the OIDC token to sign with comes from: the flag,
// which is one or names a file, SIGSTORE_ID_TOKEN, as GitLab jobs set it, or GitHub
// Actions. That there is none is said at once, and not after an hour's upload; the
// token itself is taken when it is needed, since it is good for minutes.
func tokenSource(flag string) (func(context.Context) (string, error), error) {
	if flag != "" {
		_, err := readToken(flag)
		return func(context.Context) (string, error) { return readToken(flag) }, err
	}
	if token := strings.TrimSpace(os.Getenv("SIGSTORE_ID_TOKEN")); token != "" {
		if !isToken(token) {
			return nil, usagef("SIGSTORE_ID_TOKEN holds no OIDC token")
		}
		return func(context.Context) (string, error) { return token, nil }, nil
	}
	from, with := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if from == "" || with == "" {
		return nil, usageError{errNoToken, "give --identity-token TOKEN or FILE, or set SIGSTORE_ID_TOKEN; GitHub Actions jobs need \"permissions: id-token: write\", " +
			"GitLab jobs \"id_tokens: SIGSTORE_ID_TOKEN: aud: sigstore\". No browser is opened: a person can get a token from any OIDC client, or sign with --key"}
	}
	return func(ctx context.Context) (string, error) { return githubToken(ctx, from, with) }, nil
}

// readToken takes a token, or reads it from the file of that name. What may be a
// token is in no error: logs of jobs keep them.
func readToken(given string) (string, error) {
	if token := strings.TrimSpace(given); isToken(token) {
		return token, nil
	}
	secret := strings.HasPrefix(strings.TrimSpace(given), "ey")
	raw, err := readSmall(given, maxTokenFile)
	if err != nil {
		if secret {
			return "", usagef("--identity-token is neither an OIDC token nor a file that can be read (it is not shown: it begins like a token)")
		}
		return "", fmt.Errorf("read token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if !isToken(token) {
		if secret {
			given = "the file of --identity-token"
		}
		return "", usagef("%s holds no OIDC token", given)
	}
	return token, nil
}

// isToken tells a token, which is a JWT, from the name of a file.
func isToken(s string) bool {
	return strings.HasPrefix(s, "ey") && strings.Count(s, ".") == 2 && !strings.ContainsAny(s, "/\\ \n")
}

// githubToken asks GitHub Actions for a token that is meant for sigstore.
func githubToken(ctx context.Context, from, with string) (string, error) {
	u, err := url.Parse(from)
	if err != nil {
		return "", fmt.Errorf("ask GitHub for a token: ACTIONS_ID_TOKEN_REQUEST_URL is no URL: %w", err)
	}
	q := u.Query()
	q.Set("audience", "sigstore")
	u.RawQuery = q.Encode()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", fmt.Errorf("ask GitHub for a token: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+with)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask GitHub for a token: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxTokenFile))
	if err != nil {
		return "", fmt.Errorf("ask GitHub for a token: %w", err)
	}
	var answer struct{ Value string }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(raw, &answer) != nil || !isToken(answer.Value) {
		return "", fmt.Errorf("ask GitHub for a token: %w in the answer (%s)", errNoToken, resp.Status)
	}
	return answer.Value, nil
}
