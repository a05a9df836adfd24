package artifact

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/modelreg/modelreg/pkg/mediatypes"
)

// maxAnnotationBytes bounds the keys and values of a manifest's annotations
// together, so that a manifest stays something that can be listed.
const maxAnnotationBytes = 64 << 10

// annotations are what can be known of the model from its manifest alone. The
// user's come first; where all are too long together, the longest of the others
// are left out.
func (p *packer) annotations(created time.Time) (map[string]string, error) {
	user := p.opts.Annotations
	if err := checkUserAnnotations(user); err != nil {
		return nil, err
	}
	all := p.headline(created)
	maps.DeleteFunc(all, func(k, v string) bool { return v == "" || !utf8.ValidString(v) })
	maps.Copy(all, user)
	for annotationBytes(all) > maxAnnotationBytes {
		longest := ""
		for _, k := range slices.Sorted(maps.Keys(all)) {
			if _, users := user[k]; !users && len(all[k]) > len(all[longest]) {
				longest = k
			}
		}
		p.out.Notes = append(p.out.Notes, fmt.Sprintf("annotation %s of %d bytes left out", longest, len(all[longest])))
		delete(all, longest)
	}
	return all, nil
}

func checkUserAnnotations(a map[string]string) error {
	if n := annotationBytes(a); n > maxAnnotationBytes {
		return fmt.Errorf("%w: annotations of %d bytes, more than %d", ErrUnsafe, n, maxAnnotationBytes)
	}
	// What headline adds fits beside these.
	if len(a) > mediatypes.MaxAnnotations-32 {
		return fmt.Errorf("%w: %d annotations, more than %d", ErrUnsafe, len(a), mediatypes.MaxAnnotations-32)
	}
	for k, v := range a {
		if k == "" || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return fmt.Errorf("%w: annotation %+q is empty or not UTF-8", ErrUnsafe, k)
		}
	}
	return nil
}

func annotationBytes(a map[string]string) int {
	n := 0
	for k, v := range a {
		n += len(k) + len(v)
	}
	return n
}

// headline is what card and files say, in a line each.
func (p *packer) headline(created time.Time) map[string]string {
	m, meta := p.model, p.meta()
	code := ""
	if m.CustomCode {
		code = "true"
	}
	base := meta.BaseModels
	if len(base) == 0 && m.BaseModel != "" {
		base = []string{m.BaseModel}
	}
	return map[string]string{
		ocispec.AnnotationTitle:            meta.Name,
		ocispec.AnnotationLicenses:         joined(licenses(meta)),
		ocispec.AnnotationCreated:          timestamp(created),
		mediatypes.AnnotationTask:          cmp.Or(meta.Task, m.Task),
		mediatypes.AnnotationLibrary:       cmp.Or(meta.Library, m.Library),
		mediatypes.AnnotationTags:          joined(meta.Tags),
		mediatypes.AnnotationLanguages:     joined(languages(meta, m)),
		mediatypes.AnnotationDatasets:      joined(meta.Datasets),
		mediatypes.AnnotationBaseModel:     joined(base),
		mediatypes.AnnotationBaseRelation:  meta.BaseRelation,
		mediatypes.AnnotationArchitecture:  m.Architecture,
		mediatypes.AnnotationParameters:    decimal(m.Parameters),
		mediatypes.AnnotationPrecision:     precision(m.DTypes),
		mediatypes.AnnotationQuantization:  m.Quantization,
		mediatypes.AnnotationFormats:       joined(m.Formats),
		mediatypes.AnnotationContextLength: decimal(m.ContextLength),
		mediatypes.AnnotationCode:          code,
	}
}

// joined puts a list into one value. A member with a comma would read as two
// members, and is left out.
func joined(list []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(list), func(s string) bool {
		return strings.Contains(s, ",")
	}), ",")
}

func decimal(n int64) string {
	if n <= 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
