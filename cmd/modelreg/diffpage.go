package main

import (
	"fmt"
	"io"

	"github.com/modelreg/modelreg/pkg/diff"
	"github.com/modelreg/modelreg/pkg/hub"
)

// variantList are variants of which the same is to be said.
type variantList struct {
	what  string
	names []string
}

func variantLists(v *hub.VariantsDiff) []variantList {
	return []variantList{{"removed", v.Removed}, {"added", v.Added}, {"identical", v.Identical}}
}

// printMarkdown writes differences for a pull request.
func printMarkdown(w io.Writer, res *hub.DiffResult, stat bool) {
	v := res.Variants
	if v == nil {
		fmt.Fprint(w, res.Markdown(stat))
		return
	}
	fmt.Fprintf(w, "## %s … %s\n\n", diff.MarkdownCode(res.From), diff.MarkdownCode(res.To))
	for _, l := range variantLists(v) {
		for _, name := range l.names {
			fmt.Fprintf(w, "- variant %s: %s\n", diff.MarkdownCode(name), l.what)
		}
	}
	for i := range v.Changed {
		fmt.Fprintf(w, "\n## Variant %s\n\n%s", diff.MarkdownCode(v.Changed[i].Variant), v.Changed[i].Markdown(stat))
	}
}

// printHTML writes differences for a page.
func printHTML(w io.Writer, res *hub.DiffResult, stat bool) {
	v := res.Variants
	if v == nil {
		fmt.Fprint(w, res.HTML(stat))
		return
	}
	fmt.Fprintf(w, "<h1>%s … %s</h1>\n<ul>\n", diff.HTMLCode(res.From), diff.HTMLCode(res.To))
	for _, l := range variantLists(v) {
		for _, name := range l.names {
			fmt.Fprintf(w, "<li>variant %s: %s</li>\n", diff.HTMLCode(name), l.what)
		}
	}
	fmt.Fprintln(w, "</ul>")
	for i := range v.Changed {
		fmt.Fprintf(w, "<h1>Variant %s</h1>\n%s", diff.HTMLCode(v.Changed[i].Variant), v.Changed[i].HTML(stat))
	}
}
