package hub_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/layout"
)

// What is read of identities is written as it was read; each is one that can be
// asked for, and what is not understood is an error.
func FuzzParseIdentities(f *testing.F) {
	f.Add([]byte(`[{"issuer":"https://issuer.example","subject":"a@example.com"}]`))
	f.Add([]byte(`[{"issuerRegexp":"^https://issuer\\.example$","subjectRegexp":"^.+@example\\.com$"}]`))
	f.Add([]byte(`[{"issuer":"x"}]`))
	f.Add([]byte(`[{"issuer":"x","subject":"y","and":"more"}]`))
	f.Add([]byte(`null`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		ids, err := hub.ParseIdentities(raw)
		if err != nil {
			if !errors.Is(err, layout.ErrMalformed) {
				t.Errorf("error = %v, want ErrMalformed", err)
			}
			return
		}
		for _, id := range ids {
			if err := id.Check(); err != nil {
				t.Errorf("%+v: %v", id, err)
			}
		}
		written, err := hub.FormatIdentities(ids)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := hub.ParseIdentities(written); err != nil || !cmp.Equal(ids, again) {
			t.Errorf("%s is read as %+v, %v", written, again, err)
		}
	})
}
