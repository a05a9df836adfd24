package secrets_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/secrets"
)

// Tokens are put together here, so that scanners of this code do not find one.
// many are letters and digits of which a token can be made.
const many = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"

// tokens are made up, and cut in two so that nobody takes them for leaked ones.
var tokens = map[string]string{
	"hf_" + many[:36]:                                            "Hugging Face token",
	"ghp_" + many[:36]:                                           "GitHub token",
	"ghs_" + many[:40]:                                           "GitHub token",
	"github_" + "pat_" + many[:61]:                               "GitHub token",
	"glpat" + "-" + many[:20]:                                    "GitLab token",
	"AKIA" + "QWERTYUIOPASDFGH":                                  "AWS access key",
	"ASIA" + "QWERTYUIOPASDFGH":                                  "AWS access key",
	"aws_secret_access_" + `key": "` + many[:40]:                 "AWS secret key",
	"AWS_SECRET_ACCESS_" + "KEY=" + many[:40]:                    "AWS secret key",
	"sk-" + "ant-" + many[:40]:                                   "Anthropic key",
	"sk-" + many[:40]:                                            "OpenAI key",
	"sk-" + "proj-" + many[:40]:                                  "OpenAI key",
	"AIza" + many[:35]:                                           "Google API key",
	"xoxb" + "-" + many[:20]:                                     "Slack token",
	"npm_" + many[:36]:                                           "npm token",
	"pypi-" + "AgE" + many[:50]:                                  "PyPI token",
	"rk_" + "live_" + many[:20]:                                  "Stripe key",
	"Account" + "Key=" + many[:86] + "==":                        "Azure storage key",
	"mr_" + many[:32]:                                            "modelreg token",
	"-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXkt": "private key",
	"-----BEGIN PGP PRIVATE " + "KEY BLOCK-----" + `\n` + "b3BlbnNzaC1rZ": "private key",
}

func TestFind(t *testing.T) {
	for token, what := range tokens {
		text := "line one\nkey: " + token + "\n"
		got, ok := secrets.Find("config.yaml", int64(len(text)), []byte(text))
		if want := (secrets.Match{What: what, Offset: int64(strings.Index(text, token))}); !ok || got != want {
			t.Errorf("Find of a %s = %+v, %t, want %+v", what, got, ok, want)
		}
	}
	der := "\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01\x01\x00"
	if got, ok := secrets.Find("a/server.KEY", int64(len(der)), []byte(der)); !ok || got.What != "private key" {
		t.Errorf("Find of a key in DER = %+v, %t", got, ok)
	}
}

func TestFindNothing(t *testing.T) {
	token := "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789"
	tests := map[string]struct {
		data string
		size int64 // that of data unless set
	}{
		"empty":               {},
		"of documentation":    {data: "hf_" + strings.Repeat("x", 34) + " AKIAIOSFODNN7EXAMPLE"},
		"prose":               {data: "a token begins with hf_ and ghp_"},
		"part of a word":      {data: "x" + token},
		"a word that goes on": {data: "AKIA" + "QWERTYUIOPASDFGHX"},
		"a header in code":    {data: `HEADER = "-----BEGIN PRIVATE ` + `KEY-----"`},
		"in binary data":      {data: "\x00" + token},
		"in a large file":     {data: token, size: secrets.MaxBytes + 1},
		"a public key":        {data: "-----BEGIN PUBLIC KEY-----\nMIIB"},
		"sequence, no name":   {data: "\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01\x01\x00"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := secrets.Find("file.txt", max(tt.size, int64(len(tt.data))), []byte(tt.data)); ok {
				t.Errorf("Find = %+v", got)
			}
		})
	}
}

// TestFindFirst has a placeholder, then two tokens.
func TestFindFirst(t *testing.T) {
	text := "hf_" + strings.Repeat("x", 34) + "\nnpm_" + many[:36] + "\nhf_" + many[:36] + "\n"
	got, ok := secrets.Find("a.txt", int64(len(text)), []byte(text))
	if want := (secrets.Match{What: "npm token", Offset: 38}); !ok || got != want {
		t.Errorf("Find = %+v, %t, want %+v", got, ok, want)
	}
}

func FuzzFind(f *testing.F) {
	for token := range tokens {
		f.Add([]byte(token))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if m, ok := secrets.Find("a.txt", int64(len(data)), data); ok && (m.What == "" || m.Offset < 0 || m.Offset >= int64(len(data))) {
			t.Errorf("Find = %+v in %d bytes", m, len(data))
		}
	})
}

// BenchmarkFind is of what gives most chance matches of words: random letters.
func BenchmarkFind(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var texts [16][]byte
	for i := range texts {
		texts[i] = make([]byte, 100<<10)
		for j := range texts[i] {
			texts[i][j] = many[rnd.IntN(36)]
		}
	}
	b.SetBytes(100 << 10)
	for i := 0; b.Loop(); i++ {
		text := texts[i%len(texts)]
		if m, ok := secrets.Find("a.json", int64(len(text)), text); ok {
			b.Fatal(m)
		}
	}
}
