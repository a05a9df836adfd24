package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// Names that leave the destination, or mean something else elsewhere, are
// refused before a byte of any blob is fetched.
func TestHostilePaths(t *testing.T) {
	tests := map[string]struct {
		paths []string
		text  string
	}{
		"dot dot":               {[]string{"../x"}, `"../x"`},
		"dot dot in the middle": {[]string{"a/../../x"}, `"a/../../x"`},
		"dot":                   {[]string{"./x"}, "component ."},
		"absolute":              {[]string{"/etc/x"}, "absolute"},
		"backslash":             {[]string{`..\x`}, "backslash"},
		"drive":                 {[]string{`C:\x`}, "unsafe: path"},
		"drive, relative":       {[]string{"C:x"}, "colon"},
		"UNC":                   {[]string{`\\host\share\x`}, "unsafe: path"},
		"UNC with slashes":      {[]string{"//host/share/x"}, "unsafe: path"},
		"device":                {[]string{"CON"}, "device name"},
		"device with extension": {[]string{"a/nul.txt"}, "device name"},
		"superscript device":    {[]string{"COM¹"}, "device name"},
		"stream":                {[]string{"x:stream"}, "colon"},
		"trailing dot":          {[]string{"x."}, "ends in a dot"},
		"trailing space":        {[]string{"x /y"}, "ends in a dot or space"},
		"same path twice":       {[]string{"x", "x"}, "duplicate path"},
		"file and directory":    {[]string{"x", "x/y"}, "both a file and a directory"},
		"case":                  {[]string{"README", "readme"}, "collision"},
		"case of a directory":   {[]string{"A/x", "a/y"}, "collision"},
		"case that folds":       {[]string{"straße", "STRASSE"}, "collision"},
		"normal forms":          {[]string{"é", "e\u0301"}, "unsafe: path"},
		"decomposed":            {[]string{"e\u0301"}, "normal form"},
		"git":                   {[]string{".git/config"}, ".git"},
		"git below":             {[]string{"a/.GIT/hooks/post-checkout"}, ".git"},
		"our own record":        {[]string{".modelreg/pull.json"}, ".modelreg"},
		"our own stage":         {[]string{".modelreg-out.partial/lock"}, ".modelreg"},
		"long component":        {[]string{strings.Repeat("x", 256)}, "too long"},
		"long path":             {[]string{strings.Repeat("xxxxxxx/", 600) + "x"}, "too long"},
		"2000 levels":           {[]string{strings.Repeat("d/", 2000) + "x"}, "too long"},
		"33 levels":             {[]string{strings.Repeat("d/", 32) + "x"}, "32 levels"},
		"newline":               {[]string{"a\nmodelreg: pulled"}, "control character"},
		"escape":                {[]string{"a\x1b[2J"}, "control character"},
		"C1":                    {[]string{"a\u009b2J"}, "control character"},
		"NUL":                   {[]string{"a\x00b"}, "control character"},
		"bidi":                  {[]string{"a\u202enib.exe"}, "invisible"},
		"zero width":            {[]string{"a\u200bb"}, "invisible"},
		"empty":                 {[]string{""}, "no path"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			hostileCase{make: files(tt.paths...), code: exitUnsafe, text: tt.text}.try(t)
		})
	}
}

// A manifest that two readers could take for two things, or that is not what
// it says, is refused before a byte of any blob is fetched.
func TestHostileManifests(t *testing.T) {
	insert := func(members string) func(l *layout) []byte {
		return rewritten(func(s string) string { return strings.Replace(s, "{", "{"+members+",", 1) })
	}
	good := strings.Repeat("0", 64)
	tests := map[string]hostileCase{
		"digest in upper case":     {make: layerEdited("digest", "sha256:"+strings.Repeat("A", 64))},
		"algorithm in upper case":  {make: layerEdited("digest", "SHA256:"+good)},
		"md5":                      {make: layerEdited("digest", "md5:d41d8cd98f00b204e9800998ecf8427e")},
		"sha384":                   {make: layerEdited("digest", "sha384:"+strings.Repeat("0", 96))},
		"short digest":             {make: layerEdited("digest", "sha256:00")},
		"digest that is a path":    {make: layerEdited("digest", "sha256:../../../../etc/passwd")},
		"empty digest":             {make: layerEdited("digest", "")},
		"no digest":                {make: layerEdited("digest", nil)},
		"digest with a line end":   {make: layerEdited("digest", "sha256:"+good[:62]+"\r\n")},
		"digest with a query":      {make: layerEdited("digest", "sha256:"+good[:60]+"?x=1")},
		"digest with a fragment":   {make: layerEdited("digest", "sha256:"+good[:60]+"#x=1")},
		"negative size":            {make: layerEdited("size", -1)},
		"size 2^63":                {make: layerEdited("size", json.Number("9223372036854775808"))},
		"size 2^63-1":              {make: layerEdited("size", json.Number("9223372036854775807"))},
		"size 2^53+1":              {make: layerEdited("size", json.Number("9007199254740993"))},
		"size with a fraction":     {make: layerEdited("size", json.Number("10.5"))},
		"size as text":             {make: layerEdited("size", "10")},
		"no size":                  {make: layerEdited("size", nil)},
		"trailing document":        {make: rewritten(func(s string) string { return s + "{}" })},
		"trailing text":            {make: rewritten(func(s string) string { return s + "x" })},
		"byte order mark":          {make: rewritten(func(s string) string { return "\ufeff" + s })},
		"bad UTF-8":                {make: insert("\"annotations\":{\"a\":\"\xff\"}")},
		"half a surrogate pair":    {make: insert(`"annotations":{"a":"\ud800"}`)},
		"100,000 levels":           {make: insert(`"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000))},
		"100,000 levels, open":     {make: func(*layout) []byte { return []byte(strings.Repeat(`{"a":`, 100_000)) }},
		"layers twice":             {make: insert(`"layers":[]`)},
		"layers and manifests":     {make: insert(`"manifests":[]`)},
		"index served as manifest": {make: indexOf, text: "sent as"},
		"manifest served as index": {make: files("model.bin"), mediaType: ocispec.MediaTypeImageIndex},
		"schema 1":                 {make: schema1, mediaType: "application/vnd.docker.distribution.manifest.v1+prettyjws"},
		"schema version 1":         {make: edited(func(m document) { m["schemaVersion"] = 1 })},
		"empty":                    {make: func(*layout) []byte { return []byte("{}") }},
		"10,001 layers":            {make: files(manyPaths(10_001)...), text: "more than 10000"},
		"4 MiB and a byte":         {make: insert(`"x":"` + strings.Repeat("x", 4<<20) + `"`), text: "4194304 bytes"},
		"257 annotations":          {make: insert(`"annotations":{` + manyMembers(257) + `}`)},
		"config of 16 MiB":         {make: edited(func(m document) { m["config"].(document)["size"] = 16 << 20 }), text: "more than 4194304"},
		"device as a file": {make: edited(func(m document) {
			m["layers"].([]document)[0]["annotations"].(map[string]string)[mediatypes.AnnotationFileMetadata] = `{"name":"model.bin","typeflag":51}`
		}), text: "not a regular file"},
		"embedded data that is not the blob": {make: layerEdited("data", []byte("abcdefghij"))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.code = exitUnsafe
			tt.try(t)
		})
	}
}

// indexOf makes an index, which serve shows as an image manifest.
func indexOf(l *layout) []byte {
	m := l.blob(ocispec.MediaTypeImageManifest, files("model.bin")(l))
	return encoded(l.t, document{"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageIndex, "manifests": []document{m}})
}

func schema1(l *layout) []byte {
	return encoded(l.t, document{"schemaVersion": 1, "name": "acme/model", "tag": "latest", "fsLayers": []document{}, "history": []document{}})
}

func manyPaths(n int) []string {
	paths := make([]string, n)
	for i := range paths {
		paths[i] = fmt.Sprintf("%05d", i)
	}
	return paths
}

func manyMembers(n int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"%d":""`, i)
	}
	return strings.Join(members, ",")
}

// What only blobs show is refused when they have been read, and nothing of
// them is kept.
func TestHostileBlobs(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 200_000) + "1" + strings.Repeat("}", 200_000)
	config := func(text string) func(l *layout) []byte {
		return func(l *layout) []byte { return encoded(l.t, l.modelWith(text, l.file("model.bin", "0123456789"))) }
	}
	diffIDs := func(ids ...string) func(l *layout) []byte {
		return config(`{"modelfs":{"type":"layers","diffIds":["` + strings.Join(ids, `","`) + `"]}}`)
	}
	right, wrong := string(digest.FromString("0123456789")), string(digest.FromString("x"))
	ok := new(exitOK)
	tests := map[string]hostileCase{
		"wrong bytes":     {make: swapped("9876543210"), code: exitIntegrity, text: "model.bin", inspect: ok},
		"size too small":  {make: layerEdited("size", 9), code: exitIntegrity, text: "model.bin", inspect: ok},
		"size too large":  {make: layerEdited("size", 11), code: exitIntegrity, text: "model.bin", inspect: ok},
		"size 2^40":       {make: layerEdited("size", 1<<40), code: exitLocal, text: "are free", inspect: ok, cat: new(exitIntegrity)},
		"empty":           {make: swapped(""), code: exitIntegrity, text: "model.bin", inspect: ok},
		"not there":       {make: layerEdited("digest", wrong), code: exitNotFound, text: "model.bin", inspect: ok},
		"right beginning": {make: extended, code: exitIntegrity, text: "model.bin", inspect: ok},

		"diff id of other bytes":  {make: diffIDs(wrong), code: exitIntegrity, text: "diff id"},
		"diff ids for two layers": {make: diffIDs(right, right), code: exitIntegrity, text: "diff ids for 2 layers"},
		"diff id that is none":    {make: diffIDs("sha256:../x"), code: exitUnsafe, text: "digest"},

		"config of 200,000 levels": {make: config(deep), code: exitUnsafe, text: "config"},
		"config with a tail":       {make: config("{}{}"), code: exitUnsafe, text: "config"},
		"config that is no JSON":   {make: config("\x1b[2J"), code: exitUnsafe, text: "config"},
		"config with a million digits": {
			make: config(`{"modelfs":` + strings.Repeat("9", 1_000_000) + "}"), code: exitUnsafe, text: "config",
		},
		"wrong config": {make: func(l *layout) []byte {
			m := l.model(l.file("model.bin", "0123456789"))
			l.put(m["config"].(document)["digest"].(digest.Digest), []byte(`{"modelfs":{"type":"layers","diffids":[]}}`))
			return encoded(l.t, m)
		}, code: exitIntegrity, text: "config"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.blobs = true
			tt.try(t)
		})
	}
}

// swapped makes a model whose only file has other bytes than it should.
func swapped(text string) func(l *layout) []byte {
	return func(l *layout) []byte {
		m := l.model(l.file("model.bin", "0123456789"))
		l.put(digest.FromString("0123456789"), []byte(text))
		return encoded(l.t, m)
	}
}

// extended makes a model whose only file is served with more behind it.
func extended(l *layout) []byte { return swapped("0123456789 and more")(l) }

// What is no model is told so.
func TestHostileOtherArtifacts(t *testing.T) {
	tests := map[string]hostileCase{
		"signature": {code: exitUsage, text: "not a model", make: func(l *layout) []byte {
			return encoded(l.t, document{
				"schemaVersion": 2, "mediaType": ocispec.MediaTypeImageManifest,
				"config": l.blob(ocispec.MediaTypeImageConfig, []byte("{}")),
				"layers": []document{l.blob("application/vnd.dev.cosign.simplesigning.v1+json", []byte("{}"))},
			})
		}},
		"Helm chart": {code: exitUsage, text: "not a model", make: func(l *layout) []byte {
			return encoded(l.t, document{
				"schemaVersion": 2, "config": l.blob("application/vnd.cncf.helm.config.v1+json", []byte("{}")),
				"layers": []document{l.blob("application/vnd.cncf.helm.chart.content.v1.tar+gzip", []byte("x"))},
			})
		}},
		"no layers":          {code: exitUsage, text: "no layers", make: files()},
		"index without one":  {code: exitNoVariant, mediaType: ocispec.MediaTypeImageIndex, make: indexOf},
		"index without list": {code: exitUnsafe, mediaType: ocispec.MediaTypeImageIndex, make: func(*layout) []byte { return []byte(`{"schemaVersion":2}`) }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) { tt.try(t) })
	}
}

// Where a descriptor says that a blob is elsewhere too, nobody looks there.
func TestHostileURLs(t *testing.T) {
	var asked atomic.Int64
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		fmt.Fprint(w, "0123456789")
	}))
	defer elsewhere.Close()
	for name, url := range map[string]string{
		"loopback": elsewhere.URL + "/blob", "link-local": "http://169.254.169.254/latest/meta-data/", "file": "file:///etc/passwd",
	} {
		t.Run(name, func(t *testing.T) {
			hostileCase{make: layerEdited("urls", []string{url}), code: exitUnsafe, text: "urls"}.try(t)
		})
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests elsewhere", n)
	}
}

// What looks odd and harms nobody is pulled, and only as what it should be.
func TestOddManifests(t *testing.T) {
	evil := `"Layers":[{"mediaType":"application/vnd.cncf.model.weight.v1.raw","digest":"sha256:` + strings.Repeat("0", 64) + `","size":1}],`
	tests := map[string]struct {
		make func(l *layout) []byte
		alg  digest.Algorithm
	}{
		"another spelling of a key": {rewritten(func(s string) string { return strings.Replace(s, "{", "{"+evil, 1) }), digest.SHA256},
		"setuid, owner and time": {edited(func(m document) {
			m["layers"].([]document)[0]["annotations"].(map[string]string)[mediatypes.AnnotationFileMetadata] = `{"name":"../../x","mode":3583,"uid":0,"gid":0,"size":99,"mtime":"9999-12-31T23:59:59Z","typeflag":0}`
		}), digest.SHA256},
		"escapes in annotations": {edited(func(m document) {
			m["annotations"] = map[string]string{"org.opencontainers.image.created": "\x1b[2J", mediatypes.AnnotationTask: "\u202etask\u009b2J", "a\x1b": "\r\x07", ocispec.AnnotationLicenses: "mit\nsignatures  good"}
		}), digest.SHA256},
		"sha512": {inSHA512, digest.SHA512},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			_, ref := l.serve(ocispec.MediaTypeImageManifest, tt.alg, tt.make(l))
			v := newVictim(t)
			v.ends(exitOK, "pulled 1 file", "pull", ref, v.out)
			got := filesIn(t, v.out)
			delete(got, ".modelreg/manifest.json")
			delete(got, ".modelreg/pull.json")
			if diff := cmp.Diff(map[string]string{"model.bin": "0123456789"}, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
			if cat := v.run("cat", ref, "model.bin"); cat.out != "0123456789" {
				t.Errorf("cat printed %q: %s", cat.out, cat.err)
			}
			if got := v.run("inspect", ref); got.code != exitOK || strings.Contains(got.out, "\nsignatures  good") {
				t.Errorf("inspect exits with %d and prints:\n%s%s", got.code, got.out, got.err)
			}
			v.ends(exitOK, "", "ls", ref)
			if got := v.run("inspect", ref, "--format", "json"); !json.Valid([]byte(got.out)) {
				t.Errorf("inspect prints %q", got.out)
			}
			v.ends(exitOK, "", "ls", strings.TrimSuffix(ref, ":latest"))
		})
	}
}

// inSHA512 makes a model that names all it has by sha512.
func inSHA512(l *layout) []byte {
	m := l.model(l.file("model.bin", "0123456789"))
	sha512 := func(desc document, text string) {
		dgst := digest.SHA512.FromString(text)
		l.put(dgst, []byte(text))
		desc["digest"] = dgst
	}
	sha512(m["config"].(document), `{"modelfs":{"type":"layers","diffIds":[]}}`)
	sha512(m["layers"].([]document)[0], "0123456789")
	return encoded(l.t, m)
}

// A blob is hashed by the algorithm that its digest names.
func TestHostileSHA512(t *testing.T) {
	l := newLayout(t)
	raw := inSHA512(l)
	l.put(digest.SHA512.FromString("0123456789"), []byte("9876543210"))
	_, name := l.serve(ocispec.MediaTypeImageManifest, digest.SHA512, raw)
	v := newVictim(t)
	v.ends(exitIntegrity, "model.bin", "pull", name, v.out)
	v.untouched()
}
