package card_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/modelreg/modelreg/pkg/card"
)

// expensive returns inputs of about n bytes that take some Markdown renderers
// time that grows with the square of n, or memory out of proportion.
func expensive(n int) map[string]string {
	fill := func(s string) string { return strings.Repeat(s, n/len(s)) }
	count := func(format string) string {
		var b strings.Builder
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	wide := "|" + fill("a|")[:n/4] + "\n|" + strings.Repeat("-|", n/8) + "\n" + strings.Repeat("a\n", n/4)
	return map[string]string{
		"quotes":              fill(">"),
		"quotes with blanks":  fill("> "),
		"lists":               fill("- "),
		"numbered lists":      fill("1) 1. "),
		"quotes of lists":     fill("> - "),
		"open brackets":       fill("["),
		"brackets":            fill("[")[:n/2] + fill("]")[:n/2],
		"half links":          fill("[a]("),
		"links in angles":     fill("[a](<b"),
		"open images":         fill("!["),
		"nested images":       fill("![")[:n/2] + strings.Repeat("](a)", n/8),
		"emphasis":            fill("*a **a "),
		"strong":              fill("**")[:n/2] + "a" + fill("**")[:n/2],
		"backquotes":          count("%d`" + "`"),
		"open tags":           fill("<a "),
		"nested elements":     fill("<div>"),
		"nested emphasis":     fill("<b>"),
		"attributes":          "<p " + fill("a=b ") + ">",
		"one long word":       fill("a"),
		"wide table":          wide,
		"escaped pipes":       "|a|\n|-|\n" + fill("|`\\|`|\n"),
		"cells of raw HTML":   "<table><tr>" + fill("<td>a"),
		"rows of raw HTML":    "<table>" + fill("<tr><td>a<td>b"),
		"tall cell":           "<table><tr>" + fill("<td>a")[:n/2] + "<td>" + fill("<br>a")[:n/2],
		"long reference":      "[a]: " + fill("u")[:n/2] + "\n\n" + strings.Repeat("[a]\n\n", n/10),
		"long reference, one": "[a]: " + fill("u")[:n/2] + "\n\n" + strings.Repeat("[a]", n/6),
		"references":          count("[a%d]: /u\n\n"),
		"same headings":       fill("# a\n"),
		"empty lines":         fill("\n"),
		"lines":               fill("a\n"),
		"autolinks":           fill("www.a.bc "),
		"half e-mails":        fill("a@b.c"),
		"entities":            fill("&#"),
		"characters":          fill("文"),
		"combining marks":     "a" + fill("\u0301"),
		"bidi":                fill("\u202e"),
	}
}

func TestRenderingIsBounded(t *testing.T) {
	for name, body := range expensive(boundsSize) {
		t.Run(name, func(t *testing.T) {
			c, err := card.Parse([]byte(body))
			if err != nil {
				t.Fatal(err)
			}
			// Without its bounds a renderer takes minutes for half of these.
			within(t, 8*time.Second, func() {
				checkBounded(t, c)
			})
		})
	}
}

func checkBounded(t *testing.T, c *card.Card) {
	t.Helper()
	page, err := c.HTML(card.HTMLOptions{})
	if err != nil && !errors.Is(err, card.ErrTooLarge) {
		t.Errorf("HTML error = %v, want ErrTooLarge or none", err)
	}
	if len(page) > 8<<20 {
		t.Errorf("HTML has %d bytes", len(page))
	}
	var text counter
	if err := c.Text(&text, card.TextOptions{}); err != nil && !errors.Is(err, card.ErrTooLarge) {
		t.Errorf("Text error = %v, want ErrTooLarge or none", err)
	}
	if text > 8<<20 {
		t.Errorf("Text has %d bytes", text)
	}
	if s := c.Summary(); len([]rune(s)) > 300 {
		t.Errorf("Summary has %d characters", len([]rune(s)))
	}
}

type counter int

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// within fails if f takes longer than d.
func within(t *testing.T, d time.Duration, f func()) {
	t.Helper()
	start := time.Now()
	f()
	if took := time.Since(start); took > d {
		t.Errorf("took %v, limit %v", took, d)
	}
}

func TestFrontMatterIsBounded(t *testing.T) {
	const n = 60 << 10
	fill := func(s string) string { return strings.Repeat(s, n/len(s)) }
	tests := map[string]string{
		"lists in flow":      fill("["),
		"maps in flow":       fill("{"),
		"maps in lists":      fill("[{a: "),
		"lists":              fill("- "),
		"keys":               fill("? "),
		"anchors":            fill("&a "),
		"aliases of nothing": "a: [" + fill("*a, ") + "]",
		"aliases":            "a: &a [x]\nb: [" + fill("*a, ") + "]",
		"alias to itself":    "a: &a [*a, *a]",
		"alias to long text": "a: &a " + fill("x")[:n/2] + "\nb: [" + strings.Repeat("*a, ", 90) + "]",
		"aliases that nest":  "a: &a [b, b, b, b, b, b, b, b, b]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]",
		"merges":             "a: &a {x: 1}\nb: {" + fill("<<: *a, ") + "}",
		"tags":               "a: " + fill("!!str "),
		"long tag":           "a: !" + fill("x") + " y",
		"tag directives":     fill("%TAG !a! tag:x,2000:\n") + "--- a",
		"quotes":             fill(`"`),
		"escapes":            `a: "` + fill(`\x1b`) + `"`,
		"comments":           fill("#"),
		"documents":          fill("...\n"),
		"values":             "a: [" + fill("a,") + "]",
		"many keys":          "{" + fill("a,") + "}",
		"block text":         "a: |\n" + fill(" x\n"),
		"indents":            indents(n),
		"colons":             fill(":"),
		"dashes":             fill("-\n"),
	}
	for name, yaml := range tests {
		t.Run(name, func(t *testing.T) {
			within(t, 2*time.Second, func() {
				c, err := card.Parse([]byte("---\n" + yaml + "\n---\n# Body\n"))
				if err != nil {
					t.Fatal(err)
				}
				if got := string(c.Body); got != "# Body\n" {
					t.Errorf("Body = %.40q", got)
				}
				if n := len(c.JSON()); n > 8<<20 {
					t.Errorf("JSON has %d bytes", n)
				}
				if c.Problem != nil && (len(c.Problem.Error()) > 500 || strings.ContainsFunc(c.Problem.Error(), commands)) {
					t.Errorf("Problem = %.600q", c.Problem)
				}
			})
		})
	}
}

// indents returns mappings inside each other.
func indents(n int) string {
	var b strings.Builder
	for i := 0; b.Len() < n; i++ {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestHostileCardsTakeLittle(t *testing.T) {
	for _, name := range []string{"c01_script", "c02_handlers", "c03_js_url", "c20_tracker", "c40_billion_laughs"} {
		t.Run(name, func(t *testing.T) {
			readme := readTestdata(t, "hostile/"+name+"/README.md")
			took := time.Hour
			var before, after runtime.MemStats
			for range 3 { // a busy machine may be late once
				runtime.ReadMemStats(&before)
				start := time.Now()
				show(t, readme)
				took = min(took, time.Since(start))
				runtime.ReadMemStats(&after)
			}
			if took > 200*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
				t.Errorf("allocated %d bytes", used)
			}
		})
	}
}

// show does all that can be done with a card.
func show(t *testing.T, readme []byte) {
	t.Helper()
	c := parse(t, string(readme))
	if _, err := c.HTML(card.HTMLOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Text(io.Discard, card.TextOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestBombLeavesTheBody(t *testing.T) {
	c := parse(t, string(readTestdata(t, "hostile/c40_billion_laughs/README.md")))
	if got, want := problem(c), "front matter rejected: too many aliases"; got != want {
		t.Errorf("Problem = %q, want %q", got, want)
	}
	if got, want := string(c.Body), "# t\n"; got != want {
		t.Errorf("Body = %q, want %q", got, want)
	}
}

func TestMarkAndCRLFAreNoProblem(t *testing.T) {
	c := parse(t, string(readTestdata(t, "hostile/c53_crlf_bom/README.md")))
	if c.Problem != nil || len(c.Meta.Licenses) != 1 || c.Meta.Licenses[0] != "mit" {
		t.Errorf("Problem = %v, Licenses = %q", c.Problem, c.Meta.Licenses)
	}
}
