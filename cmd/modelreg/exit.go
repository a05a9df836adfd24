package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/catalog"
	"github.com/modelreg/modelreg/pkg/eval"
	"github.com/modelreg/modelreg/pkg/format"
	"github.com/modelreg/modelreg/pkg/glob"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/index"
	ocilayout "github.com/modelreg/modelreg/pkg/layout"
	"github.com/modelreg/modelreg/pkg/lineage"
	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/mount"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/registry"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
	"github.com/modelreg/modelreg/pkg/source"
	"github.com/modelreg/modelreg/pkg/store"
	"github.com/modelreg/modelreg/pkg/transfer"
)

// Exit codes. A code never changes its meaning, and one that a script does not
// know must be taken as failure.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitAuth        = 5
	exitForbidden   = 6
	exitNoVariant   = 7
	exitUnverified  = 8
	exitLockDrift   = 9
	exitPolicy      = 10
	exitYanked      = 11
	exitGone        = 12
	exitProtocol    = 13
	exitNetwork     = 14
	exitIntegrity   = 15
	exitUnsafe      = 16
	exitLocal       = 17
	exitInterrupted = 130
)

// A class is a kind of failure, and how it ends the program.
type class struct {
	code    int
	kind    string
	meaning string // for "help exit-codes"; empty when another class has the code
	hint    string // what to do next, when nothing better is known
	causes  []error
}

// classes lists the kinds of failure, the most telling first: an error belongs
// to the first class that one of its causes names.
var classes = []class{
	{
		exitInterrupted, "interrupted", "interrupted; the same command goes on with what is there",
		"run the same command again: it goes on with what is there already",
		[]error{context.Canceled},
	},
	{
		exitLockDrift, "lock-drift", "something is not what modelreg.lock says it is",
		"\"modelreg lock check\" shows where the tags lead now; if the change is meant, \"modelreg lock update\" locks it",
		[]error{lock.ErrDrift},
	},
	{
		exitUnverified, "unverified", "verification failed: no signature, an untrusted one, or one for something else",
		"check the key, and that this very version was signed with it; nothing was fetched or written",
		[]error{signing.ErrNoSignature, signing.ErrNoAttestation, signing.ErrUntrusted, signing.ErrTooMany, signing.ErrTrustRepository, hub.ErrBundleTrust, hub.ErrBrokenLog},
	},
	{
		exitPolicy, "policy", "a policy says no, or a tag went back to an older version",
		"ask whoever moves this tag; if it went back on purpose, say --allow-downgrade once, or name the digest",
		[]error{signing.ErrRollback, lock.ErrDowngrade},
	},
	{
		exitYanked, "yanked", "the version was withdrawn by those who publish it",
		"take another version; one that is named by its digest is pulled all the same, unless the policy says \"yanked: refuse\"",
		[]error{policy.ErrYanked},
	},
	{
		exitGone, "gone", "the version was removed, and says why",
		"take another version: this one is not coming back",
		[]error{hub.ErrGone},
	},
	{
		exitGone, "gone", "",
		"its publishers do not use this name any more: ask them what took its place; \"modelreg restore REPOSITORY\" takes that back",
		[]error{hub.ErrRetired},
	},
	{
		exitPolicy, "policy", "",
		"take another version, or use this one all the same without --strict",
		[]error{hub.ErrDeprecated},
	},
	{
		exitPolicy, "policy", "",
		"\"modelreg policy explain POLICY REF\" shows every rule, what was found and what would satisfy it; nothing was fetched or written",
		[]error{policy.ErrRefused},
	},
	{exitPolicy, "policy", "", "say what it is made of by digest, as in --base HOST/ORG/MODEL:TAG, or leave out --strict", []error{hub.ErrStrict}},
	{
		exitIntegrity, "integrity", "wrong bytes: a digest or size does not match, or the store is damaged",
		"the bytes do not match their digest and were thrown away; ask whoever runs the registry, or see \"modelreg cache verify\" for the local store",
		[]error{content.ErrMismatchedDigest, content.ErrInvalidDescriptorSize, store.ErrCorrupt},
	},
	{
		exitUnsafe, "unsafe", "unsafe content refused: a path, link, limit or malformed document",
		"",
		[]error{artifact.ErrUnsafe, mediatypes.ErrMalformed, ocilayout.ErrMalformed, format.ErrMalformed, eval.ErrMalformed, index.ErrSnapshot, errdef.ErrSizeExceedsLimit, errdef.ErrInvalidMediaType},
	},
	{
		exitUsage, "usage", "the command line, or a reference in it, cannot be used",
		"choose another directory, or replace what is there with --force",
		[]error{artifact.ErrNotOurs},
	},
	{exitUsage, "usage", "", "", []error{ref.ErrSyntax, hub.ErrUsage, source.ErrName, catalog.ErrUsage, lock.ErrMalformed, lock.ErrName, artifact.ErrNotModel, artifact.ErrTarget, artifact.ErrEmpty, lineage.ErrCommit, glob.ErrPattern, ocilayout.ErrTaken}},
	{exitConflict, "conflict", "what was to be changed has changed underneath", "look at both versions, then decide which tag should stay", []error{hub.ErrConflict, lock.ErrChanged, artifact.ErrEdited}},
	{exitUsage, "usage", "", "\"modelreg policy validate FILE\" checks a policy", []error{policy.ErrInvalid}},
	{exitNoVariant, "no-variant", "no variant is what was asked for, or fits", "\"modelreg inspect REF\" lists the variants of a version; REF#NAME takes one whatever this machine has, and --fit SIZE is for another machine", []error{hub.ErrNoVariant}},
	{exitLocal, "local", "", "on Linux it takes /dev/fuse (in a container: --device /dev/fuse --cap-add SYS_ADMIN) and, unless you are root, fusermount3 of the package fuse3; on macOS macFUSE; \"modelreg pull\" needs none of them", []error{mount.ErrUnavailable}},
	{exitLocal, "local", "", "\"umount DIR\", or \"fusermount3 -u DIR\" for those who are not root, removes what it left; then run this again", []error{mount.ErrDead}},
	{exitAuth, "auth", "authentication required, or refused", "log in with \"modelreg login HOST\"", []error{remote.ErrUnauthorized}},
	{exitForbidden, "forbidden", "", "look at what the service says; tokens are good for minutes, and a service may know another issuer or want another audience", []error{signing.ErrRefused}},
	{exitForbidden, "forbidden", "the registry refuses this user", "ask the owner of the repository for access", []error{remote.ErrForbidden}},
	{exitNotFound, "not-found", "not found: repository, tag, digest or file", "\"modelreg ls HOST/ORG/MODEL\" lists versions; without a login a private repository may look absent", []error{errdef.ErrNotFound}},
	{exitNotFound, "not-found", "", "\"modelreg index build HOST\" makes one; --index names one that is elsewhere", []error{errNoIndex}},
	{exitUsage, "usage", "", "", []error{index.ErrSort, index.ErrCursor, index.ErrFacet, index.ErrTooBroad}},
	{exitIntegrity, "integrity", "", "build the index again: \"modelreg index build --fresh PLACE\"", []error{index.ErrLayout, index.ErrDamaged}},
	{exitNotFound, "not-found", "", "check the path", []error{fs.ErrNotExist}},
	{exitProtocol, "protocol", "the registry lacks what is needed, or breaks the protocol", "\"modelreg doctor HOST\" shows what the registry can do", []error{remote.ErrProtocol}},
	{exitLocal, "local", "this machine: disk full, permission, lock, a file that changes", "", []error{syscall.ENOSPC, syscall.EROFS, syscall.EXDEV, syscall.EADDRINUSE, fs.ErrPermission, store.ErrLocked, registry.ErrInUse, artifact.ErrBusy, artifact.ErrChanged}},
	{exitNetwork, "network", "", "the same command goes on with what is there: run it later, or wait longer with --max-wait", []error{transfer.ErrMaxWait, remote.ErrMaxWait}},
	{exitNetwork, "network", "the network or the registry failed, also after retries", "try again later", []error{remote.ErrUnreachable, signing.ErrService, context.DeadlineExceeded}},
}

// explain finds the class of an error, and what to tell the user.
func explain(err error) ui.Failure {
	f := ui.Failure{Code: exitFailure, Kind: "failure", Message: spoken(strings.TrimPrefix(err.Error(), context.Canceled.Error()+": "))}
	if isUsage(err) && !errors.Is(err, context.Canceled) {
		f.Code, f.Kind = exitUsage, "usage"
		if usage, ok := errors.AsType[usageError](err); ok {
			f.Hint = usage.hint
		}
		if unknown, ok := errors.AsType[*unknownCommandError](err); ok {
			f.Hint = unknown.hint()
		}
		return f
	}
	if refusal, ok := errors.AsType[*policy.Refusal](err); ok {
		f.Decision = refusal.Decision
	}
	for _, c := range classes {
		for _, cause := range c.causes {
			if errors.Is(err, cause) {
				f.Code, f.Kind, f.Hint = c.code, c.kind, cmp.Or(hint(err), c.hint)
				if c.code == exitInterrupted {
					f.Message = "interrupted" // what it was in the middle of tells nobody anything
				}
				return f
			}
		}
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		f.Code, f.Kind, f.Hint = exitNetwork, "network", "try again later"
	}
	return f
}

// hint is what to do next where the error itself tells more than its class.
func hint(err error) string {
	if access, ok := errors.AsType[*source.AccessError](err); ok {
		return accessHint(access)
	}
	if access, ok := errors.AsType[*catalog.AccessError](err); ok {
		return catalogHint(access)
	}
	if gone, ok := errors.AsType[*gonePlacesError](err); ok {
		return gone.hint()
	}
	if secrets, ok := errors.AsType[*artifact.SecretsError](err); ok && len(secrets.Files) > 0 {
		return "list it in .modelregignore, or publish it all the same with --include-secret"
	}
	if _, ok := errors.AsType[*hub.FilesError](err); ok {
		return "the directory is as it was left: --format json lists every file; what was pulled, \"modelreg pull --force\" into the same directory mends"
	}
	if found, ok := errors.AsType[*hub.ScanError](err); ok {
		return scanHint(found)
	}
	if service, ok := errors.AsType[*signing.ServiceError](err); ok && service.Status == http.StatusNotFound {
		return "check the URL; --rekor-version 1 is for logs of the first version"
	}
	if moved, ok := errors.AsType[*hub.MovedError](err); ok {
		return fmt.Sprintf("push to %s, or take the redirect away: modelreg repo set %s --redirect ''", moved.To, moved.Repository)
	}
	if state, ok := errors.AsType[*hub.StateError](err); ok && state.Replacement != "" {
		return "take " + state.Replacement + " in its place, as they say who withdrew it"
	}
	if errors.Is(err, hub.ErrBrokenLog) {
		return "somebody moved the alias with another tool, or removed entries; \"modelreg resolve --at\" tells what the log says all the same"
	}
	if rule, ok := errors.AsType[*hub.RuleError](err); ok {
		return ruleHint(rule)
	}
	if edited, ok := errors.AsType[*artifact.EditedError](err); ok {
		return fmt.Sprintf("\"modelreg status %s\" lists them: push them or put them away, or replace them with --force", ui.Clean(edited.Dir))
	}
	if errors.Is(err, hub.ErrStale) {
		return "pull what is there now, or put this in its place all the same with --if-parent and its digest"
	}
	if _, ok := errors.AsType[*hub.LimitError](err); ok {
		return "cut large weights into shards with --reshard SIZE; if the registry does take it, add --no-preflight"
	}
	if fork, ok := errors.AsType[*hub.ForkError](err); ok {
		if fork.Stands {
			return "run the same command again: it tells whether the branch stays there, and sets what else was to be set"
		}
		return fmt.Sprintf("nothing is lost: \"modelreg merge %s@%s --branch %s\" goes on with your files and keeps both versions in the history, --take branch with the others'; \"modelreg log %s:%s --all --graph\" shows both",
			fork.Repository, shortRevision(fork.Ours.String()), fork.Branch, fork.Repository, fork.Branch)
	}
	return classHint(err)
}

// classHint is the hint for errors that only their class is told of.
func classHint(err error) string {
	switch {
	case errors.Is(err, signing.ErrTrustRepository):
		return "nothing has changed: what was fetched before stays in use; where that goes on, ask those who publish it, or on another network"
	case errors.Is(err, lock.ErrNoFile):
		return "\"modelreg lock add NAME REF\" makes one; one that is elsewhere is named with --file, for pull --locked and mount --locked with --lock-file"
	case errors.Is(err, artifact.ErrNotModel):
		return "\"modelreg pull --raw\" takes what is no model as it is"
	case errors.Is(err, hub.ErrTaken):
		return "--on-conflict overwrite replaces what is there, --on-conflict skip leaves it and goes on"
	case errors.Is(err, glob.ErrNoMatch):
		return "a pattern matches the whole path, and case counts; \"modelreg inspect REF\" lists the files of a version"
	case errors.Is(err, artifact.ErrDotfile):
		return "if you trust who made it, take such files with --allow-dotfiles"
	case errors.Is(err, artifact.ErrCollision):
		return "where the file system keeps such names apart, \"modelreg pull --allow-collisions\" takes them"
	}
	if _, ok := errors.AsType[*net.DNSError](err); ok || errors.Is(err, syscall.ECONNREFUSED) {
		return "is the host right, and is the registry running?"
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return "use another --listen address; port 0 takes a free one"
	}
	if missing, ok := errors.AsType[*hub.MissingError](err); ok {
		return missingHint(missing)
	}
	return ""
}

// ruleHint tells what can be done about a tag that the record of its repository
// keeps where it is.
func ruleHint(e *hub.RuleError) string {
	if errors.Is(e, hub.ErrImmutable) {
		return fmt.Sprintf("give the version another tag; \"modelreg repo show %s\" lists what is immutable there", e.Repository)
	}
	return fmt.Sprintf("\"modelreg tag delete %s:%s --force\" deletes it, and its log says so; \"modelreg repo protect %s GLOB --remove\" makes it a tag like others",
		e.Repository, e.Tag, e.Repository)
}

// missingHint tells where else to look for what is not there.
func missingHint(e *hub.MissingError) string {
	switch e.What {
	case hub.MissingDefault:
		return fmt.Sprintf("it has %s: name one, as in %s:%s; \"modelreg repo set %s --default-branch %s\" says what %[2]s alone means",
			orMore(e.Tags), e.Repository, e.Tags[0], e.Repository, e.Tags[0])
	case hub.MissingAlias:
		return fmt.Sprintf("is it %s? --create makes %s, a tag whose moves are not logged; \"modelreg repo protect %s %s\" has them logged", ui.Line(orList(e.Tags)), e.Tag, e.Repository, e.Tag)
	case hub.MissingLog:
		return fmt.Sprintf("\"modelreg repo protect %s %s\" has its moves logged from then on; \"modelreg log %s\" shows its versions", e.Repository, e.Tag, e.Reference)
	case hub.MissingPast:
		return fmt.Sprintf("\"modelreg tag log %s\" shows since when its log is kept, and where it was", e.Reference)
	case hub.MissingHistory:
		return fmt.Sprintf("\"modelreg log %s\" shows how far its history goes", e.Reference)
	case hub.MissingBOM:
		return fmt.Sprintf("\"modelreg bom attach %s\" makes one and attaches it", e.Reference)
	case hub.MissingStatement:
		return fmt.Sprintf("\"modelreg eval list %s\" lists what was stated", e.Reference)
	case hub.MissingFile:
		return fmt.Sprintf("\"modelreg ls %s\" lists its files", e.Reference)
	}
	return fmt.Sprintf("\"modelreg ls %s\" lists versions; without a login a private repository may look absent", e.Repository)
}

// orMore lists tags that may not be all there are.
func orMore(tags []string) string {
	if len(tags) > 1 {
		return strings.Join(tags, ", ")
	}
	return "the tag " + tags[0]
}

// accessHint tells how to get at a model on another hub.
func accessHint(e *source.AccessError) string {
	switch {
	case e.Gated && e.Token:
		return "ask for access at " + e.Page + ", with the account that the token is of"
	case e.Gated:
		return "ask for access at " + e.Page + ", then set HF_TOKEN to a token of that account"
	case e.Token:
		return "check the name and the token (HF_TOKEN, MODELSCOPE_API_TOKEN): hubs show private models only to those who may see them"
	}
	return "check the name; if the model is private, set HF_TOKEN or MODELSCOPE_API_TOKEN"
}

// newExitCodes is a help topic: a command without a run.
func newExitCodes() *cobra.Command {
	var b strings.Builder
	b.WriteString("Exit codes of modelreg. A code never changes its meaning; take one that you do not\nknow as failure.\n\n")
	w := ui.Table(&b)
	row := func(code int, kind, meaning string) { fmt.Fprintf(w, "  %d\t%s\t%s\n", code, kind, meaning) }
	row(exitOK, "", "success, also when there was nothing to do")
	row(exitFailure, "failure", "any other failure")
	for _, c := range slices.SortedFunc(slices.Values(classes), func(a, b class) int { return a.code - b.code }) {
		if c.meaning != "" {
			row(c.code, c.kind, c.meaning)
		}
	}
	_ = w.Flush() // into memory
	return &cobra.Command{Use: "exit-codes", Short: "Exit codes and what they mean", Long: b.String()}
}
