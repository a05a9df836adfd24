package ui_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/internal/ui"
)

func TestColumns(t *testing.T) {
	for name, color := range map[string]bool{"plain": false, "coloured": true} {
		t.Run(name, func(t *testing.T) {
			s := (&ui.Printer{Color: color}).Style()
			var b strings.Builder
			c := ui.NewColumns(&b)
			c.Row(s.Good("a"), "x", "")
			c.Row(s.Bad("long"), s.Dim("größer"), "end")
			c.Row("層", "y")
			c.Flush()
			got := b.String()
			if strings.Contains(got, "\x1b") != color {
				t.Errorf("colours = %v: %q", !color, got)
			}
			for _, code := range []string{"\x1b[32m", "\x1b[31m", "\x1b[2m", "\x1b[0m"} {
				got = strings.ReplaceAll(got, code, "")
			}
			want := "a     x\nlong  größer  end\n層    y\n"
			if got != want {
				t.Errorf("got\n%swant\n%s", got, want)
			}
		})
	}
}
