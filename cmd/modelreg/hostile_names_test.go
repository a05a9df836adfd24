package main

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Names that are not safe everywhere come through when they are asked for; no
// flag lets those through that are safe nowhere.
func TestUnusualNames(t *testing.T) {
	tests := map[string]struct {
		paths      []string
		flag, hint string
		ok         bool
	}{
		"credentials":        {[]string{"a.bin", ".ssh/authorized_keys"}, "--allow-dotfiles", "--allow-dotfiles", true},
		"unknown dot file":   {[]string{"a/.unknown"}, "--allow-dotfiles", "--allow-dotfiles", true},
		"case":               {[]string{"README", "readme"}, "--allow-collisions", "--allow-collisions", true},
		"git":                {[]string{".git/config"}, "--allow-dotfiles", "control name", false},
		"our own":            {[]string{".modelreg/pull.json"}, "--allow-dotfiles", "control name", false},
		"same name twice":    {[]string{"x", "x"}, "--allow-collisions", "duplicate", false},
		"the other flag":     {[]string{".ssh/config"}, "--allow-collisions", "--allow-dotfiles", false},
		"file and directory": {[]string{"x", "x/y"}, "--allow-collisions", "both", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLayout(t)
			_, ref := l.serve(ocispec.MediaTypeImageManifest, digest.SHA256, files(tt.paths...)(l))
			v := newVictim(t)
			v.ends(exitUnsafe, tt.hint, "pull", ref, v.out)
			v.untouched()
			if !tt.ok {
				v.ends(exitUnsafe, "unsafe", "pull", ref, v.out, tt.flag)
				v.untouched()
				return
			}
			v.ends(exitOK, "pulled", "pull", ref, v.out, tt.flag)
			got := filesIn(t, v.out)
			if len(got) != len(tt.paths)+2 {
				t.Errorf("files: %v", got)
			}
		})
	}
}
