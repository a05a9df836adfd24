package artifact_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// A layout serves the blobs of an OCI layout by their file names, whatever is
// in them: hostile layouts have blobs that are not what their names say.
type layout string

func (l layout) Fetch(_ context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	if err := desc.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("asked for %q: %w", desc.Digest, err)
	}
	f, err := os.Open(filepath.Join(string(l), "blobs", "sha256", desc.Digest.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		err = errdef.ErrNotFound
	}
	return f, err
}

// unpackWitnessed opens and unpacks into parent/target, beside a file that must
// stay as it is.
func unpackWitnessed(t *testing.T, src content.Fetcher, desc ocispec.Descriptor) (map[string]string, error) {
	t.Helper()
	outer := t.TempDir()
	parent := filepath.Join(outer, "parent")
	writeTree(t, outer, map[string]string{"sentinel": "untouched", "parent/sentinel": "untouched"})
	out := filepath.Join(parent, "target")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	a, err := artifact.Open(ctx, src, desc)
	if err == nil {
		_, err = artifact.Unpack(ctx, a, src, out, artifact.UnpackOptions{})
	}
	if err != nil {
		want := map[string]string{"sentinel": "untouched", "parent/sentinel": "untouched"}
		if diff := cmp.Diff(want, readTree(t, outer)); diff != "" {
			t.Errorf("outside the target (-want +got):\n%s", diff)
		}
		if left := leftovers(t, parent, "sentinel"); left != nil {
			t.Errorf("left: %v", left)
		}
		if strings.ContainsAny(err.Error(), "\x1b\x00\r\n") {
			t.Errorf("message %q", err)
		}
		return nil, err
	}
	checkModes(t, out)
	got := readTree(t, outer)
	maps.DeleteFunc(got, func(p, _ string) bool { return strings.HasPrefix(p, "parent/target/") })
	if diff := cmp.Diff(map[string]string{"sentinel": "untouched", "parent/sentinel": "untouched"}, got); diff != "" {
		t.Errorf("outside the target (-want +got):\n%s", diff)
	}
	return readTree(t, out), nil
}

func TestHostileLayouts(t *testing.T) {
	tests := map[string]struct {
		digest string
		size   int64
		want   error
	}{
		"m01_dotdot":          {"3e31c1cf885228e034a5603c9a872bdc2b36e634377bfeb228b8540cdfa0a298", 752, artifact.ErrUnsafe},
		"m02_abs":             {"4b3c1c8508dd26ea0791e1867c32f1e9f45661ed840074eb34675d1ec8bd3b83", 550, artifact.ErrUnsafe},
		"m04_same_path_twice": {"8282dd69dd3828467427fe32892ba0cd8d7d304aad6ff13df1c0df1639af062c", 740, artifact.ErrUnsafe},
		"m35_wrong_bytes":     {"86787ad5077081d823a2b01b3a6c85252ac09f821bd565cde52083f90959e398", 531, content.ErrMismatchedDigest},
		"m38_digest_path":     {"c1fb60a84f8dd1c861e60afb3d058dd7cc70ddc68fcc67965c13085aa2f6875f", 504, artifact.ErrUnsafe},
		"m90_ok":              {"047aa3d0927f1bedf3eaa1e461fc05a5910ab42d307f310bbc8b70e065769cad", 753, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.NewDigestFromEncoded(digest.SHA256, tt.digest), Size: tt.size}
			files, err := unpackWitnessed(t, layout(filepath.Join("testdata", "hostile", "oci", name)), desc)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if tt.want == nil && len(files) != 2 {
				t.Errorf("files %v", files)
			}
		})
	}
}

// A blob shorter than its descriptor says cannot be told from a broken
// connection; it is given up after some tries.
func TestHostileSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const manifest = "ab9fc3feebc176010dbf226f5df90c69d7c2a8ccd2bef5d49439728d2687edd1"
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.NewDigestFromEncoded(digest.SHA256, manifest), Size: 534}
		if files, err := unpackWitnessed(t, layout(filepath.Join("testdata", "hostile", "oci", "m31_size_big")), desc); err == nil {
			t.Errorf("unpacked %v", files)
		}
	})
}

// unpackTar unpacks one tar layer.
func unpackTar(t *testing.T, enc mediatypes.Encoding, data []byte) (map[string]string, error) {
	t.Helper()
	b := newBlobs()
	return unpackWitnessed(t, b, modelPack(b, layerSpec{mediatypes.LayerType(mediatypes.KindWeight, enc), data, named("x")}))
}

func TestHostileTarFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/hostile/tar/*.tar")
	if err != nil || len(files) != 6 {
		t.Fatalf("%d archives, %v", len(files), err)
	}
	for _, name := range files {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			good := strings.HasPrefix(filepath.Base(name), "t90")
			for enc, data := range map[mediatypes.Encoding][]byte{
				mediatypes.Tar: data, mediatypes.TarGzip: gzipOf(data), mediatypes.TarZstd: zstdOf(data),
			} {
				_, err := unpackTar(t, enc, data)
				if good && err != nil || !good && !errors.Is(err, artifact.ErrUnsafe) {
					t.Errorf("%s: error %v", enc, err)
				}
			}
		})
	}
}

// header makes a ustar header by hand, for what archive/tar would not write.
func header(name string, flag byte, size string) []byte {
	h := make([]byte, 512)
	copy(h, name)
	copy(h[100:], "0000644\x00")
	copy(h[108:], "0000000\x000000000\x00")
	copy(h[124:], size)
	copy(h[136:], "00000000000\x00")
	copy(h[148:], "        ")
	h[156] = flag
	copy(h[257:], "ustar\x0000")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	return h
}

// base256 is a size as GNU tar writes large ones.
func base256(n int64) string {
	b := make([]byte, 12)
	b[0] = 0x80
	for i := range 8 {
		b[11-i] = byte(n >> (8 * i))
	}
	return string(b)
}

func pax(records map[string]string) []byte {
	var body strings.Builder
	for k, v := range records {
		n := len(k) + len(v) + 3
		n += len(strconv.Itoa(n + len(strconv.Itoa(n))))
		fmt.Fprintf(&body, "%d %s=%s\n", n, k, v)
	}
	text := body.String()
	padded := append([]byte(text), make([]byte, (512-len(text)%512)%512)...)
	return append(header("pax", tar.TypeXHeader, fmt.Sprintf("%011o\x00", len(text))), padded...)
}

func TestHostileTars(t *testing.T) {
	ok := file("a/ok.txt", "ok")
	one := func(name string) []byte { return tarOf(ok, file(name, "x")) }
	end := make([]byte, 1024)
	raw := func(parts ...[]byte) []byte { return append(bytes.Join(parts, nil), end...) }
	setuid := file("a/x", "x")
	setuid.Mode, setuid.ModTime, setuid.Uname, setuid.Uid = 0o6777, time.Unix(1<<40, 0), "root", 12345
	unreadable := file("d/", "")
	unreadable.Mode = 0
	deep := strings.Repeat("d/", 2000) + "x"
	tests := map[string]struct {
		data []byte
		want error
		text string
	}{
		"dot dot":                {one("../x"), artifact.ErrUnsafe, "component .."},
		"absolute":               {one("/tmp/x"), artifact.ErrUnsafe, "absolute"},
		"dot dot in the middle":  {one("a/../../x"), artifact.ErrUnsafe, "component .."},
		"backslash":              {one(`..\x`), artifact.ErrUnsafe, "backslash"},
		"drive":                  {one("C:x"), artifact.ErrUnsafe, "colon"},
		"UNC":                    {one(`\\h\s\x`), artifact.ErrUnsafe, "backslash"},
		"absolute link":          {tarOf(link("l", "/tmp"), file("l/x", "x")), artifact.ErrUnsafe, "symbolic link"},
		"relative link":          {tarOf(link("l", "../.."), file("l/x", "x")), artifact.ErrUnsafe, "symbolic link"},
		"link inside":            {tarOf(ok, link("l", "a/ok.txt")), artifact.ErrUnsafe, "symbolic link"},
		"chain of links":         {tarOf(link("a", "."), link("a/b", ".."), file("a/b/x", "x")), artifact.ErrUnsafe, "symbolic link"},
		"hard link out":          {tarOf(special("l", tar.TypeLink)), artifact.ErrUnsafe, "hard link"},
		"hard link inside":       {tarOf(file("x", "x"), special("l", tar.TypeLink)), artifact.ErrUnsafe, "hard link"},
		"character device":       {tarOf(special("d", tar.TypeChar)), artifact.ErrUnsafe, "device"},
		"block device":           {tarOf(special("d", tar.TypeBlock)), artifact.ErrUnsafe, "device"},
		"named pipe":             {tarOf(special("p", tar.TypeFifo)), artifact.ErrUnsafe, "named pipe"},
		"unknown type":           {raw(header("x", 'Z', "00000000000\x00")), artifact.ErrUnsafe, "type"},
		"contiguous file":        {raw(header("x", tar.TypeCont, "00000000000\x00")), artifact.ErrUnsafe, "type"},
		"same file twice":        {tarOf(file("x", "1"), file("x", "2")), artifact.ErrUnsafe, "duplicate path"},
		"file and directory":     {tarOf(file("x", "1"), file("x/y", "2")), artifact.ErrUnsafe, "both a file and a directory"},
		"directory and file":     {tarOf(file("x/", ""), file("x", "2")), artifact.ErrUnsafe, "both a file and a directory"},
		"case":                   {tarOf(file("README", "1"), file("readme", "2")), artifact.ErrUnsafe, "collision"},
		"case of directories":    {tarOf(file("D/a", "1"), file("d/b", "2")), artifact.ErrUnsafe, "collision"},
		"decomposed":             {tarOf(file("e\u0301", "1")), artifact.ErrUnsafe, "normal form"},
		"device name":            {one("CON"), artifact.ErrUnsafe, "device name"},
		"stream":                 {one("x:stream"), artifact.ErrUnsafe, "colon"},
		"trailing dot":           {one("x."), artifact.ErrUnsafe, "ends in a dot"},
		"newline and escapes":    {one("a\n\x1b[31m"), artifact.ErrUnsafe, "control character"},
		"bidi":                   {one("a\u202etxt.exe"), artifact.ErrUnsafe, "invisible"},
		"256 byte component":     {one(strings.Repeat("x", 256)), artifact.ErrUnsafe, "too long"},
		"long path":              {one(strings.Repeat("xxxxxxx/", 600) + "x"), artifact.ErrUnsafe, "too long"},
		"2000 levels":            {one(deep), artifact.ErrUnsafe, "too long"},
		"33 levels":              {one(strings.Repeat("d/", 32) + "x"), artifact.ErrUnsafe, "32 levels"},
		"git":                    {one(".git/config"), artifact.ErrUnsafe, ".git"},
		"git below":              {one("a/.GIT/hooks/x"), artifact.ErrUnsafe, ".git"},
		"control":                {one(".modelreg/pull.json"), artifact.ErrUnsafe, ".modelreg"},
		"control beside":         {one(".modelreg-target.partial/lock"), artifact.ErrUnsafe, ".modelreg"},
		"empty name":             {raw(header("", tar.TypeReg, "00000000000\x00")), artifact.ErrUnsafe, "empty name"},
		"double dot slash":       {tarOf(file("././x", "x")), artifact.ErrUnsafe, "component ."},
		"size 2^60":              {raw(header("x", tar.TypeReg, base256(1<<60))), artifact.ErrUnsafe, "limit"},
		"size 2^62":              {raw(header("x", tar.TypeReg, base256(1<<62))), artifact.ErrUnsafe, ""},
		"size -1":                {raw(header("x", tar.TypeReg, strings.Repeat("\xff", 12))), artifact.ErrUnsafe, ""},
		"size from PAX":          {raw(pax(map[string]string{"size": "1152921504606846976"}), header("x", tar.TypeReg, "00000000000\x00")), artifact.ErrUnsafe, "limit"},
		"sparse in PAX":          {raw(pax(map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x", "GNU.sparse.realsize": "17179869184"}), header("x", tar.TypeReg, "00000001000\x00"), append([]byte("1\n0\n0\n"), make([]byte, 506)...)), artifact.ErrUnsafe, ""},
		"sparse GNU":             {raw(header("x", tar.TypeGNUSparse, "00000000000\x00")), artifact.ErrUnsafe, ""},
		"path from PAX":          {raw(pax(map[string]string{"path": "../x"}), header("good", tar.TypeReg, "00000000000\x00")), artifact.ErrUnsafe, "component .."},
		"NUL in PAX path":        {raw(pax(map[string]string{"path": "a\x00b"}), header("good", tar.TypeReg, "00000000000\x00")), artifact.ErrUnsafe, ""},
		"global path":            {raw(globalPath(), header("good", tar.TypeReg, "00000000000\x00")), artifact.ErrUnsafe, "global"},
		"cut short":              {one("x")[:1024+100], artifact.ErrUnsafe, "malformed"},
		"bad checksum":           {append([]byte("x"), one("x")[1:]...), artifact.ErrUnsafe, "malformed"},
		"no archive":             {[]byte(strings.Repeat("not a tar ", 200)), artifact.ErrUnsafe, "malformed"},
		"second archive behind":  {append(one("x"), one("../y")...), artifact.ErrUnsafe, "behind the end"},
		"byte behind the end":    {append(one("x"), 1), artifact.ErrUnsafe, "behind the end"},
		"empty":                  {nil, artifact.ErrNotModel, ""},
		"only directories":       {tarOf(file("d/", "")), artifact.ErrNotModel, ""},
		"modes, times and names": {tarOf(setuid, unreadable, file("d/y", "y")), nil, ""},
		"padding":                {append(one("x"), make([]byte, 9216)...), nil, ""},
		"root entry":             {tarOf(file("./", ""), file("./a/", ""), file("./a/x", "x"), file("a/", "")), nil, ""},
		"git archive's comment":  {raw(globalComment(), header("good", tar.TypeReg, "00000000000\x00")), nil, ""},
		"empty file":             {tarOf(file("empty", "")), nil, ""},
	}
	for name, tt := range tests {
		for _, enc := range []mediatypes.Encoding{mediatypes.Tar, mediatypes.TarGzip, mediatypes.TarZstd} {
			t.Run(name+"/"+string(enc), func(t *testing.T) {
				data := tt.data
				switch {
				case enc == mediatypes.TarGzip:
					data = gzipOf(data)
				case enc == mediatypes.TarZstd:
					data = zstdOf(data)
				}
				files, err := unpackTar(t, enc, data)
				if !errors.Is(err, tt.want) || err != nil && !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %v, want %v with %q", err, tt.want, tt.text)
				}
				if tt.want == nil && len(files) == 0 {
					t.Error("no files")
				}
			})
		}
	}
}

func globalPath() []byte {
	h := pax(map[string]string{"path": "../x"})
	g := header("pax", tar.TypeXGlobalHeader, strings.TrimRight(string(h[124:136]), ""))
	return append(g, h[512:]...)
}

func globalComment() []byte {
	h := pax(map[string]string{"comment": "0123456789abcdef"})
	return append(header("pax", tar.TypeXGlobalHeader, string(h[124:136])), h[512:]...)
}

func TestHostileCompression(t *testing.T) {
	good := tarOf(file("x", "x"))
	window, err := zstd.NewWriter(nil, zstd.WithWindowSize(256<<20))
	if err != nil {
		t.Fatal(err)
	}
	wide := window.EncodeAll(good, nil)
	window.Close()
	tests := map[string]struct {
		enc  mediatypes.Encoding
		data []byte
		want error
	}{
		"garbage behind gzip":    {mediatypes.TarGzip, append(gzipOf(good), "garbage"...), artifact.ErrUnsafe},
		"second gzip behind":     {mediatypes.TarGzip, append(gzipOf(good), gzipOf([]byte("more"))...), artifact.ErrUnsafe},
		"gzip of two members":    {mediatypes.TarGzip, append(gzipOf(good[:512]), gzipOf(good[512:])...), nil},
		"cut gzip":               {mediatypes.TarGzip, gzipOf(good)[:40], artifact.ErrUnsafe},
		"wrong gzip checksum":    {mediatypes.TarGzip, flip(gzipOf(good), -8), artifact.ErrUnsafe},
		"gzip that is none":      {mediatypes.TarGzip, good, artifact.ErrUnsafe},
		"garbage behind zstd":    {mediatypes.TarZstd, append(zstdOf(good), "garbage"...), artifact.ErrUnsafe},
		"second zstd behind":     {mediatypes.TarZstd, append(zstdOf(good), zstdOf([]byte("more"))...), artifact.ErrUnsafe},
		"cut zstd":               {mediatypes.TarZstd, zstdOf(good)[:20], artifact.ErrUnsafe},
		"wrong zstd checksum":    {mediatypes.TarZstd, flip(zstdOf(good), -1), artifact.ErrUnsafe},
		"zstd that is none":      {mediatypes.TarZstd, good, artifact.ErrUnsafe},
		"zstd of 256 MiB window": {mediatypes.TarZstd, windowed(wide), artifact.ErrUnsafe},
		"gzip bomb of 4 GiB":     {mediatypes.TarGzip, bomb(), artifact.ErrUnsafe},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := unpackTar(t, tt.enc, tt.data)
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			if took := time.Since(start); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

func flip(data []byte, at int) []byte {
	data = bytes.Clone(data)
	data[len(data)+at] ^= 1
	return data
}

// windowed sets the window of a zstd frame (RFC 8878, section 3.1.1.1.2) to
// 256 MiB, as the encoder shrinks it for little data.
func windowed([]byte) []byte {
	// Magic, descriptor without content size or checksum, window 2^28, and
	// one empty raw block that is the last.
	return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (28 - 10) << 3, 0x01, 0x00, 0x00}
}

// bomb is a gzip of a file of 4 GiB of zeros, as far as its header tells: the
// refusal must come before that much was written.
func bomb() []byte {
	h := header("zeros.bin", tar.TypeReg, base256(4<<30))
	return gzipOf(append(h, make([]byte, 8<<20)...))
}

func TestTooManyEntries(t *testing.T) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for i := range 100_001 {
		if err := w.WriteHeader(&tar.Header{Name: "d" + strconv.Itoa(i%10) + "/", Typeflag: tar.TypeDir}); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	_, err := unpackTar(t, mediatypes.TarGzip, gzipOf(buf.Bytes()))
	if !errors.Is(err, artifact.ErrUnsafe) || !strings.Contains(err.Error(), "more than 100000 entries") {
		t.Errorf("error %v", err)
	}
}

// Names must not clash across layers either.
func TestClashesAcrossLayers(t *testing.T) {
	weight := func(enc mediatypes.Encoding) string { return mediatypes.LayerType(mediatypes.KindWeight, enc) }
	tests := map[string][]layerSpec{
		"raw and tar":       {{weight(mediatypes.Raw), []byte("1"), named("a/x")}, {weight(mediatypes.Tar), tarOf(file("a/x", "2")), named("a")}},
		"tar and tar":       {{weight(mediatypes.Tar), tarOf(file("a/x", "1")), named("a")}, {weight(mediatypes.Tar), tarOf(file("a/x", "2")), named("b")}},
		"raw below tar":     {{weight(mediatypes.Raw), []byte("1"), named("a")}, {weight(mediatypes.Tar), tarOf(file("a/x", "2")), named("b")}},
		"case":              {{weight(mediatypes.Raw), []byte("1"), named("A")}, {weight(mediatypes.Tar), tarOf(file("a", "2")), named("b")}},
		"directory and raw": {{weight(mediatypes.Raw), []byte("1"), named("a")}, {weight(mediatypes.Tar), tarOf(file("a/", "")), named("b")}},
	}
	for name, layers := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			if _, err := unpackWitnessed(t, b, modelPack(b, layers...)); !errors.Is(err, artifact.ErrUnsafe) {
				t.Errorf("error %v, want ErrUnsafe", err)
			}
		})
	}
}

// The digest of what a compressed layer holds is checked where the config has
// one.
func TestDiffIDOfCompressedLayer(t *testing.T) {
	data := tarOf(file("x", "x"))
	for name, tt := range map[string]struct {
		id   digest.Digest
		want error
	}{
		"right": {digest.FromBytes(data), nil}, "wrong": {digest.FromString("y"), content.ErrMismatchedDigest},
		"of the blob": {digest.FromBytes(gzipOf(data)), nil}, "sha512": {digest.SHA512.FromBytes(data), nil},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBlobs()
			m := ocispec.Manifest{
				Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactModel,
				Config: b.put(mediatypes.ConfigModel, []byte(`{"modelfs":{"diffIds":["`+string(tt.id)+`"]}}`)),
			}
			l := b.put(mediatypes.LayerType(mediatypes.KindWeight, mediatypes.TarGzip), gzipOf(data))
			l.Annotations = named("x")
			m.Layers = append(m.Layers, l)
			if _, err := unpackWitnessed(t, b, putManifest(b, m)); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// sha512 works from end to end.
func TestSHA512(t *testing.T) {
	b := newBlobs()
	put := func(mt string, data []byte) ocispec.Descriptor {
		desc := ocispec.Descriptor{MediaType: mt, Digest: digest.SHA512.FromBytes(data), Size: int64(len(data))}
		b.content[desc.Digest] = data
		return desc
	}
	l := put(mediatypes.LayerType(mediatypes.KindWeight, mediatypes.Raw), []byte("weights"))
	l.Annotations = named("m.bin")
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, ArtifactType: mediatypes.ArtifactModel,
		Config: put(mediatypes.ConfigModel, []byte(`{"modelfs":{"diffIds":["`+string(l.Digest)+`"]}}`)), Layers: []ocispec.Descriptor{l},
	}
	sum := putManifest(b, m)
	desc := put(sum.MediaType, b.content[sum.Digest])
	files, err := unpackWitnessed(t, b, desc)
	if err != nil || files["m.bin"] != "weights" {
		t.Errorf("%v, %v", files, err)
	}
	b.content[l.Digest] = []byte("WEIGHTS")
	if _, err := unpackWitnessed(t, b, desc); !errors.Is(err, content.ErrMismatchedDigest) {
		t.Errorf("error %v, want ErrMismatchedDigest", err)
	}
}

// Whatever is in an archive: it is refused as unsafe, or every name in it is
// good and no more comes out of it than may.
func FuzzArchive(f *testing.F) {
	seeds, _ := filepath.Glob("testdata/hostile/tar/*.tar")
	for _, name := range seeds {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, uint8(0))
		f.Add(gzipOf(data), uint8(1))
		f.Add(zstdOf(data), uint8(2))
	}
	f.Add(tarOf(file("a/b", "c"), link("x", "y")), uint8(0))
	f.Add(append(pax(map[string]string{"size": "99999999999"}), header("x", tar.TypeReg, "00000000000\x00")...), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, kind uint8) {
		enc := []mediatypes.Encoding{mediatypes.Tar, mediatypes.TarGzip, mediatypes.TarZstd}[kind%3]
		names, n, err := artifact.ReadArchive(data, enc)
		if err != nil && !errors.Is(err, artifact.ErrUnsafe) {
			t.Fatalf("error %v does not wrap ErrUnsafe", err)
		}
		if limit := max(int64(len(data))*200, 1<<30); n > limit || enc == mediatypes.Tar && n > int64(len(data)) {
			t.Fatalf("%d bytes came out of %d", n, len(data))
		}
		for _, name := range names {
			if err := artifact.CheckPath(name); err != nil {
				t.Fatal(err)
			}
		}
	})
}
