package main

import (
	"errors"
	"fmt"
	"html"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/modelreg/modelreg/internal/ui"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/lineage"
)

// FuzzLineageDOT reads the graph as Graphviz does, by the grammar of DOT
// (https://graphviz.org/doc/info/lang.html): whatever things are called, it has
// the nodes and edges of the lineage, and labels show the names as they are.
func FuzzLineageDOT(f *testing.F) {
	for _, name := range []string{
		"host/acme/base:v1", `a"b`, `a\`, `a\"b`, `\`, `"`, `a\nb`, "a\nb", `\N\G\L`, "<b>bold</b>", "<<table>>", "&lt;&amp;&#10;&quot;",
		`"]; evil [label="x`, `x" -> "y`, "// no comment", "/* none */", "# none", "a\x1b[31mb", "\xff\xfe", "\u202e", "digraph", "{}", "a:b:c",
		`a" + "b`, "a\\\nb", "",
	} {
		f.Add(name, "mit", 0.5)
	}
	f.Fuzz(func(t *testing.T, name, licence string, weight float64) {
		res := &hub.Lineage{
			Nodes: []hub.LineageNode{
				{ID: "root", Reference: "root", Kind: "model", Read: true},
				{ID: "1" + name, Reference: name, Kind: "model", Digest: "sha256:" + strings.Repeat("0", 64), Licenses: []string{licence}},
				{ID: "2" + name, Reference: "2" + name, Kind: "dataset", State: "yanked"},
			},
			Edges: []hub.LineageEdge{
				{Input: "1" + name, Output: "root", Relation: lineage.Merge, Weight: weight, Claim: lineage.Claim{Verdict: lineage.Checked}},
				{Input: "2" + name, Output: "root", Relation: lineage.Dataset},
			},
		}
		g, err := readDOT(lineageDOT(res))
		if err != nil {
			t.Fatal(err)
		}
		labels := map[string]string{
			"root": "root", "1" + name: ui.Line(name) + "\n000000000000\n" + ui.Line(licence), "2" + name: ui.Line("2" + name),
		}
		want := map[string]string{}
		for id, label := range labels {
			want[strings.ReplaceAll(ui.Line(id), `\`, `\\`)] = label
		}
		if diff := cmp.Diff(want, g.nodes); diff != "" {
			t.Error(diff)
		}
		for _, e := range g.edges {
			if _, ok := g.nodes[e[0]]; !ok || e[1] != "root" {
				t.Errorf("edge %q -> %q", e[0], e[1])
			}
		}
		if len(g.edges) != len(res.Edges) {
			t.Errorf("%d edges, want %d", len(g.edges), len(res.Edges))
		}
	})
}

// A dotGraph is what was read: labels by node, and pairs of nodes.
type dotGraph struct {
	nodes map[string]string
	edges [][2]string
}

// readDOT reads a digraph whose nodes all have labels.
func readDOT(text string) (*dotGraph, error) {
	p := &dotParser{text: text}
	if p.next() != "digraph" || p.next() == "" || p.next() != "{" {
		return nil, errors.New("no digraph")
	}
	g := &dotGraph{nodes: map[string]string{}}
	for {
		id := p.next()
		if id == "}" && !p.quoted {
			if rest := strings.TrimSpace(p.text); rest != "" {
				return nil, fmt.Errorf("after the graph: %q", rest)
			}
			return g, p.err
		}
		word := !p.quoted
		if p.err != nil || word && !isDOTWord(id) {
			return nil, errors.Join(p.err, fmt.Errorf("statement begins with %q", id))
		}
		switch op := p.next(); {
		case p.quoted:
			return nil, fmt.Errorf("a string after %q", id)
		case op == "=":
			p.next()
		case op == "->":
			to := p.next()
			g.edges = append(g.edges, [2]string{id, to})
			if p.next() != "[" {
				return nil, fmt.Errorf("edge to %q without attributes", to)
			}
			p.attributes()
		case op == "[":
			label := p.attributes()
			if !word {
				g.nodes[id] = label
			}
		default:
			return nil, fmt.Errorf("%q after %q", op, id)
		}
		if p.next() != ";" {
			return nil, fmt.Errorf("no end of the statement on %q", id)
		}
	}
}

type dotParser struct {
	text   string
	quoted bool // the last token was a string
	err    error
}

// attributes reads a list of them behind its bracket, and returns the label.
func (p *dotParser) attributes() (label string) {
	for p.err == nil {
		name := p.next()
		if name == "]" && !p.quoted {
			return label
		}
		if p.quoted || !isDOTWord(name) || p.next() != "=" {
			p.err = fmt.Errorf("attribute %q", name)
			return ""
		}
		value := p.next()
		if name == "label" {
			label, p.err = dotShown(value)
		}
		if rest := strings.TrimLeft(p.text, " "); strings.HasPrefix(rest, ",") {
			p.text = rest[1:]
		}
	}
	return ""
}

// next returns the next token: a word, a string without its quotes, or a sign.
func (p *dotParser) next() string {
	p.quoted = false
	p.text = strings.TrimLeft(p.text, " \n")
	switch {
	case p.text == "":
		p.err = errors.New("the text ends")
		return ""
	case p.text[0] == '"':
		p.quoted = true
		return p.str()
	case strings.HasPrefix(p.text, "->"):
		p.text = p.text[2:]
		return "->"
	}
	n := 0
	for n < len(p.text) && isDOTWord(p.text[n:n+1]) {
		n++
	}
	n = max(n, 1)
	token := p.text[:n]
	p.text = p.text[n:]
	return token
}

// str reads a string as the scanner of Graphviz does: \" is a quote, and \\ stays as
// it is.
func (p *dotParser) str() string {
	var b strings.Builder
	for i := 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '"':
			p.text = p.text[i+1:]
			return b.String()
		case c == '\\' && strings.HasPrefix(p.text[i+1:], `"`):
			i++
			b.WriteByte('"')
		case c == '\\' && strings.HasPrefix(p.text[i+1:], `\`):
			i++
			b.WriteString(`\\`)
		case c < ' ':
			p.err = fmt.Errorf("a control character in a string: %q", c)
		default:
			b.WriteByte(c)
		}
	}
	p.err = errors.New("a string does not end")
	return ""
}

// dotShown is how a label is shown: escapes and entities are read, of which there
// are to be no others than those for text.
func dotShown(label string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(label); i++ {
		if label[i] != '\\' {
			b.WriteByte(label[i])
			continue
		}
		i++
		switch {
		case i < len(label) && label[i] == 'n':
			b.WriteByte('\n')
		case i < len(label) && label[i] == '\\':
			b.WriteByte('\\')
		default:
			return "", fmt.Errorf("an escape that is none of ours in %q", label)
		}
	}
	if strings.Count(label, "&") != strings.Count(label, "&amp;") {
		return "", fmt.Errorf("an entity in %q", label)
	}
	return html.UnescapeString(b.String()), nil
}

func isDOTWord(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.-") == ""
}
