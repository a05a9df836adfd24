package index_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/index"
)

// The beginning of a frequent word stands for thousands of words in a large index.
func TestPrefixOfManyWords(t *testing.T) {
	var records []index.Record
	for i := range 10 {
		var card strings.Builder
		for j := range 500 {
			fmt.Fprintf(&card, "instruct%d ", i*500+j)
		}
		records = append(records, index.Record{
			Repository: fmt.Sprint("reg.io/acme/m", i), Digest: "sha256:a", Latest: true, Card: card.String(),
		})
	}
	if n := find(t, open(t, records...), "instruct*", index.Options{}).Total; n != 10 {
		t.Errorf("found %d of 10", n)
	}
}
