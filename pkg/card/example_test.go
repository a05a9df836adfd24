package card_test

import (
	"fmt"
	"os"

	"github.com/modelreg/modelreg/pkg/card"
)

const readme = `---
language: no
license: apache-2.0
tags: [tiny, 1.10]
---
# Tiny

A model of **very** few parameters, see [the paper](https://example.org/paper).

| set  | score |
|------|------:|
| test |   0.9 |
`

func ExampleParse() {
	c, err := card.Parse([]byte(readme))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Meta.Languages, c.Meta.Licenses, c.Meta.Tags)
	fmt.Println(c.Summary())
	// Output:
	// [no] [apache-2.0] [tiny 1.10]
	// A model of very few parameters, see the paper.
}

// Front matter that cannot be used does not keep the rest from being shown.
func ExampleParse_problem() {
	c, err := card.Parse([]byte("---\nlicense: mit\nlicense: apache-2.0\n---\n# Tiny\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Problem)
	fmt.Printf("%s", c.Body)
	// Output:
	// front matter rejected: line 3: key "license" is there twice
	// # Tiny
}

func ExampleCard_JSON() {
	c, err := card.Parse([]byte(readme))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", c.JSON())
	// Output:
	// {"language":"no","license":"apache-2.0","tags":["tiny",1.10]}
}

func ExampleCard_HTML() {
	c, err := card.Parse([]byte("![logo](logo.png) <script>alert(1)</script>[Docs](docs/use.md)\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	page, err := c.HTML(card.HTMLOptions{
		BaseURL:      "/acme/tiny/blob/main/",
		ResolveImage: func(path string) string { return "/acme/tiny/raw/main/" + path },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", page)
	// Output:
	// <p><img src="/acme/tiny/raw/main/logo.png" alt="logo" loading="lazy"> <a href="/acme/tiny/blob/main/docs/use.md" rel="nofollow noopener ugc">Docs</a></p>
}

func ExampleCard_Text() {
	c, err := card.Parse([]byte(readme))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := c.Text(os.Stdout, card.TextOptions{Width: 50}); err != nil {
		fmt.Println(err)
	}
	// Output:
	// # Tiny
	//
	// A model of very few parameters, see the paper
	// (https://example.org/paper).
	//
	// set   score
	// ────  ─────
	// test    0.9
}

func ExampleParseResults() {
	results, err := card.ParseResults([]byte("- dataset: {id: acme/bench, task_id: default}\n  value: 0.90\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range results {
		fmt.Println(r.Dataset.ID, r.Value)
	}
	// Output: acme/bench 0.90
}
