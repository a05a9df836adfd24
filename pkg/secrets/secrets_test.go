package secrets_test

import (
	"strings"
	"testing"

	"github.com/modelreg/modelreg/pkg/secrets"
)

// Tokens are put together here, so that scanners of this code do not find one.
var tokens = map[string]string{
	"hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789":               "Hugging Face token",
	"ghp_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789":              "GitHub token",
	"AKIA" + "QWERTYUIOPASDFGH":                                  "AWS access key",
	"npm_" + "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789":              "npm token",
	"-----BEGIN OPENSSH PRIVATE " + "KEY-----\nb3BlbnNzaC1rZXkt": "private key",
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
		"empty":             {},
		"of documentation":  {data: "hf_" + strings.Repeat("x", 34) + " AKIAIOSFODNN7EXAMPLE"},
		"prose":             {data: "a token begins with hf_ and ghp_"},
		"part of a word":    {data: "x" + token},
		"a header in code":  {data: `HEADER = "-----BEGIN PRIVATE ` + `KEY-----"`},
		"in binary data":    {data: "\x00" + token},
		"in a large file":   {data: token, size: secrets.MaxBytes + 1},
		"a public key":      {data: "-----BEGIN PUBLIC KEY-----\nMIIB"},
		"sequence, no name": {data: "\x30\x82\x04\xa4\x02\x01\x00\x02\x82\x01\x01\x00"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got, ok := secrets.Find("file.txt", max(tt.size, int64(len(tt.data))), []byte(tt.data)); ok {
				t.Errorf("Find = %+v", got)
			}
		})
	}
}
