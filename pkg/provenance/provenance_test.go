package provenance_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/provenance"
)

const (
	commit = "0123456789abcdef0123456789abcdef01234567"
	other  = "89abcdef0123456789abcdef0123456701234567"
)

func environment(vars map[string]string) provenance.Environment {
	return provenance.Detect(func(name string) string { return vars[name] })
}

func gitHubVars() map[string]string {
	return map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "acme/train",
		"GITHUB_REF": "refs/heads/main", "GITHUB_SHA": commit, "GITHUB_RUN_ID": "42", "GITHUB_RUN_ATTEMPT": "2",
		"GITHUB_WORKFLOW_REF": "acme/train/.github/workflows/release.yml@refs/heads/main",
		"GITHUB_EVENT_NAME":   "push", "GITHUB_REPOSITORY_ID": "7", "GITHUB_REPOSITORY_OWNER_ID": "8", "RUNNER_ENVIRONMENT": "github-hosted",
		"GITHUB_TOKEN": "ghs_secret", "HOSTNAME": "runner-1",
	}
}

func TestPredicateOnGitHub(t *testing.T) {
	b := provenance.Build{
		Type: provenance.TypePush, Environment: environment(gitHubVars()).WorkTree(commit, true),
		Reference: "ghcr.io/acme/support:v1", Version: "v0.4.0", Parameters: map[string]string{"reshard": "4000000000"},
		Started: time.Date(2026, 11, 22, 11, 0, 0, 5, time.FixedZone("CET", 3600)), Finished: time.Date(2026, 11, 22, 10, 1, 0, 0, time.UTC),
		Dependencies: []provenance.Resource{
			{Name: provenance.NameBaseModel, URI: "oci://ghcr.io/acme/base:v3", Digest: map[string]string{"sha256": "aa"}},
			provenance.HuggingFace(provenance.NameBaseModel, "Qwen/Qwen3-0.6B", other),
			provenance.HuggingFace(provenance.NameDataset, "datasets/acme/tickets", ""),
			provenance.HuggingFace(provenance.NameDataset, "datasets/acme/tickets", ""),
		},
	}
	raw, err := b.Predicate()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Indent(jsontext.WithIndent(" ")); err != nil {
		t.Fatal(err)
	}
	want := `{
 "buildDefinition": {
  "buildType": "https://github.com/modelreg/modelreg/blob/main/docs/provenance.md#push-v1",
  "externalParameters": {
   "reference": "ghcr.io/acme/support:v1",
   "workflow": {
    "path": ".github/workflows/release.yml",
    "ref": "refs/heads/main",
    "repository": "https://github.com/acme/train"
   },
   "parameters": {
    "reshard": "4000000000"
   }
  },
  "internalParameters": {
   "github": {
    "event_name": "push",
    "repository_id": "7",
    "repository_owner_id": "8",
    "runner_environment": "github-hosted"
   }
  },
  "resolvedDependencies": [
   {
    "name": "source",
    "uri": "git+https://github.com/acme/train@refs/heads/main",
    "digest": {
     "gitCommit": "0123456789abcdef0123456789abcdef01234567"
    },
    "annotations": {
     "workTree": "clean"
    }
   },
   {
    "name": "base-model",
    "uri": "oci://ghcr.io/acme/base:v3",
    "digest": {
     "sha256": "aa"
    }
   },
   {
    "name": "base-model",
    "uri": "https://huggingface.co/Qwen/Qwen3-0.6B/tree/89abcdef0123456789abcdef0123456701234567",
    "digest": {
     "gitCommit": "89abcdef0123456789abcdef0123456701234567"
    }
   },
   {
    "name": "dataset",
    "uri": "https://huggingface.co/datasets/acme/tickets"
   }
  ]
 },
 "runDetails": {
  "builder": {
   "id": "https://github.com/acme/train/.github/workflows/release.yml@refs/heads/main",
   "version": {
    "modelreg": "v0.4.0"
   }
  },
  "metadata": {
   "invocationId": "https://github.com/acme/train/actions/runs/42/attempts/2",
   "startedOn": "2026-11-22T10:00:00Z",
   "finishedOn": "2026-11-22T10:01:00Z"
  }
 }
}`
	if diff := cmp.Diff(want, string(raw)); diff != "" {
		t.Errorf("predicate (-want +got):\n%s", diff)
	}
}

func TestDetectGitLab(t *testing.T) {
	got := environment(map[string]string{
		"GITLAB_CI": "true", "CI_PROJECT_URL": "https://gitlab.example.com/acme/train", "CI_COMMIT_SHA": commit, "CI_COMMIT_REF_NAME": "main",
		"CI_JOB_URL": "https://gitlab.example.com/acme/train/-/jobs/99", "CI_JOB_NAME": "release", "CI_CONFIG_PATH": ".gitlab-ci.yml",
		"CI_PIPELINE_ID": "5", "CI_PIPELINE_SOURCE": "push", "CI_PROJECT_ID": "6", "CI_RUNNER_ID": "77", "CI_JOB_TOKEN": "secret",
	})
	want := provenance.Environment{
		System: "gitlab", Builder: "https://gitlab.example.com/acme/train/-/runners/77",
		Invocation: "https://gitlab.example.com/acme/train/-/jobs/99",
		Workflow:   map[string]string{"repository": "https://gitlab.example.com/acme/train", "ref": "main", "path": ".gitlab-ci.yml", "job": "release"},
		Internal:   map[string]string{"pipeline_id": "5", "pipeline_source": "push", "project_id": "6"},
		Source: []provenance.Resource{{
			Name: "source", URI: "git+https://gitlab.example.com/acme/train@main", Digest: map[string]string{"gitCommit": commit},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

// What is not known is not made up.
func TestDetectGuessesNothing(t *testing.T) {
	local := provenance.Environment{System: "local", Builder: provenance.BuilderLocal}
	tests := map[string]struct {
		vars map[string]string
		want provenance.Environment
	}{
		"nothing":                         {nil, local},
		"a name and a host":               {map[string]string{"USER": "ks", "HOSTNAME": "laptop", "CI": "true"}, local},
		"a runner that does not say true": {map[string]string{"GITHUB_ACTIONS": "1", "GITHUB_SHA": commit}, local},
		"GitHub without anything": {
			map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_SHA": "main"},
			provenance.Environment{System: "github", Builder: provenance.BuilderLocal, Workflow: map[string]string{}, Internal: map[string]string{}},
		},
		"GitLab without anything": {
			map[string]string{"GITLAB_CI": "true", "CI_COMMIT_SHA": strings.ToUpper(commit), "CI_RUNNER_ID": "3"},
			provenance.Environment{System: "gitlab", Builder: provenance.BuilderLocal, Workflow: map[string]string{}, Internal: map[string]string{}},
		},
		"a workflow of another repository": {
			map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "acme/train", "GITHUB_WORKFLOW_REF": "acme/shared/x.yml@v1"},
			provenance.Environment{System: "github", Builder: provenance.BuilderLocal, Workflow: map[string]string{}, Internal: map[string]string{}},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, environment(tt.vars)); diff != "" {
				t.Errorf("environment (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWorkTree(t *testing.T) {
	source := provenance.Resource{Name: "source", URI: "git+https://github.com/acme/train@refs/heads/main", Digest: map[string]string{"gitCommit": commit}}
	tests := map[string]struct {
		vars   map[string]string
		commit string
		clean  bool
		want   []provenance.Resource
	}{
		"local":             {nil, commit, true, []provenance.Resource{{Name: "source", Digest: source.Digest, Annotations: state("clean")}}},
		"local and changed": {nil, commit, false, []provenance.Resource{{Name: "source", Digest: source.Digest, Annotations: state("dirty")}}},
		"no commit":         {nil, "HEAD", true, nil},
		"the run's own":     {gitHubVars(), commit, false, []provenance.Resource{{Name: "source", URI: source.URI, Digest: source.Digest, Annotations: state("dirty")}}},
		"another than the run's": {gitHubVars(), other, true, []provenance.Resource{
			source, {Name: "directory", Digest: map[string]string{"gitCommit": other}, Annotations: state("clean")},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := environment(tt.vars).WorkTree(tt.commit, tt.clean).Source
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("source (-want +got):\n%s", diff)
			}
		})
	}
}

func state(s string) map[string]string { return map[string]string{"workTree": s} }

func TestPredicateRefuses(t *testing.T) {
	good := provenance.Build{Type: provenance.TypePush, Reference: "h/m:v1"}
	if _, err := good.Predicate(); err != nil {
		t.Fatal(err)
	}
	noType, noReference, nothing := good, good, good
	noType.Type, noReference.Reference = "", ""
	nothing.Dependencies = []provenance.Resource{{Name: "dataset"}}
	for name, b := range map[string]provenance.Build{"no type": noType, "no reference": noReference, "a dependency that is nothing": nothing} {
		if raw, err := b.Predicate(); err == nil {
			t.Errorf("%s: %s, want an error", name, raw)
		}
	}
}

// Another run of the same build says nothing new; another builder, commit or
// tag does.
func TestSame(t *testing.T) {
	predicate := func(change func(vars map[string]string, b *provenance.Build)) jsontext.Value {
		vars := gitHubVars()
		b := provenance.Build{Type: provenance.TypePush, Reference: "h/m:v1", Started: time.Unix(1, 0)}
		change(vars, &b)
		b.Environment = environment(vars)
		raw, err := b.Predicate()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	first := predicate(func(map[string]string, *provenance.Build) {})
	tests := map[string]struct {
		change func(vars map[string]string, b *provenance.Build)
		want   bool
	}{
		"run": {func(vars map[string]string, b *provenance.Build) {
			vars["GITHUB_RUN_ID"], b.Started = "43", time.Unix(2, 0)
		}, true},
		"builder": {func(vars map[string]string, _ *provenance.Build) {
			vars["GITHUB_WORKFLOW_REF"] = "acme/train/x.yml@main"
		}, false},
		"commit":     {func(vars map[string]string, _ *provenance.Build) { vars["GITHUB_SHA"] = other }, false},
		"tag":        {func(_ map[string]string, b *provenance.Build) { b.Reference = "h/m:v2" }, false},
		"build type": {func(_ map[string]string, b *provenance.Build) { b.Type = provenance.TypeImport }, false},
	}
	for name, tt := range tests {
		if got := provenance.Same(first, predicate(tt.change)); got != tt.want {
			t.Errorf("another %s: Same = %v, want %v", name, got, tt.want)
		}
	}
	for _, no := range []string{"", "{}", "[]", "{"} {
		if provenance.Same(jsontext.Value(no), jsontext.Value(no)) {
			t.Errorf("Same(%q) with itself, which is no provenance", no)
		}
	}
}
