package provenance

import (
	"net/url"
	"strings"
)

// Detect tells where a build runs, from the variables of GitHub Actions and
// GitLab CI that getenv returns, which is [os.Getenv] but for tests. Without them
// it is a local build. What a CI system does not say is left out, and a commit
// that is none is not taken for one.
func Detect(getenv func(name string) string) Environment {
	switch {
	case getenv("GITHUB_ACTIONS") == "true":
		return github(getenv)
	case getenv("GITLAB_CI") == "true":
		return gitlab(getenv)
	}
	return Environment{System: "local", Builder: BuilderLocal}
}

// github reads the variables of GitHub Actions
// (https://docs.github.com/actions/reference/variables-reference). Parameters
// are named as in https://actions.github.io/buildtypes/workflow/v1.
func github(getenv func(string) string) Environment {
	server, repository := getenv("GITHUB_SERVER_URL"), getenv("GITHUB_REPOSITORY")
	home := joined(server, "/", repository)
	e := Environment{
		System:  "github",
		Builder: BuilderLocal,
		Workflow: known(map[string]string{
			"repository": home,
			"ref":        getenv("GITHUB_REF"),
			"path":       workflowPath(getenv("GITHUB_WORKFLOW_REF"), repository),
		}),
		Internal: known(map[string]string{
			"event_name":          getenv("GITHUB_EVENT_NAME"),
			"repository_id":       getenv("GITHUB_REPOSITORY_ID"),
			"repository_owner_id": getenv("GITHUB_REPOSITORY_OWNER_ID"),
			"runner_environment":  getenv("RUNNER_ENVIRONMENT"),
		}),
		Source: source(home, getenv("GITHUB_REF"), getenv("GITHUB_SHA")),
	}
	if id := joined(server, "/", getenv("GITHUB_WORKFLOW_REF")); id != "" {
		e.Builder = id
	}
	if run := getenv("GITHUB_RUN_ID"); home != "" && run != "" {
		e.Invocation = home + "/actions/runs/" + run
		if attempt := getenv("GITHUB_RUN_ATTEMPT"); attempt != "" {
			e.Invocation += "/attempts/" + attempt
		}
	}
	return e
}

// workflowPath takes the path out of owner/repository/path@ref.
func workflowPath(workflow, repository string) string {
	path, _, _ := strings.Cut(workflow, "@")
	if path, ok := strings.CutPrefix(path, repository+"/"); ok {
		return path
	}
	return ""
}

// gitlab reads the variables of GitLab CI
// (https://docs.gitlab.com/ci/variables/predefined_variables/). The builder is
// named as GitLab's own provenance names it.
func gitlab(getenv func(string) string) Environment {
	home := getenv("CI_PROJECT_URL")
	e := Environment{
		System:     "gitlab",
		Builder:    BuilderLocal,
		Invocation: getenv("CI_JOB_URL"),
		Workflow: known(map[string]string{
			"repository": home,
			"ref":        getenv("CI_COMMIT_REF_NAME"),
			"path":       getenv("CI_CONFIG_PATH"),
			"job":        getenv("CI_JOB_NAME"),
		}),
		Internal: known(map[string]string{
			"pipeline_id":        getenv("CI_PIPELINE_ID"),
			"pipeline_source":    getenv("CI_PIPELINE_SOURCE"),
			"project_id":         getenv("CI_PROJECT_ID"),
			"runner_description": getenv("CI_RUNNER_DESCRIPTION"),
		}),
		Source: source(home, getenv("CI_COMMIT_REF_NAME"), getenv("CI_COMMIT_SHA")),
	}
	if runner := getenv("CI_RUNNER_ID"); home != "" && runner != "" {
		e.Builder = home + "/-/runners/" + runner
	}
	return e
}

// source is the commit of a repository.
func source(repository, ref, commit string) []Resource {
	if !IsCommit(commit) {
		return nil
	}
	r := Resource{Name: NameSource, Digest: map[string]string{"gitCommit": commit}}
	if repository != "" {
		r.URI = "git+" + repository
		if ref != "" {
			r.URI += "@" + ref
		}
	}
	return []Resource{r}
}

// WorkTree adds the commit that the pushed directory is a work tree of, and
// whether the directory is that commit's. It is the source when there is none
// yet; when the run is of another commit, it is added to that.
func (e Environment) WorkTree(commit string, clean bool) Environment {
	if !IsCommit(commit) {
		return e
	}
	state := map[string]string{"workTree": "dirty"}
	if clean {
		state["workTree"] = "clean"
	}
	for i, r := range e.Source {
		if r.Digest["gitCommit"] == commit {
			e.Source = append([]Resource{}, e.Source...)
			e.Source[i].Annotations = state
			return e
		}
	}
	name := NameSource
	if len(e.Source) > 0 {
		name = NameDirectory
	}
	e.Source = append(append([]Resource{}, e.Source...), Resource{Name: name, Digest: map[string]string{"gitCommit": commit}, Annotations: state})
	return e
}

// IsCommit tells whether s is the whole name of a git commit: 40 or 64
// hexadecimal digits in lower case.
func IsCommit(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// Names of resources.
const (
	NameSource    = "source"     // the commit that the run is of
	NameDirectory = "directory"  // the commit that the pushed directory is of, if it is another
	NameBaseModel = "base-model" // what the model was made from
	NameDataset   = "dataset"    // what it was trained on
	NameCode      = "code"       // what it was made by, besides the source
	NameOrigin    = "origin"     // what was imported
)

// HuggingFace is a model, or a dataset by the id "datasets/org/name", of the
// Hugging Face Hub. Without a commit it is known by its name alone, which can be
// moved.
func HuggingFace(name, id, commit string) Resource {
	r := Resource{Name: name, URI: "https://huggingface.co/" + escaped(id)}
	if IsCommit(commit) {
		r.URI += "/tree/" + commit
		r.Digest = map[string]string{"gitCommit": commit}
	}
	return r
}

// escaped is a path with what URIs have no room for escaped.
func escaped(path string) string { return (&url.URL{Path: path}).EscapedPath() }

// joined is a, sep and b, or nothing if either is missing.
func joined(a, sep, b string) string {
	if a == "" || b == "" {
		return ""
	}
	return strings.TrimSuffix(a, "/") + sep + b
}

// known leaves out what is empty.
func known(m map[string]string) map[string]string {
	for k, v := range m {
		if v == "" {
			delete(m, k)
		}
	}
	return m
}
