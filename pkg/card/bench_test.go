package card_test

import (
	"io"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/card"
)

// typical is a card of about 20 KiB.
func typical() []byte {
	section := "## Use\n\nA *model* of **few** parameters, see [the paper](https://example.org/p).\n\n" +
		"```python\nfrom tiny import Model\n```\n\n- one\n- two\n\n| set | score |\n|-|-:|\n| a | 0.9 |\n\n" +
		"<details><summary>More</summary>\n\n<img src=\"a.png\" width=\"50%\">\n\n</details>\n\n"
	return []byte(readme + strings.Repeat(section, 80))
}

func BenchmarkParse(b *testing.B) {
	in := typical()
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := card.Parse(in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHTML(b *testing.B) {
	for name, in := range map[string][]byte{"tiny": []byte("a\n"), "typical": typical()} {
		b.Run(name, func(b *testing.B) {
			c, err := card.Parse(in)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.HTML(card.HTMLOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkText(b *testing.B) {
	c, err := card.Parse(typical())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(c.Body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := c.Text(io.Discard, card.TextOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
