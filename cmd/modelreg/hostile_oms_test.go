package main

import (
	"archive/tar"
	"os"
	"path/filepath"
	"slices"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/internal/testreg"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/oms"
)

// certified makes a signer whom an authority has certified, and returns the file of
// the authority's certificate.
func certified(t *testing.T) (s *signing.Signer, root string) {
	t.Helper()
	private, public, err := signing.GenerateKeyPair(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "team.pub"), public, 0o600); err != nil {
		t.Fatal(err)
	}
	certify(t, dir, "team.pub")
	var chain []byte
	for _, name := range []string{"leaf.pem", "chain.pem"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, text...)
	}
	if s, err = signing.LoadSigner(private, nil); err != nil {
		t.Fatal(err)
	}
	if s, err = s.WithCertificates(chain); err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(dir, "root.pem")
}

// Who may push and has no key takes the signature of a version's files, and
// attaches it to a version that has more than those.
func TestHostileSignedFiles(t *testing.T) {
	f := newForger(t, testreg.Options{})
	signer, root := certified(t)
	layer := func(encoding mediatypes.Encoding, path string, data []byte) ocispec.Descriptor {
		desc := f.blob(f.repo, mediatypes.LayerType(mediatypes.KindWeight, encoding), data)
		desc.Annotations = map[string]string{mediatypes.AnnotationFilepath: path}
		return desc
	}
	evil := archive(t, member{"modeling_x.py", tar.TypeReg, "import os"})
	weights := layer(mediatypes.Raw, "model.bin", []byte("0123456789"))
	data := layer(mediatypes.Raw, "data.tar", evil) // a file like others
	st, err := oms.New("model", []oms.Resource{{Name: "model.bin", Digest: weights.Digest}, {Name: "data.tar", Digest: data.Digest}}, []string{"logs"})
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := oms.Sign(t.Context(), st, signer)
	if err != nil {
		t.Fatal(err)
	}
	config := f.blob(f.repo, mediatypes.ConfigModel, []byte("{}"))
	const archived = "is an archive without a list of what is in it"
	for _, tt := range []struct {
		name   string
		layers []ocispec.Descriptor
		want   string // in the error; empty for none
		alone  bool   // where nobody has signed the version, and else not
	}{
		{"an archive called as what is left out", []ocispec.Descriptor{weights, data, layer(mediatypes.Tar, ".github", evil)}, archived, false},
		{"an archive called as what the signer left out", []ocispec.Descriptor{weights, data, layer(mediatypes.Tar, "logs", evil)}, archived, false},
		{"a compressed one", []ocispec.Descriptor{weights, data, layer(mediatypes.TarGzip, ".gitattributes", compressions[mediatypes.TarGzip](evil))}, archived, false},
		{"a file that becomes what is in it", []ocispec.Descriptor{weights, layer(mediatypes.Tar, "data.tar", evil)}, archived, false},
		{"another file", []ocispec.Descriptor{weights, data, layer(mediatypes.Raw, "x.py", []byte("import os"))}, "1 are not signed", false},
		{"what the signer left out", []ocispec.Descriptor{weights, data, layer(mediatypes.Raw, "logs/x.py", []byte("import os"))}, "1 are not signed", true},
		{"below a name that is left out", []ocispec.Descriptor{weights, data, layer(mediatypes.Raw, ".gitattributes/x.py", []byte("import os"))}, "1 are not signed", true},
		{"what git's hosts obey", []ocispec.Descriptor{weights, data, layer(mediatypes.Raw, ".github/x.yml", []byte("on: push"))}, "1 are not signed", true},
		{"notes to git", []ocispec.Descriptor{weights, data, layer(mediatypes.Raw, ".gitattributes", []byte("*.bin -text"))}, "", false},
		{"as it was signed", []ocispec.Descriptor{weights, data}, "", false},
	} {
		desc := f.manifest(f.repo, "v1", document{
			"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest, "artifactType": mediatypes.ArtifactModel,
			"config": config, "layers": tt.layers,
		})
		target := signing.Target{Repository: f.reg.Host + "/acme/model", Descriptor: desc}
		if _, err := signing.AttachDetached(t.Context(), f.repo, target, bundle, oms.PredicateType); err != nil {
			t.Fatal(err)
		}
		t.Run(tt.name, func(t *testing.T) {
			pull := []string{"pull", f.ref("v1"), f.out, "--oms", "--no-cache", "--allow-dotfiles", "--force"}
			verify := append(slices.Clip(pull), "--verify", "--ca-roots", root)
			if tt.want == "" {
				f.ends(exitOK, "", verify...)
				return
			}
			f.ends(exitUnverified, tt.want, verify...)
			if !tt.alone {
				f.ends(exitUnverified, tt.want, pull...)
			}
			f.untouched()
		})
	}
}
