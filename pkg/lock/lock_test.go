package lock_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/lock"
	"github.com/modelreg/modelreg/pkg/ref"
)

var (
	one   = digest.FromString("one")
	two   = digest.FromString("two")
	three = digest.FromString("three")
	noon  = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

func parse(t *testing.T, s string) ref.Reference {
	t.Helper()
	r, err := ref.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func entry(t *testing.T, reference string) lock.Entry {
	t.Helper()
	return lock.Entry{Reference: parse(t, reference), Digest: one, Files: two, Resolved: noon}
}

// whole is an entry with everything that one can have.
func whole(t *testing.T) lock.Entry {
	t.Helper()
	e := entry(t, `reg.acme.io/acme/support-7b:"^1.4"`)
	e.Variant, e.Chosen = three, "format=safetensors,precision=bf16"
	e.Tag, e.Created = "v1.4.2", noon.Add(-time.Hour)
	e.Signer = "https://github.com/acme/train/.github/workflows/release.yml@refs/heads/main"
	e.Issuer = "https://token.actions.githubusercontent.com"
	e.Policy = digest.FromString("policy")
	e.Earlier = []digest.Digest{two, three}
	return e
}

// The bytes are an interface: other tools find digests in them by expressions.
func TestMarshal(t *testing.T) {
	f := &lock.File{}
	for name, e := range map[string]lock.Entry{"support": whole(t), "7b": entry(t, "localhost:5000/acme/m:v1"), "true": entry(t, `reg.io/a:">=1 <2"`)} {
		if err := f.Set(name, e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := f.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	want := `version: 1
models:
  "7b":
    reference: localhost:5000/acme/m:v1
    digest: ` + one.String() + `
    files: ` + two.String() + `
    resolved: 2026-11-22T12:00:00Z
  support:
    reference: reg.acme.io/acme/support-7b:^1.4
    digest: ` + one.String() + `
    variant: ` + three.String() + `
    chosen: format=safetensors,precision=bf16
    files: ` + two.String() + `
    tag: v1.4.2
    created: 2026-11-22T11:00:00Z
    signer: https://github.com/acme/train/.github/workflows/release.yml@refs/heads/main
    issuer: https://token.actions.githubusercontent.com
    policy: ` + digest.FromString("policy").String() + `
    resolved: 2026-11-22T12:00:00Z
    earlier:
      - ` + two.String() + `
      - ` + three.String() + `
  "true":
    reference: "reg.io/a:>=1 <2"
    digest: ` + one.String() + `
    files: ` + two.String() + `
    resolved: 2026-11-22T12:00:00Z
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	again, err := lock.Parse(got)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(f.Models, again.Models); diff != "" {
		t.Errorf("read again: %s", diff)
	}
}

func TestMarshalRefuses(t *testing.T) {
	tests := map[string]func(e *lock.Entry){
		"no digest":                func(e *lock.Entry) { e.Digest = "" },
		"wrong digest":             func(e *lock.Entry) { e.Files = "sha256:1" },
		"newline":                  func(e *lock.Entry) { e.Signer = "a\nb" },
		"line separator":           func(e *lock.Entry) { e.Signer = "a\u2028b" },
		"not UTF-8":                func(e *lock.Entry) { e.Chosen = "\xff" },
		"another digest":           func(e *lock.Entry) { e.Reference = e.Reference.WithDigest(two) },
		"no registry":              func(e *lock.Entry) { e.Reference = parse(t, "hf://org/model") },
		"too many earlier digests": func(e *lock.Entry) { e.Earlier = make([]digest.Digest, lock.MaxEarlier+1) },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f, e := &lock.File{}, entry(t, "reg.io/a:v1")
			change(&e)
			if err := f.Set("a", e); err != nil {
				t.Fatal(err)
			}
			if raw, err := f.Marshal(); err == nil {
				t.Errorf("written as %s", raw)
			}
		})
	}
	f := &lock.File{}
	for _, name := range []string{"", "A", "a b", "-a", "a/b", "ä", strings.Repeat("a", 65)} {
		if err := f.Set(name, entry(t, "reg.io/a:v1")); !errors.Is(err, lock.ErrName) {
			t.Errorf("Set(%q) = %v, want ErrName", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	good := `version: 1
models:
  a:
    reference: reg.io/a:v1
    digest: ` + one.String() + `
    files: ` + two.String() + `
    resolved: 2026-11-22T12:00:00Z
`
	if _, err := lock.Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	change := func(old, with string) string {
		t.Helper()
		if !strings.Contains(good, old) {
			t.Fatalf("no %q", old)
		}
		return strings.Replace(good, old, with, 1)
	}
	tests := map[string]struct{ in, want string }{
		"empty":                {"", "empty"},
		"only a comment":       {"# a\n", "empty"},
		"a list":               {"- a\n", "keys with values"},
		"another version":      {change("version: 1", "version: 2"), "not known"},
		"no version":           {change("version: 1\n", ""), "not known"},
		"no models":            {"version: 1\n", "models is missing"},
		"null models":          {"version: 1\nmodels:\n", "keys with values"},
		"unknown key":          {good + "more: 1\n", `unknown key "more"`},
		"unknown key of model": {change("    files", "    sha: a\n    files"), `unknown key "sha"`},
		"key twice":            {change("    files", "    digest: "+two.String()+"\n    files"), "twice"},
		"model twice":          {good + good[strings.Index(good, "  a:"):], "twice"},
		"second document":      {good + "---\n" + good, "more than one document"},
		"bad name":             {change("  a:", "  A:"), "name of a locked model"},
		"short name":           {change("reg.io/a:v1", "a:v1"), "no registry host"},
		"file":                 {change("reg.io/a:v1", "file:///etc"), "in no registry"},
		"no digest":            {change("    digest: "+one.String()+"\n", ""), "digest is missing"},
		"short digest":         {change(one.String(), "sha256:1234"), "digest"},
		"upper case digest":    {change(one.String(), strings.ToUpper(one.String())), "digest"},
		"alias":                {change("reg.io/a:v1", "&x reg.io/a:v1"), "anchors"},
		"tag":                  {change("reg.io/a:v1", "!!binary reg.io/a:v1"), "tag"},
		"merge":                {change("    files", "    <<: {}\n    files"), "text is expected"},
		"list for text":        {change("reg.io/a:v1", "[reg.io/a:v1]"), "text is expected"},
		"local time":           {change("12:00:00Z", "12:00:00+02:00"), "UTC"},
		"no time":              {change("2026-11-22T12:00:00Z", "yesterday"), "resolved"},
		"merge conflict":       {change("    digest", "<<<<<<< HEAD\n    digest"), "merge conflict"},
		"not UTF-8":            {change("reg.io/a:v1", "reg.io/a:\xff"), "UTF-8"},
		"control character":    {change("    resolved", "    signer: \"a\\x1b[0m\"\n    resolved"), "control characters"},
		"too large":            {good + strings.Repeat("#\n", lock.MaxBytes/2), "bytes"},
		"reference elsewhere":  {change("reg.io/a:v1", "reg.io/a@"+two.String()), "another digest"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := lock.Parse([]byte(tt.in))
			if !errors.Is(err, lock.ErrMalformed) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Parse error = %v, want ErrMalformed with %q", err, tt.want)
			}
		})
	}
}

func TestFind(t *testing.T) {
	f := &lock.File{}
	for name, e := range map[string]lock.Entry{"support": whole(t), "a1": entry(t, "reg.io/a:v1"), "a2": entry(t, "reg.io/a:v2")} {
		if err := f.Set(name, e); err != nil {
			t.Fatal(err)
		}
	}
	tests := map[string]struct {
		in, want string
		err      error
	}{
		"name":                {"support", "support", nil},
		"range":               {`reg.acme.io/acme/support-7b:"^1.4"`, "support", nil},
		"tag it led to":       {"reg.acme.io/acme/support-7b:v1.4.2", "support", nil},
		"repository":          {"reg.acme.io/acme/support-7b", "support", nil},
		"digest":              {"reg.acme.io/acme/support-7b@" + one.String(), "support", nil},
		"variant":             {"reg.acme.io/acme/support-7b@" + three.String(), "support", nil},
		"short digest":        {"reg.acme.io/acme/support-7b@" + one.Encoded()[:12], "support", nil},
		"one of two":          {"reg.io/a:v2", "a2", nil},
		"which":               {"reg.io/a", "", lock.ErrName},
		"another tag":         {"reg.acme.io/acme/support-7b:v1.5.0", "", lock.ErrDrift},
		"another range":       {`reg.acme.io/acme/support-7b:"^1"`, "", lock.ErrDrift},
		"another digest":      {"reg.acme.io/acme/support-7b@" + two.String(), "support", lock.ErrDrift},
		"another short one":   {"reg.acme.io/acme/support-7b@" + two.Encoded()[:12], "support", lock.ErrDrift},
		"another repository":  {"reg.acme.io/acme/support", "", lock.ErrDrift},
		"another registry":    {"reg.example.com/acme/support-7b", "", lock.ErrDrift},
		"another of two tags": {"reg.io/a:v3", "", lock.ErrDrift},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var r *ref.Reference
			if parsed, err := ref.Parse(tt.in); err == nil {
				r = &parsed
			}
			got, _, err := f.Find(tt.in, r)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("Find = %q, %v; want %q, %v", got, err, tt.want, tt.err)
			}
		})
	}
	if _, _, err := f.Find("nobody", nil); !errors.Is(err, lock.ErrDrift) || !strings.Contains(err.Error(), "a1, a2, support") {
		t.Errorf("a name that is not there: %v", err)
	}
}

func TestFollow(t *testing.T) {
	was := entry(t, `reg.io/a:"^1"`)
	was.Tag, was.Created, was.Earlier = "v1.4.0", noon, []digest.Digest{two, three}
	next := func(d digest.Digest, tag string, created time.Time) lock.Entry {
		e := was
		e.Digest, e.Tag, e.Created, e.Earlier = d, tag, created, nil
		return e
	}
	four := digest.FromString("four")
	tests := map[string]struct {
		next      lock.Entry
		downgrade bool
		earlier   []digest.Digest
		err       error
	}{
		"same":                       {next: next(one, "v1.4.0", noon), earlier: []digest.Digest{two, three}},
		"newer":                      {next: next(four, "v1.5.0", noon), earlier: []digest.Digest{one, two, three}},
		"newer, made before":         {next: next(four, "1.5.0", noon.Add(-time.Hour)), earlier: []digest.Digest{one, two, three}},
		"no time":                    {next: next(four, "prod", time.Time{}), err: lock.ErrDowngrade},
		"same version, no time":      {next: next(four, "v1.4.0", time.Time{}), err: lock.ErrDowngrade},
		"newer, no time":             {next: next(four, "v1.4.1", time.Time{}), earlier: []digest.Digest{one, two, three}},
		"allowed, no time":           {next: next(four, "prod", time.Time{}), downgrade: true, earlier: []digest.Digest{one, two, three}},
		"lower version":              {next: next(four, "v1.3.9", noon.Add(time.Hour)), err: lock.ErrDowngrade},
		"before the release":         {next: next(four, "v1.4.0-rc.1", noon), err: lock.ErrDowngrade},
		"same version, made earlier": {next: next(four, "v1.4.0", noon.Add(-time.Second)), err: lock.ErrDowngrade},
		"no version, made earlier":   {next: next(four, "prod", noon.Add(-time.Second)), err: lock.ErrDowngrade},
		"locked before":              {next: next(two, "v1.5.0", noon.Add(time.Hour)), err: lock.ErrDowngrade},
		"locked long before":         {next: next(three, "prod", time.Time{}), err: lock.ErrDowngrade},
		"allowed":                    {next: next(four, "v1.3.9", noon), downgrade: true, earlier: []digest.Digest{one, two, three}},
		"allowed, locked before":     {next: next(two, "v1.3.0", noon), downgrade: true, earlier: []digest.Digest{three}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := was.Follow(tt.next, tt.downgrade)
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Fatalf("error = %v, want %v", err, tt.err)
			}
			if diff := cmp.Diff(tt.earlier, got.Earlier, cmpopts.EquateEmpty()); err == nil && diff != "" {
				t.Error(diff)
			}
		})
	}
	e := was
	e.Created = time.Time{}
	for i := range 3 * lock.MaxEarlier {
		var err error
		if e, err = e.Follow(next(digest.FromString(strings.Repeat("x", i)), "prod", time.Time{}), false); err != nil {
			t.Fatal(err)
		}
	}
	if len(e.Earlier) != lock.MaxEarlier {
		t.Errorf("%d versions are remembered, want %d", len(e.Earlier), lock.MaxEarlier)
	}
}

// The digest is what sha256sum says of the documented lines.
func TestFilesDigest(t *testing.T) {
	files := []lock.ModelFile{{"b", 2, two}, {"a/c", 1, one}, {"a b", 3, three}}
	lines := three.String() + " 3 a b\n" + one.String() + " 1 a/c\n" + two.String() + " 2 b\n"
	if got, want := lock.FilesDigest(files), digest.FromString(lines); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if files[0].Path != "b" {
		t.Error("the argument was sorted in place")
	}
}

func TestLocate(t *testing.T) {
	root := t.TempDir()
	mkdir := func(elem ...string) string {
		dir := filepath.Join(append([]string{root}, elem...)...)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	write := func(dir string) {
		if err := os.WriteFile(filepath.Join(dir, lock.Name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(root) // above all repositories: nobody's
	mkdir("repo", ".git")
	deep := mkdir("repo", "deploy", "prod")
	outside := mkdir("outside")
	want := func(dir, file string) {
		t.Helper()
		got, err := lock.Locate(dir)
		if got != file || (file == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Locate(%s) = %q, %v; want %q", dir, got, err, file)
		}
	}
	want(root, filepath.Join(root, lock.Name))
	want(deep, "")
	want(outside, "")
	write(filepath.Join(root, "repo"))
	want(deep, filepath.Join(root, "repo", lock.Name))
	write(filepath.Dir(deep))
	want(deep, filepath.Join(root, "repo", "deploy", lock.Name))
}

func TestWrite(t *testing.T) {
	file := filepath.Join(t.TempDir(), lock.Name)
	f := &lock.File{}
	set := func(f *lock.File, name string) {
		t.Helper()
		if err := f.Set(name, entry(t, "reg.io/a:v1")); err != nil {
			t.Fatal(err)
		}
	}
	set(f, "a")
	if err := lock.Write(file, f); err != nil {
		t.Fatal(err)
	}
	mine, err := lock.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	set(f, "b")
	if err := lock.Write(file, f); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	set(mine, "c")
	if err := lock.Write(file, mine); !errors.Is(err, lock.ErrChanged) {
		t.Errorf("what another wrote meanwhile: %v, want ErrChanged", err)
	}
	if err := lock.Write(file, &lock.File{}); !errors.Is(err, lock.ErrChanged) {
		t.Errorf("over a file that was not read: %v, want ErrChanged", err)
	}
	got, err := lock.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got.Names()); diff != "" {
		t.Error(diff)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// FuzzParse states that what parses is written in a form that parses to the
// same, and is then written alike.
func FuzzParse(f *testing.F) {
	e := `    reference: reg.io/a:v1
    digest: ` + one.String() + `
    files: ` + two.String() + `
    resolved: 2026-11-22T12:00:00Z
`
	f.Add([]byte("version: 1\nmodels:\n  a:\n" + e))
	f.Add([]byte("version: 1\nmodels: {}\n"))
	f.Add([]byte("version: \"1\"\nmodels:\n  \"7b\":\n" + e + "    signer: \"a b \\u00e4: #\"\n    earlier:\n      - " + one.String() + "\n"))
	f.Add([]byte("version: 1\nmodels:\n  a: &a\n" + e + "  b: *a\n"))
	f.Add(bytes.Repeat([]byte("["), 20000))
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := lock.Parse(raw)
		if err != nil {
			if !errors.Is(err, lock.ErrMalformed) {
				t.Fatalf("error of another kind: %v", err)
			}
			return
		}
		out, err := got.Marshal()
		if err != nil {
			t.Fatalf("%q parses, and cannot be written: %v", raw, err)
		}
		again, err := lock.Parse(out)
		if err != nil {
			t.Fatalf("%q is written as %q, which does not parse: %v", raw, out, err)
		}
		if diff := cmp.Diff(got.Models, again.Models); diff != "" {
			t.Fatalf("%q is written as %q: %s", raw, out, diff)
		}
		if twice, err := again.Marshal(); err != nil || !bytes.Equal(twice, out) {
			t.Fatalf("%q is written as %q, %v", out, twice, err)
		}
	})
}
