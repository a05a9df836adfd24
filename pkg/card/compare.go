package card

import (
	"slices"
	"strings"
)

// A FieldChange is a key of the front matter that two cards do not agree on.
type FieldChange struct {
	Key string `json:"key"`
	Old string `json:"old"` // on one line, as YAML; empty for none
	New string `json:"new"`
}

// A SectionChange is a section of the body that two cards do not agree on.
type SectionChange struct {
	Title  string `json:"title"` // empty for what stands before the first heading
	Change string `json:"change"`

	// Lines are those of the section: "-" before one that went, "+" before one
	// that came, a blank before one that stayed beside them.
	Lines []string `json:"lines"`
}

// A Difference is what changed from one card to another.
type Difference struct {
	Fields   []FieldChange   `json:"fields"`
	Sections []SectionChange `json:"sections"`
}

// Empty tells whether the cards say the same.
func (d *Difference) Empty() bool { return len(d.Fields)+len(d.Sections) == 0 }

// Compare tells what changed from one card to another: keys of the front matter by
// their values, and the body by sections, which are matched by their titles.
func Compare(old, now *Card) (*Difference, error) {
	d := &Difference{Fields: []FieldChange{}, Sections: []SectionChange{}}
	for _, key := range old.matter.keys {
		if a, b := inline(old.matter, key), inline(now.matter, key); a != b {
			d.Fields = append(d.Fields, FieldChange{key, a, b})
		}
	}
	for _, key := range now.matter.keys {
		if !slices.Contains(old.matter.keys, key) {
			d.Fields = append(d.Fields, FieldChange{key, "", inline(now.matter, key)})
		}
	}
	before, err := old.Sections()
	if err != nil {
		return nil, err
	}
	after, err := now.Sections()
	if err != nil {
		return nil, err
	}
	d.sections(before, after)
	return d, nil
}

// inline is the value of a key on one line.
func inline(v value, key string) string {
	if !slices.Contains(v.keys, key) {
		return ""
	}
	return encodeFlow(v.get(key))
}

// named finds a section by its title, and which of those with it.
type named struct {
	title string
	n     int
}

func byName(sections []Section) (order []named, texts map[named]string) {
	texts = make(map[named]string, len(sections))
	seen := map[string]int{}
	for _, s := range sections {
		key := named{s.Title, seen[s.Title]}
		seen[s.Title]++
		order = append(order, key)
		texts[key] = strings.TrimSpace(s.Text)
	}
	return order, texts
}

func (d *Difference) sections(before, after []Section) {
	oldOrder, old := byName(before)
	newOrder, now := byName(after)
	for _, key := range newOrder {
		text, was := old[key]
		switch {
		case !was:
			d.Sections = append(d.Sections, SectionChange{key.title, "added", marked("+", now[key])})
		case text != now[key]:
			d.Sections = append(d.Sections, SectionChange{key.title, "changed", lineDiff(text, now[key])})
		}
	}
	for _, key := range oldOrder {
		if _, there := now[key]; !there {
			d.Sections = append(d.Sections, SectionChange{key.title, "removed", marked("-", old[key])})
		}
	}
}

// marked puts a mark before each line.
func marked(mark, text string) []string {
	lines := []string{}
	for line := range strings.SplitSeq(text, "\n") {
		lines = append(lines, mark+strings.TrimSuffix(line, "\r"))
	}
	return lines
}

const (
	maxDiffCells = 1 << 20 // of the table that finds what two texts share
	diffContext  = 2       // lines around a change
)

// lineDiff compares two texts line by line. Texts too large for that are shown
// whole.
func lineDiff(old, now string) []string {
	a, b := marked("", old), marked("", now)
	if len(a)*len(b) > maxDiffCells {
		return append(marked("-", old), marked("+", now)...)
	}
	// common[i][j] is the number of lines that a[i:] and b[j:] share in order.
	width := len(b) + 1
	common := make([]int32, (len(a)+1)*width)
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i*width+j] = common[(i+1)*width+j+1] + 1
			} else {
				common[i*width+j] = max(common[(i+1)*width+j], common[i*width+j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, " "+a[i])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[(i+1)*width+j] >= common[i*width+j+1]:
			out = append(out, "-"+a[i])
			i++
		default:
			out = append(out, "+"+b[j])
			j++
		}
	}
	return near(out)
}

// near keeps what changed and a few lines around it.
func near(lines []string) []string {
	keep := make([]bool, len(lines))
	for i, line := range lines {
		if line[0] == ' ' {
			continue
		}
		for k := max(0, i-diffContext); k < min(len(lines), i+diffContext+1); k++ {
			keep[k] = true
		}
	}
	out := []string{}
	for i, line := range lines {
		if keep[i] {
			out = append(out, line)
		}
	}
	return out
}

// Field is the value of a key of the front matter, as YAML on one line; empty if it
// is not there.
func (c *Card) Field(key string) string { return inline(c.matter, key) }
