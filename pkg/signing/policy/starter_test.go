package policy_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// The file to begin with can be used, also when everything in it is turned on.
func TestStarter(t *testing.T) {
	k, err := signing.LoadPublicKey([]byte(keys()["KEY1"]))
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		starter policy.Starter
		want    string
	}{
		"with a key": {policy.Starter{Glob: "reg.example/acme/**", Key: k}, "team"},
		"without":    {policy.Starter{}, "nobody"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			text, err := tt.starter.Text()
			if err != nil {
				t.Fatal(err)
			}
			p := parse(t, string(text))
			if got := p.Documents[0].Authorities[0].Name; got != tt.want {
				t.Errorf("authority %s, want %s", got, tt.want)
			}
			if d := p.Decide(facts(nil)); d.Allowed {
				t.Error("it allows what nobody signed")
			}
		})
	}
	for _, starter := range []policy.Starter{{Key: k}, {}} {
		text, err := starter.Text()
		if err != nil {
			t.Fatal(err)
		}
		var on strings.Builder
		for line := range strings.Lines(string(text)) {
			if starter.Key != nil && strings.Contains(line, "max-signature-age: ") {
				continue // it is for certificates
			}
			at := strings.Index(line, "# ")
			if at > 0 && (strings.Contains(line, ": ") || strings.HasSuffix(line, ":\n")) && !strings.HasSuffix(line, ".\n") {
				line = line[:at] + line[at+2:]
			}
			on.WriteString(line)
		}
		p := parse(t, on.String())
		if m := p.Documents[0].Model; len(m.Evaluation) != 1 || m.Scan == nil || len(m.Licenses) == 0 || len(p.Documents[0].Authorities) != 2 {
			t.Errorf("not everything is on:\n%s", on.String())
		}
		if age := p.Documents[0].MaxSignatureAge; (age == 0) != (starter.Key != nil) {
			t.Errorf("maximal age %s", age)
		}
	}
	if _, err := (policy.Starter{Glob: "*"}).Text(); err == nil {
		t.Error("a glob that cannot be used is taken")
	}
}
