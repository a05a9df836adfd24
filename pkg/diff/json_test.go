package diff_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/pkg/diff"
)

func raw(s string) json.RawMessage { return json.RawMessage(s) }

func TestJSON(t *testing.T) {
	tests := map[string]struct {
		from, to string
		want     []diff.Change
	}{
		"order and spelling": {`{"a":1,"b":1e-5,"c":"\u0061"}`, `{"c":"a", "b":0.00001, "a":1.0}`, nil},
		"large numbers":      {`{"a":12345678901234567890}`, `{"a":12345678901234567891}`, []diff.Change{{Path: "a", Op: "changed", From: raw("12345678901234567890"), To: raw("12345678901234567891")}}},
		"scalar": {`{"rope":{"factor":8.0}}`, `{"rope":{"factor":32}}`, []diff.Change{
			{Path: "rope.factor", Op: "changed", From: raw("8"), To: raw("32")},
		}},
		"members": {`{"a":1,"b":null}`, `{"b":null,"c":[]}`, []diff.Change{
			{Path: "a", Op: "removed", From: raw("1")},
			{Path: "c", Op: "added", To: raw("[]")},
		}},
		"another kind": {`{"a":{}}`, `{"a":"x"}`, []diff.Change{{Path: "a", Op: "changed", From: raw("{}"), To: raw(`"x"`)}}},
		"same length":  {`{"a":["x","y"]}`, `{"a":["x","z"]}`, []diff.Change{{Path: "a[1]", Op: "changed", From: raw(`"y"`), To: raw(`"z"`)}}},
		"put in front": {`{"a":["x","y"]}`, `{"a":["w","x","y"]}`, []diff.Change{{Path: "a[0]", Op: "added", To: raw(`"w"`)}}},
		"odd names":    {`{"a b":{"":1}}`, `{"a b":{"":2}}`, []diff.Change{{Path: `["a b"][""]`, Op: "changed", From: raw("1"), To: raw("2")}}},
		"text": {`{"t":"a\nb\n"}`, `{"t":"a\nc\n"}`, []diff.Change{{Path: "t", Op: "changed", Text: &diff.TextChange{
			Added: 1, Removed: 1, Hunks: []diff.Hunk{{From: 1, To: 1, Lines: []string{" a", "-b", "+c"}}},
		}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, more, err := diff.JSON([]byte(tt.from), []byte(tt.to))
			if err != nil || more != 0 {
				t.Fatal(more, err)
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestJSONBounds(t *testing.T) {
	for name, doc := range map[string]string{
		"none":  "",
		"two":   "{} {}",
		"twice": `{"a":1,"a":2}`,
		"deep":  strings.Repeat("[", 100) + strings.Repeat("]", 100),
		"cut":   `{"a":[1,`,
	} {
		if _, _, err := diff.JSON([]byte(doc), []byte("{}")); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	long := "[" + strings.Repeat("1,", 1000) + "1]"
	other := strings.ReplaceAll(long, "1", "2")
	got, more, err := diff.JSON([]byte(long), []byte(other))
	if err != nil || len(got) != 400 || more != 601 {
		t.Errorf("%d changes, %d more, %v; want 400, 601", len(got), more, err)
	}
}

// No changes are found between documents exactly when they say the same.
func FuzzJSON(f *testing.F) {
	f.Add(`{"a":[1,2,{"b":null}]}`, `{"a":[1,{"b":null}]}`)
	f.Add(`"a\nb"`, `"a\nc"`)
	f.Add(`{"":0}`, `{"\u0000":1e5}`)
	f.Fuzz(func(t *testing.T, a, b string) {
		changes, _, err := diff.JSON([]byte(a), []byte(b))
		if err != nil {
			return
		}
		back, _, err := diff.JSON([]byte(b), []byte(a))
		if err != nil || (len(back) == 0) != (len(changes) == 0) {
			t.Errorf("%d changes one way, %d the other, %v", len(changes), len(back), err)
		}
		for _, c := range changes {
			if c.Text == nil && c.Op == "changed" && string(c.From) == string(c.To) && len(c.From) < 100 {
				t.Errorf("%s changed from %s to the same", c.Path, c.From)
			}
			if _, err := json.Marshal(c); err != nil {
				t.Error(err)
			}
		}
	})
}
