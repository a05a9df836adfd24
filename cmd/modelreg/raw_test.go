package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// What is no model is refused with a hint, and taken as it is with --raw.
func TestPullRaw(t *testing.T) {
	l := newLayout(t)
	chart := l.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("no archive at all"))
	evil := l.blob("application/vnd.cncf.helm.chart.provenance.v1.prov", []byte("prov"))
	evil["annotations"] = map[string]string{ocispec.AnnotationTitle: "../../sentinel"}
	dot := l.blob("application/x", []byte("dot"))
	dot["annotations"] = map[string]string{ocispec.AnnotationTitle: ".bashrc"}
	config := l.blob("application/vnd.cncf.helm.config.v1+json", []byte(`{"name":"x"}`))
	raw := func(layers ...document) []byte {
		return encoded(t, document{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": config, "layers": layers})
	}
	_, ref := l.serve(ocispec.MediaTypeImageManifest, digest.SHA256, raw(chart, evil))
	v := newVictim(t)
	v.ends(exitUsage, "not a model artifact", "pull", ref, v.out)
	v.ends(exitUsage, `"modelreg pull --raw"`, "inspect", ref)
	v.untouched()
	v.ends(exitOK, "a layer called ../../sentinel is in sha256-", "pull", "--raw", ref, v.out)
	got := filesIn(t, v.out)
	want := map[string]string{
		"manifest.json": string(raw(chart, evil)), "config.json": `{"name":"x"}`,
		"sha256-" + digest.FromString("no archive at all").Encoded(): "no archive at all", "sha256-" + digest.FromString("prov").Encoded(): "prov",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if len(got) != len(want)+2 {
		t.Errorf("files: %v", got)
	}

	l = newLayout(t)
	config = l.blob("application/vnd.cncf.helm.config.v1+json", []byte(`{}`))
	l.put(digest.FromString("dot"), []byte("dot"))
	_, ref = l.serve(ocispec.MediaTypeImageManifest, digest.SHA256, raw(dot))
	v = newVictim(t)
	v.ends(exitUnsafe, "--allow-dotfiles", "pull", "--raw", ref, v.out)
	v.untouched()
	v.ends(exitOK, "pulled 3 files", "pull", "--raw", "--allow-dotfiles", ref, v.out)
}

// From an index one manifest must be chosen; of several none is better.
func TestPullRawIndex(t *testing.T) {
	for n := range 3 {
		l := newLayout(t)
		var children []document
		for i := range n {
			m := encoded(t, document{
				"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "config": l.blob(ocispec.MediaTypeImageConfig, []byte("{}")),
				"layers": []document{l.blob(ocispec.MediaTypeImageLayer, slices.Repeat([]byte("x"), i+1))},
			})
			children = append(children, l.blob(ocispec.MediaTypeImageManifest, m))
		}
		if children == nil {
			children = []document{}
		}
		_, ref := l.serve(ocispec.MediaTypeImageIndex, digest.SHA256, encoded(t, document{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": children,
		}))
		v := newVictim(t)
		if n != 1 {
			v.ends(exitNoVariant, "name one by digest", "pull", "--raw", ref, v.out)
			v.untouched()
			continue
		}
		v.ends(exitOK, "pulled 3 files", "pull", "--raw", ref, v.out)
		if got := v.run("pull", "--raw", strings.TrimSuffix(ref, ":latest")+"@"+string(children[0]["digest"].(digest.Digest)), v.out); got.code != exitOK {
			t.Errorf("by digest: %s", got.err)
		}
	}
}
