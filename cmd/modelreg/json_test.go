package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/testmodel"
	"github.com/modelreg/modelreg/internal/testreg"
)

// keys lists the keys of a JSON document, with the path to them. What users
// choose the keys of is not looked into.
func keys(t *testing.T, text string) []string {
	t.Helper()
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	found := map[string]bool{}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, sub := range v {
				key := strings.TrimPrefix(path+"."+k, ".")
				found[key] = true
				if key != "card" && key != "annotations" && key != "model.dtypes" {
					walk(key, sub)
				}
			}
		case []any:
			for _, sub := range v {
				walk(path+"[]", sub)
			}
		}
	}
	walk("", doc)
	return slices.Sorted(maps.Keys(found))
}

// TestJSONKeys holds what is printed against the contract with scripts. A key
// may be added here; one that goes or changes its name breaks somebody.
func TestJSONKeys(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	model := filepath.Join(u.home, "model")
	testmodel.Write(t, model)
	pair := filepath.Join(u.home, "team")
	u.ok("keygen", "-o", pair)
	private, public := pair+".key", pair+".pub"
	name := reg.Host + "/acme/tiny"
	json := func(args ...string) func() string {
		return func() string { return u.ok(append(args, "--format", "json")...) }
	}
	failing := func(args ...string) func() string {
		return func() string {
			_, _, stderr := u.run(t.Context(), append(args, "--format", "json")...)
			return stderr
		}
	}
	signers := []string{"signers", "signers[].identity", "signers[].issuer", "signers[].keyFingerprint", "signers[].kind", "signers[].logged"}
	scanFindings := []string{"path", "rule", "severity", "offset", "message"}
	scanned := slices.Clip(append(under("scan.findings[]", scanFindings), "scan", "scan.verdict", "scan.findings", "scan.remembered", "notes"))
	bundleKeys := []string{
		"file", "versions", "versions[].reference", "versions[].digest", "manifests", "attached", "blobs", "size",
		"copiedBytes", "mountedBytes", "skippedBytes", "checked", "verified", "trustFrom",
		"trust", "trust.digest", "trust.files", "trust.files[].kind", "trust.files[].name", "trust.files[].digest",
	}
	historyKeys := []string{"digest", "revision", "parents", "message", "author", "changeId", "created", "tags", "size", "signatures", "signers"}
	stateKeys := []string{"state", "reason", "since", "replacement", "signer", "ignored"}
	rules := filepath.Join(u.home, "policy.yaml")
	decided := under("rules[]", []string{"document", "rule", "ok", "effect", "found", "wanted"})
	steps := []struct {
		name string
		run  func() string
		want []string
	}{
		{"push", json("push", model, name+":v1", "--sign", "--key", private), append(
			scanned, "reference", "digest", "revision", "tag", "created", "files", "size",
			"uploadedBytes", "mountedBytes", "skippedBytes", "signatures", "attestations",
		)},
		{"pull", json("pull", name+":v1", filepath.Join(u.home, "out")), []string{
			"reference", "digest", "directory", "files", "size", "fetchedBytes", "reusedBytes", "skippedFiles", "verified",
		}},
		{"pull --verify", json("pull", name+":v1", filepath.Join(u.home, "out2"), "--verify", "--key", public), append(
			under("verified", append(signers, "policy", "attestations")),
			"reference", "digest", "directory", "files", "size", "fetchedBytes", "reusedBytes", "skippedFiles", "verified",
		)},
		{"import", json("import", "oci://"+name+":v1", reg.Host+"/acme/imported:v1"), append(
			scanned, "reference", "digest", "revision", "tag", "created", "files", "size",
			"uploadedBytes", "mountedBytes", "skippedBytes", "signatures", "attestations", "source", "commit",
		)},
		{"pull --dry-run", json("pull", name+":v1", filepath.Join(u.home, "out3"), "--dry-run", "--bandwidth", "1M"), []string{
			"reference", "digest", "directory", "files", "size", "skippedFiles", "blobs", "fetchBytes", "reuseBytes",
			"bytesPerSecond", "seconds", "verified",
		}},
		{"pull --include", json("pull", name+":v1", filepath.Join(u.home, "out4"), "--include", "*.json"), []string{
			"reference", "digest", "directory", "files", "size", "fetchedBytes", "reusedBytes", "skippedFiles", "verified",
		}},
		{"pull --layout hf", json("pull", name+":v1", filepath.Join(u.home, "hub"), "--layout", "hf"), []string{
			"reference", "digest", "directory", "files", "size", "fetchedBytes", "reusedBytes", "skippedFiles", "verified",
			"repoId", "revision",
		}},
		{"pull --layout hf --dry-run", json("pull", name+":v1", filepath.Join(u.home, "hub"), "--layout", "hf", "--dry-run"), []string{
			"reference", "digest", "directory", "files", "size", "skippedFiles", "blobs", "fetchBytes", "reuseBytes",
			"bytesPerSecond", "seconds", "verified", "repoId", "revision",
		}},
		{"resolve", json("resolve", name+":v1"), []string{
			"reference", "repository", "tag", "digest", "mediaType", "artifactType", "size",
		}},
		{"inspect", json("inspect", name+":v1"), slices.Concat(
			[]string{
				"reference", "digest", "artifactType", "format", "size", "files", "model", "card", "annotations",
				"parents", "signatures", "referrers", "inputs",
			},
			under("inputs[]", []string{"relation", "inferred", "reference", "digest", "said", "pinned"}),
			under("files[]", []string{"path", "kind", "mediaType", "digest", "size", "mode"}),
			under("model", []string{
				"architecture", "parameters", "dtypes", "formats", "contextLength", "quantization", "library", "task", "customCode",
			}),
			under("referrers[]", []string{"digest", "artifactType", "size"}),
		)},
		{"inspect --lineage", json("inspect", reg.Host+"/acme/imported:v1", "--lineage"), slices.Concat(
			[]string{
				"reference", "digest", "artifactType", "format", "size", "files", "model", "card", "annotations",
				"parents", "signatures", "referrers", "inputs", "lineage",
			},
			under("files[]", []string{"path", "kind", "mediaType", "digest", "size", "mode"}),
			under("model", []string{
				"architecture", "parameters", "dtypes", "formats", "contextLength", "quantization", "library", "task", "customCode",
			}),
			under("inputs[]", []string{"relation", "inferred", "reference", "digest", "said", "pinned"}),
			under("lineage", []string{"reference", "digest", "nodes", "edges", "warnings", "truncated"}),
			under("lineage.nodes[]", []string{
				"id", "reference", "digest", "kind", "read", "licenses", "architecture", "parameters", "signatures",
			}),
			under("lineage.edges[]", []string{"input", "output", "relation", "inferred", "said", "pinned", "claim", "claim.verdict", "claim.reason"}),
			under("lineage.warnings[]", []string{"kind", "node", "message"}),
		)},
		{"copy", json("copy", name+":v1", reg.Host+"/mirror/tiny:v1", "--key", public), slices.Concat(
			[]string{
				"source", "reference", "digest", "tags", "versions", "manifests", "attached", "blobs", "size",
				"copiedBytes", "mountedBytes", "skippedBytes", "checked", "verified",
			},
			under("verified", append(signers, "policy", "attestations")),
		)},
		{"copy --history", json("copy", name, reg.Host+"/moved/tiny", "--history"), slices.Concat(
			[]string{
				"source", "reference", "digest", "tags", "versions", "manifests", "attached", "blobs", "size",
				"copiedBytes", "mountedBytes", "skippedBytes", "checked", "verified", "history",
			},
			under("history", []string{"unnamed", "tombstones", "logs", "moves", "record"}),
		)},
		{"bundle save", json("bundle", "save", name+":v1", "-o", filepath.Join(u.home, "b.tar"), "--key", public), slices.Concat(
			bundleKeys, under("verified", append(signers, "policy", "attestations")),
		)},
		{"bundle verify", json("bundle", "verify", filepath.Join(u.home, "b.tar"), "--key", public), slices.Concat(
			bundleKeys, under("verified", append(signers, "policy", "attestations")),
		)},
		{"bundle load", json("bundle", "load", filepath.Join(u.home, "b.tar"), reg.Host+"/loaded/tiny", "--key", public), slices.Concat(
			bundleKeys, under("verified", append(signers, "policy", "attestations")),
		)},
		{"tensors", json("tensors", name+":v1"), append(
			under("tensors[]", []string{"name", "dtype", "shape", "bytes", "offset", "file"}),
			"reference", "digest", "files", "elements", "size", "verified", "tensors",
		)},
		{"log", json("log", name+":v1"), under("[]", historyKeys)},
		{"show", json("show", name+":v1"), slices.Concat(
			historyKeys, []string{"reference", "files", "changes"},
			under("changes[]", []string{"parent", "gone", "added", "removed", "changed", "renamed", "identical", "sizeDelta"}),
		)},
		{"branch create", json("branch", "create", name+":v1", "dev"), []string{"reference", "branch", "digest"}},
		{"branch list", json("branch", "list", name), under("[]", []string{"branch", "default", "digest", "message", "author", "created"})},
		{"revert", json("revert", name+":v1", "--branch", "dev"), []string{"reference", "digest", "revision", "tag", "created", "parents", "message", "signatures"}},
		{"status", json("status", filepath.Join(u.home, "out")), []string{
			"directory", "reference", "digest", "clean", "parent", "gone", "added", "removed", "changed", "renamed", "identical", "sizeDelta",
			"skippedFiles", "readFiles",
		}},
		{"ls REPOSITORY", json("ls", name), under("[]", []string{"tag", "digest", "size", "created"})},
		{"ls ORG", json("ls", reg.Host+"/acme"), []string{"[].repository"}},
		{"ls HOST", json("ls", reg.Host), []string{"[].repository"}},
		{"scan", json("scan", name+":v1"), append(
			under("findings[]", scanFindings),
			"reference", "digest", "verdict", "files", "findings", "verified", "remembered", "scanners", "attestation",
		)},
		{"verify", json("verify", name+":v1", "--key", public), append(
			signers, "reference", "digest", "verified", "policy", "attestations", "failures",
		)},
		{"attest", json("attest", name+":v1", "--type", "vuln", "--predicate", u.file("scan.json", "{}"), "--key", private), []string{
			"reference", "digest", "predicateType", "attestations", "attestation",
		}},
		{"verify --attestation", json("verify", name+":v1", "--key", public, "--attestation", "vuln"), slices.Concat(
			signers, []string{"reference", "digest", "verified", "policy", "attestations", "failures"},
			under("attestations[]", []string{
				"predicateType", "predicate", "digest", "signer",
				"signer.identity", "signer.issuer", "signer.keyFingerprint", "signer.kind", "signer.logged",
			}),
		)},
		{"sign --oms", json("sign", reg.Host+"/acme/imported:v1", "--oms", "--key", private), []string{"reference", "digest", "signatures", "modelSignature", "modelSignatureMade"}},
		{"sign DIR", json("sign", model, "--key", private), []string{"directory", "signature", "digest", "files", "size"}},
		{"verify DIR", json("verify", model, "--key", public), slices.Concat(
			signers, under("records[]", append(signers, "kind", "file", "digest", "verified")),
			[]string{
				"directory", "reference", "digest", "verified", "policy", "attestations", "records", "files", "size", "readFiles",
				"skippedFiles", "changed", "missing", "extra", "ignored", "failures",
			},
		)},
		{"tree", json("tree", name+":v1", "--key", public), slices.Concat(
			[]string{"reference", "digest", "truncated", "tree"},
			under("tree", append(treeKeys(), "attached")),
			under("tree.attached[]", append(treeKeys(), "predicateType", "layout", "created", "claims", "verified")),
			under("tree.attached[].claims", signerKeys()), under("tree.attached[].verified", signerKeys()),
		)},
		{"lineage", json("lineage", reg.Host+"/acme/imported:v1", "--key", public), slices.Concat(
			[]string{"reference", "digest", "nodes", "edges", "warnings", "truncated"},
			under("nodes[]", []string{
				"id", "reference", "digest", "kind", "read", "licenses", "architecture", "parameters",
				"signatures", "signers",
			}),
			under("nodes[].signers[]", signerKeys()),
			under("edges[]", []string{"input", "output", "relation", "inferred", "said", "pinned", "claim", "claim.verdict", "claim.reason"}),
			under("warnings[]", []string{"kind", "node", "message"}),
		)},
		{"lineage --down", json("lineage", name+":v1", "--down", "--no-check"), slices.Concat(
			[]string{"reference", "digest", "nodes", "edges", "warnings", "truncated"},
			under("nodes[]", []string{
				"id", "reference", "digest", "kind", "read", "licenses", "architecture", "parameters", "signatures",
			}),
			under("edges[]", []string{"input", "output", "relation", "said", "pinned", "learnt", "claim", "claim.verdict", "claim.reason"}),
			under("warnings[]", []string{"kind", "node", "message"}),
		)},
		{"lineage announce", func() string {
			u.ok("push", model, reg.Host+"/acme/derived:v1", "--base", name+":v1")
			return json("lineage", "announce", reg.Host+"/acme/derived:v1")()
		}, append(
			under("bases[]", []string{"reference", "digest", "relation", "made"}), "reference", "digest", "bases",
		)},
		{"tag", json("tag", name+":v1", "next"), append(under("moves[]", moveKeys()), "reference", "digest", "tags", "moves")},
		{"repo protect", json("repo", "protect", name, "prod"), []string{
			"repository", "digest", "changed", "signatures", "record", "record.protected",
		}},
		{"promote", json("promote", name+":v1", "--to", "prod", "--signed-by", public, "--key", private), slices.Concat(
			[]string{"source", "reference", "digest", "move", "verified", "summary"}, under("move", moveKeys()),
			under("verified", append(signers, "policy", "attestations")),
		)},
		{"tag list", json("tag", "list", name), under("[]", []string{"tag", "digest", "immutable", "protected", "default"})},
		{"tag log", json("tag", "log", name+":prod", "--key", public), slices.Concat(
			[]string{"reference", "entries", "whole", "problems"},
			under("entries[]", append(signers, "seq", "stands", "time", "from", "to", "message", "author", "digest", "signed")),
		)},
		{"promote again", json("promote", reg.Host+"/acme/imported:v1", "--to", name+":prod"), slices.Concat(
			[]string{"source", "reference", "digest", "move", "verified", "summary", "copied"}, under("move", moveKeys()),
			under("copied", []string{
				"source", "reference", "digest", "tags", "versions", "manifests", "attached", "blobs", "size",
				"copiedBytes", "mountedBytes", "skippedBytes", "checked", "verified",
			}),
		)},
		{"rollback", json("rollback", name+":prod"), append(under("move", moveKeys()), "reference", "digest", "move", "skipped")},
		{"tag delete", json("tag", "delete", name+":next"), append(under("move", moveKeys()), "reference", "digest", "move")},
		{"gc plan", json("gc", "plan", name), slices.Concat(
			[]string{"repository", "run", "kept", "unneeded", "deleted", "attached", "freedBytes"},
			under("kept[]", []string{"digest", "tags", "why"}),
		)},
		{"policy init", json("policy", "init", rules, "--key", public), []string{"policy"}},
		{"policy validate", json("policy", "validate", rules), append(
			under("documents[]", []string{"name", "mode", "globs", "authorities"}), "policy", "digest", "documents",
		)},
		{"policy push", json("policy", "push", rules, reg.Host+"/acme/policy:v1", "--key", private), []string{
			"reference", "digest", "tag", "policy", "created", "signatures",
		}},
		{"policy explain", json("policy", "explain", rules, name+":v1"), slices.Concat(
			[]string{"reference", "digest", "allowed", "policies"},
			under("policies[]", append([]string{"policy", "repository", "digest", "allowed", "rules"}, decided...)),
		)},
		{"pull --insecure-skip-verify", json("pull", name+":v1", filepath.Join(u.home, "out5"), "--insecure-skip-verify"), []string{
			"reference", "digest", "directory", "files", "size", "fetchedBytes", "reusedBytes", "skippedFiles", "verified",
			"verificationSkipped",
		}},
		{"a refusal", failing("pull", reg.Host+"/acme/imported:v1", filepath.Join(u.home, "out6"), "--policy", rules), slices.Concat(
			under("error", []string{"code", "kind", "message", "hint", "decision"}), []string{"error"},
			under("error.decision", append([]string{"policy", "repository", "digest", "allowed", "rules"}, decided...)),
		)},
		{"deprecate", json("deprecate", reg.Host+"/acme/imported:v1", "--reason", "old", "--key", private), []string{
			"reference", "digest", "state", "reason", "since", "replacement", "signer", "ignored", "changed", "statement",
		}},
		{"deprecate a repository", json("deprecate", reg.Host+"/acme/old", "--reason", "old"), []string{
			"reference", "digest", "state", "reason", "since", "replacement", "signer", "ignored", "changed", "statement",
		}},
		{"repo show of what is deprecated", json("repo", "show", reg.Host+"/acme/old"), slices.Concat(
			[]string{"repository", "digest", "changed", "signatures", "record", "record.status"},
			under("record.status", []string{"state", "reason", "since"}),
		)},
		{"restore a repository", json("restore", reg.Host+"/acme/old"), []string{
			"reference", "digest", "state", "reason", "replacement", "signer", "ignored", "changed", "statement",
		}},
		{"ls of what is deprecated", json("ls", reg.Host+"/acme/imported"), slices.Concat(
			under("[]", []string{"tag", "digest", "size", "created", "status"}), under("[].status", stateKeys),
		)},
		{"tag list of what is deprecated", json("tag", "list", reg.Host+"/acme/imported"), slices.Concat(
			under("[]", []string{"tag", "digest", "immutable", "protected", "default", "status"}), under("[].status", stateKeys),
		)},
		{"log of what is deprecated", json("log", reg.Host+"/acme/imported:v1"), slices.Concat(
			under("[]", append(slices.Clip(historyKeys), "status")), under("[].status", stateKeys),
		)},
		{"an error with a hint", failing("resolve", name+":v9"), append(
			under("error", []string{"code", "kind", "message", "hint"}), "error",
		)},
	}
	for _, s := range steps {
		slices.Sort(s.want)
		for _, key := range s.want {
			if name := key[strings.LastIndex(key, ".")+1:]; !documented(t, name) {
				t.Errorf("%s: docs/json.md says nothing of %s", s.name, key)
			}
		}
		if diff := cmp.Diff(s.want, keys(t, s.run())); diff != "" {
			t.Errorf("%s: %s", s.name, diff)
		}
	}
}

func moveKeys() []string { return []string{"tag", "from", "to", "changed", "logged", "signed"} }

func treeKeys() []string {
	return []string{"kind", "digest", "mediaType", "artifactType", "size"}
}

func signerKeys() []string {
	return []string{"identity", "issuer", "keyFingerprint", "kind", "logged"}
}

// documented tells whether the manual of the JSON results names a key.
func documented(t *testing.T, key string) bool {
	t.Helper()
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, form := range []string{"`%s`", "`%s[]`", "`error.%s`"} {
		if strings.Contains(string(manual), fmt.Sprintf(form, key)) {
			return true
		}
	}
	return key == "error"
}

// A version that is not verified has a result all the same.
func TestJSONKeysOfRefusal(t *testing.T) {
	u := newUser(t)
	reg := testreg.New(t, testreg.Options{})
	u.ok("keygen", "-o", filepath.Join(u.home, "team"))
	ref := reg.Host + "/acme/m:v1"
	u.ok("push", filepath.Dir(u.file("model/a.txt", "x")), ref)
	code, out, stderr := u.run(t.Context(), "verify", ref, "--key", filepath.Join(u.home, "team.pub"), "--format", "json")
	if code != exitUnverified {
		t.Errorf("exits with %d: %s", code, stderr)
	}
	want := []string{
		"attestations", "digest", "failures", "failures[].reason", "failures[].rule", "policy", "reference", "signers", "verified",
	}
	if diff := cmp.Diff(want, keys(t, out)); diff != "" {
		t.Error(diff)
	}
	if !strings.HasPrefix(stderr, `{"error":{"code":8,`) {
		t.Errorf("stderr = %s", stderr)
	}
}

func under(path string, keys []string) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = path + "." + k
	}
	return out
}
