package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"
	"testing"

	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/mount"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/registry"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// TestExitCodes holds every error that a package names against the code that
// scripts rely on.
func TestExitCodes(t *testing.T) {
	tests := map[string]struct {
		err  error
		code int
		kind string
	}{
		"anything":           {io.ErrUnexpectedEOF, exitFailure, "failure"},
		"usage":              {usagef("--x"), exitUsage, "usage"},
		"unknown command":    {&unknownCommandError{(&app{}).root(), "psuh"}, exitUsage, "usage"},
		"reference":          {ref.ErrSyntax, exitUsage, "usage"},
		"hub usage":          {hub.ErrUsage, exitUsage, "usage"},
		"not a model":        {artifact.ErrNotModel, exitUsage, "usage"},
		"target":             {artifact.ErrTarget, exitUsage, "usage"},
		"no mounts":          {fmt.Errorf("%w: %w", mount.ErrUnavailable, fs.ErrNotExist), exitLocal, "local"},
		"a dead mount":       {mount.ErrDead, exitLocal, "local"},
		"not ours":           {artifact.ErrNotOurs, exitUsage, "usage"},
		"empty":              {artifact.ErrEmpty, exitUsage, "usage"},
		"not found":          {errdef.ErrNotFound, exitNotFound, "not-found"},
		"no file":            {fs.ErrNotExist, exitNotFound, "not-found"},
		"conflict":           {hub.ErrConflict, exitConflict, "conflict"},
		"unauthorized":       {remote.ErrUnauthorized, exitAuth, "auth"},
		"forbidden":          {remote.ErrForbidden, exitForbidden, "forbidden"},
		"no variant":         {hub.ErrNoVariant, exitNoVariant, "no-variant"},
		"no signature":       {signing.ErrNoSignature, exitUnverified, "unverified"},
		"untrusted":          {signing.ErrUntrusted, exitUnverified, "unverified"},
		"lock drift":         {&lock.DriftError{}, exitLockDrift, "lock-drift"},
		"lock downgrade":     {lock.ErrDowngrade, exitPolicy, "policy"},
		"lock malformed":     {lock.ErrMalformed, exitUsage, "usage"},
		"lock name":          {lock.ErrName, exitUsage, "usage"},
		"lock changed":       {lock.ErrChanged, exitConflict, "conflict"},
		"rollback":           {signing.ErrRollback, exitPolicy, "policy"},
		"policy":             {policy.ErrRefused, exitPolicy, "policy"},
		"gone":               {&hub.StateError{Err: hub.ErrGone}, exitGone, "gone"},
		"deprecated":         {&hub.StateError{Err: hub.ErrDeprecated}, exitPolicy, "policy"},
		"an immutable tag":   {hub.ErrImmutable, exitConflict, "conflict"},
		"yanked":             {policy.ErrYanked, exitYanked, "yanked"},
		"broken policy":      {policy.ErrInvalid, exitUsage, "usage"},
		"too many":           {signing.ErrTooMany, exitUnverified, "unverified"},
		"protocol":           {remote.ErrProtocol, exitProtocol, "protocol"},
		"unreachable":        {remote.ErrUnreachable, exitNetwork, "network"},
		"deadline":           {context.DeadlineExceeded, exitNetwork, "network"},
		"network":            {&net.DNSError{Err: "no such host", Name: "x"}, exitNetwork, "network"},
		"wrong bytes":        {content.ErrMismatchedDigest, exitIntegrity, "integrity"},
		"wrong size":         {content.ErrInvalidDescriptorSize, exitIntegrity, "integrity"},
		"wrong blob":         {&transfer.DigestError{Name: "x"}, exitIntegrity, "integrity"},
		"damaged":            {store.ErrCorrupt, exitIntegrity, "integrity"},
		"unsafe":             {artifact.ErrUnsafe, exitUnsafe, "unsafe"},
		"malformed document": {mediatypes.ErrMalformed, exitUnsafe, "unsafe"},
		"malformed file":     {format.ErrMalformed, exitUnsafe, "unsafe"},
		"disk full":          {&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, exitLocal, "local"},
		"read-only":          {syscall.EROFS, exitLocal, "local"},
		"permission":         {fs.ErrPermission, exitLocal, "local"},
		"address in use":     {&net.OpError{Op: "listen", Err: syscall.EADDRINUSE}, exitLocal, "local"},
		"locked":             {store.ErrLocked, exitLocal, "local"},
		"registry in use":    {registry.ErrInUse, exitLocal, "local"},
		"busy":               {artifact.ErrBusy, exitLocal, "local"},
		"changed":            {artifact.ErrChanged, exitLocal, "local"},
		"cancelled":          {context.Canceled, exitInterrupted, "interrupted"},

		// An error that wraps several belongs to the most telling.
		"cancelled while unreachable":  {errors.Join(remote.ErrUnreachable, context.Canceled), exitInterrupted, "interrupted"},
		"cancelled at a question":      {fmt.Errorf("%w: %w", context.Canceled, usagef("no terminal")), exitInterrupted, "interrupted"},
		"cancelled while wrong":        {errors.Join(content.ErrMismatchedDigest, context.Canceled), exitInterrupted, "interrupted"},
		"damaged, so not there":        {fmt.Errorf("%w: %w", store.ErrCorrupt, errdef.ErrNotFound), exitIntegrity, "integrity"},
		"wrong bytes, seen as a fault": {errors.Join(remote.ErrUnreachable, content.ErrMismatchedDigest), exitIntegrity, "integrity"},
		"no signature, not found":      {fmt.Errorf("%w: %w", signing.ErrNoSignature, errdef.ErrNotFound), exitUnverified, "unverified"},
		"unsafe file of permission":    {errors.Join(artifact.ErrUnsafe, fs.ErrPermission), exitUnsafe, "unsafe"},
		"forbidden by protocol":        {errors.Join(remote.ErrProtocol, remote.ErrForbidden), exitForbidden, "forbidden"},
		"timed out, not answered":      {errors.Join(context.DeadlineExceeded, &net.DNSError{}), exitNetwork, "network"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for depth, err := range []error{tt.err, fmt.Errorf("pull x: %w", tt.err), errors.Join(fmt.Errorf("a: %w", fmt.Errorf("b: %w", tt.err)))} {
				got := explain(err)
				if got.Code != tt.code || got.Kind != tt.kind {
					t.Errorf("wrapped %d times: %d %s, want %d %s", depth, got.Code, got.Kind, tt.code, tt.kind)
				}
			}
		})
	}
}

// What is not there is told with what to run next, filled in.
func TestHintsOfWhatIsMissing(t *testing.T) {
	tests := map[string]struct {
		missing hub.MissingError
		want    string
	}{
		"version":     {hub.MissingError{Repository: "r.io/m"}, `"modelreg ls r.io/m"`},
		"no default":  {hub.MissingError{What: hub.MissingDefault, Repository: "r.io/m", Tags: []string{"dev", "main"}}, "it has dev, main: name one, as in r.io/m:dev;"},
		"no default,": {hub.MissingError{What: hub.MissingDefault, Repository: "r.io/m", Tags: []string{"dev"}}, `it has the tag dev: name one, as in r.io/m:dev; "modelreg repo set r.io/m --default-branch dev"`},
		"alias":       {hub.MissingError{What: hub.MissingAlias, Repository: "r.io/m", Tag: "prdo", Tags: []string{"prod", "staging"}}, "is it prod or staging? --create makes prdo"},
		"log":         {hub.MissingError{What: hub.MissingLog, Repository: "r.io/m", Tag: "main"}, `"modelreg repo protect r.io/m main"`},
		"past":        {hub.MissingError{What: hub.MissingPast, Reference: "r.io/m:prod"}, `"modelreg tag log r.io/m:prod"`},
		"history":     {hub.MissingError{What: hub.MissingHistory, Reference: "r.io/m:main"}, `"modelreg log r.io/m:main"`},
		"bom":         {hub.MissingError{What: hub.MissingBOM, Reference: "r.io/m:v1"}, `"modelreg bom attach r.io/m:v1"`},
		"statement":   {hub.MissingError{What: hub.MissingStatement, Reference: "r.io/m:v1"}, `"modelreg eval list r.io/m:v1"`},
		"file":        {hub.MissingError{What: hub.MissingFile, Reference: "r.io/m:v1"}, `"modelreg ls r.io/m:v1"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.missing.Err = errdef.ErrNotFound
			got := explain(fmt.Errorf("do it: %w", &tt.missing))
			if got.Code != exitNotFound || !strings.Contains(got.Hint, tt.want) {
				t.Errorf("exits with %d, hint %q, want %q in it", got.Code, got.Hint, tt.want)
			}
		})
	}
	// Of GitHub's API, what the environment has is named where it is taken.
	for _, token := range []bool{true, false} {
		got := explain(&catalog.AccessError{Kind: catalog.GitHub, Host: "r.io", GitHubToken: token, Err: remote.ErrUnauthorized})
		if strings.Contains(got.Hint, "or set GITHUB_TOKEN to one;") != token || !strings.Contains(got.Hint, `"modelreg login r.io"`) {
			t.Errorf("hint = %q", got.Hint)
		}
	}
	// What tells more has its own.
	err := fmt.Errorf("%w: %w", &hub.MissingError{Err: errdef.ErrNotFound}, lock.ErrNoFile)
	if got := explain(err); !strings.Contains(got.Hint, "lock add") {
		t.Errorf("hint = %q", got.Hint)
	}
}

// A code belongs to one kind, and "help exit-codes" explains each once.
func TestExitCodesAreExplained(t *testing.T) {
	help := newExitCodes().Long
	kinds := map[int]string{}
	for _, c := range classes {
		if before, ok := kinds[c.code]; ok && before != c.kind {
			t.Errorf("code %d is %s and %s", c.code, before, c.kind)
		}
		kinds[c.code] = c.kind
		if n := strings.Count(help, fmt.Sprintf("\n  %-3d  %s", c.code, c.kind)); n != 1 {
			t.Errorf("help explains %d %s %d times", c.code, c.kind, n)
		}
	}
}

func TestUsageErrorsInJSON(t *testing.T) {
	u := newUser(t)
	tests := map[string][]string{
		"arguments":       {"push", "--format", "json"},
		"flag before":     {"pull", "--nonsense", "--format=json"},
		"unknown command": {"nonsense", "--format", "json"},
	}
	for name, args := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, err := u.run(t.Context(), args...)
			if code != exitUsage || out != "" || !strings.HasPrefix(err, `{"error":{"code":2,"kind":"usage"`) {
				t.Errorf("exits with %d, stdout %q, stderr %q", code, out, err)
			}
		})
	}
	if _, _, err := u.run(t.Context(), "push", "--", "--format", "json", "x"); strings.HasPrefix(err, "{") {
		t.Errorf("after -- there are no flags, and yet: %s", err)
	}
}

func TestDidYouMean(t *testing.T) {
	u := newUser(t)
	tests := map[string]struct {
		args []string
		hint string // "" for no failure
	}{
		"misspelt":         {[]string{"psuh", "a", "b"}, `did you mean "modelreg push"?`},
		"with flags":       {[]string{"psuh", "a", "b", "--sign"}, `did you mean "modelreg push"?`},
		"several":          {[]string{"logu"}, `did you mean "modelreg lock", "modelreg log", "modelreg login" or "modelreg logout"?`},
		"nothing alike":    {[]string{"frobnicate"}, `see "modelreg --help"`},
		"subcommand":       {[]string{"cache", "prun"}, `did you mean "modelreg cache prune"?`},
		"subcommand, flag": {[]string{"cache", "prun", "--all"}, `did you mean "modelreg cache prune"?`},
		"help":             {[]string{"help", "psuh"}, `did you mean "modelreg push"?`},
		"help, deeper":     {[]string{"help", "cache", "prun"}, `did you mean "modelreg cache prune"?`},
		"help, right":      {[]string{"help", "cache", "prune"}, ""},
		"flag":             {[]string{"--nonsense"}, `see "modelreg --help"`},
		"none":             {nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			code, out, err := u.run(t.Context(), tt.args...)
			if tt.hint == "" {
				if code != exitOK || err != "" {
					t.Errorf("exits with %d: %s", code, err)
				}
				return
			}
			if code != exitUsage || out != "" || !strings.HasSuffix(err, "hint: "+tt.hint+"\n") {
				t.Errorf("exits with %d, stdout %q, stderr %q; want hint %q", code, out, err, tt.hint)
			}
		})
	}
}

// What one needs to mend a broken configuration works with it.
func TestBrokenConfiguration(t *testing.T) {
	u := newUser(t)
	u.file("config.yaml", "regsitry: x\n")
	for _, args := range [][]string{{"help"}, {"version"}, {"config", "path"}, {"completion", "bash"}, {"help", "exit-codes"}, {}} {
		if code, _, err := u.run(t.Context(), args...); code != exitOK {
			t.Errorf("%v exits with %d: %s", args, code, err)
		}
	}
	if code, _, err := u.run(t.Context(), "resolve", "127.0.0.1:1/a/b"); code != exitUsage || !strings.Contains(err, "regsitry") {
		t.Errorf("resolve exits with %d: %s", code, err)
	}
}

func TestSpoken(t *testing.T) {
	for text, want := range map[string]string{
		"resolve h/m:_b.feature__x@sha256:1: 404": "resolve h/m:feature/x@sha256:1: 404",
		"_b.a__b and \"_b.c__d\".":                "a/b and \"c/d\".",
		"é_b.a__b":                                "éa/b",
		"GET https://h/v2/m/manifests/_b.a__b":    "GET https://h/v2/m/manifests/_b.a__b",
		"x_b.a__b h/m:_b. h/m:_b.plain":           "x_b.a__b h/m:_b. h/m:_b.plain",
	} {
		if got := spoken(text); got != want {
			t.Errorf("spoken(%q) = %q, want %q", text, got, want)
		}
	}
}
