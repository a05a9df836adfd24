package remote_test

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/modelreg/modelreg/pkg/remote"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 10, 2, 12, 0, 0, 0, time.UTC)
	tests := map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"7":                             7 * time.Second,
		"61":                            time.Minute,
		"9000000000":                    time.Minute,
		"99999999999999999999999":       time.Minute,
		"-5":                            0,
		"soon":                          0,
		"1.5":                           0,
		"Fri, 02 Oct 2026 12:00:30 GMT": 30 * time.Second,
		"Fri, 02 Oct 2026 13:00:00 GMT": time.Minute,
		"Fri, 02 Oct 2020 12:00:00 GMT": 0,
	}
	for value, want := range tests {
		if got := remote.RetryAfter(value, now); got != want {
			t.Errorf("RetryAfter(%q) = %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"7", "-5", "9000000000", "soon", "Fri, 02 Oct 2026 12:00:30 GMT"} {
		f.Add(s)
	}
	now := time.Date(2026, 10, 2, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		if d := remote.RetryAfter(s, now); d < 0 || d > time.Minute {
			t.Errorf("RetryAfter(%q) = %v, outside of a minute", s, d)
		}
	})
}

func TestParseContentRange(t *testing.T) {
	tests := map[string]string{
		"bytes 0-9/100":                     "0 9 100",
		"bytes 5-5/6":                       "5 5 6",
		"bytes 0-9/*":                       "0 9 -1",
		"bytes 0-9":                         "",
		"bytes=0-9/100":                     "",
		"bytes */100":                       "",
		"bytes 9-0/100":                     "",
		"bytes 0-100/100":                   "",
		"bytes -1-9/100":                    "",
		"bytes +0-9/100":                    "",
		"bytes 0-9/1e2":                     "",
		"bytes 0-9223372036854775807/*":     "0 9223372036854775807 -1",
		"bytes 0-9/99999999999999999999999": "",
		"bytes 0-99999999999999999999/99999999999": "",
		"":              "",
		"items 0-9/100": "",
	}
	for s, want := range tests {
		first, last, total, ok := remote.ParseContentRange(s)
		got := ""
		if ok {
			got = fmt.Sprint(first, last, total)
		}
		if got != want {
			t.Errorf("parse Content-Range %q = %q, want %q", s, got, want)
		}
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-9/100", "bytes 0-9/*", "bytes */100", "bytes 9-0/100"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, last, total, ok := remote.ParseContentRange(s)
		if ok && (first < 0 || last < first || total >= 0 && last >= total) {
			t.Errorf("parse Content-Range %q = %d-%d of %d", s, first, last, total)
		}
	})
}

func TestParseKept(t *testing.T) {
	tests := map[string]struct {
		n  int64
		ok bool
	}{
		"":                      {0, true},
		"0-0":                   {0, true},
		"0-1023":                {1024, true},
		"bytes=0-1023":          {1024, true},
		"bytes 0-1023":          {1024, true},
		"5-1023":                {0, false},
		"1023":                  {0, false},
		"0--1":                  {0, false},
		"0-9223372036854775807": {0, false},
		"0-1e3":                 {0, false},
	}
	for s, want := range tests {
		if n, ok := remote.ParseKept(s); n != want.n || ok != want.ok {
			t.Errorf("ParseKept(%q) = %d, %v; want %d, %v", s, n, ok, want.n, want.ok)
		}
	}
}

func FuzzParseKept(f *testing.F) {
	for _, s := range []string{"0-0", "0-1023", "bytes=0-9", "0-9223372036854775807"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := remote.ParseKept(s)
		if n < 0 || !ok && n != 0 || n == 1 {
			t.Errorf("ParseKept(%q) = %d, %v", s, n, ok)
		}
	})
}

func TestPickChallenge(t *testing.T) {
	tests := map[string]struct {
		header []string
		want   string
	}{
		"bearer":             {[]string{`Bearer realm="https://a/token",service="s"`}, "bearer https://a/token"},
		"basic":              {[]string{`Basic realm="x"`}, "basic x"},
		"bearer second":      {[]string{`Basic realm="x", Bearer realm="https://a/token",service="s"`}, "bearer https://a/token"},
		"two lines":          {[]string{`Negotiate`, `Basic realm=x`, `bearer realm="https://a/t"`}, "bearer https://a/t"},
		"token68 first":      {[]string{`Negotiate YWJj==, Basic realm="x"`}, "basic x"},
		"quoted comma":       {[]string{`Bearer service="a, Basic realm=b",realm="https://a/t"`}, "bearer https://a/t"},
		"escaped quote":      {[]string{`Basic realm="a\"b"`}, `basic a"b`},
		"unknown":            {[]string{`Digest realm="x"`}, ""},
		"open quote":         {[]string{`Bearer realm="https://a`}, "bearer "},
		"empty":              {nil, ""},
		"broken before good": {[]string{`Basic realm="x`, `Bearer realm="https://a/t"`}, "bearer https://a/t"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := http.Header{"Www-Authenticate": tt.header}
			got := ""
			if scheme, realm, ok := remote.PickChallenge(h); ok {
				got = scheme + " " + realm
			}
			if got != tt.want {
				t.Errorf("PickChallenge = %q, want %q", got, tt.want)
			}
		})
	}
}

func FuzzPickChallenge(f *testing.F) {
	for _, s := range []string{
		`Bearer realm="https://a/token",service="s"`, `Basic realm="x", Bearer realm="y"`,
		`Negotiate YWJj==, Basic realm="x"`, `Bearer realm="`, `Bearer realm="a\`, `,,,`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h := http.Header{"Www-Authenticate": {s}}
		scheme, realm, ok := remote.PickChallenge(h)
		if !ok {
			return
		}
		left := h.Get("Www-Authenticate")
		if !strings.Contains(s, left) || len(h.Values("Www-Authenticate")) != 1 {
			t.Errorf("of %q the challenge %q was left", s, left)
		}
		// What was picked is picked again, alone.
		again, realmAgain, ok := remote.PickChallenge(h)
		if !ok || again != scheme || realmAgain != realm {
			t.Errorf("%q gives %s %q, and what it leaves, %q, gives %s %q", s, scheme, realm, left, again, realmAgain)
		}
	})
}

func FuzzCleanText(f *testing.F) {
	for _, s := range []string{
		"plain", "\x1b[2Jx", "https://u:p@h/x?sig=1", "Bearer abcdefghijkl", "\u202eevil", strings.Repeat("ä", 600), "\xff",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := remote.CleanText(s)
		if len(got) > remote.MaxErrorText || !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("CleanText(%q) = %q", s, got)
		}
	})
}

func TestCleanTextCutsSecrets(t *testing.T) {
	tests := map[string]string{
		"see https://user:pass@host/p?sig=abc#f now":    "see https://host/p now",
		"https://user@host:80/x":                        "https://host:80/x",
		"sent Authorization: Bearer abcdefgh.ijkl":      "sent Authorization: Bearer ***",
		"sent basic dXNlcjpwYXNzd29yZA==":               "sent basic ***",
		"a\r\nb\tc":                                     "a b c",
		"\x1b[31mred":                                   `\x1b[31mred`,
		"s3://bucket/key?X-Amz-Signature=1&x=2, failed": "s3://bucket/key failed",
	}
	for in, want := range tests {
		if got := remote.CleanText(in); got != want {
			t.Errorf("CleanText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestInner(t *testing.T) {
	tests := map[string]bool{
		"127.0.0.1": true, "127.8.9.10": true, "::1": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": true, "0.1.2.3": true, "::": true, "169.254.169.254": true, "fe80::1%eth0": true,
		"224.0.0.1": true, "ff02::1": true, "100.100.100.200": true, "168.63.129.16": true, "fd00:ec2::254": true,
		"64:ff9b::7f00:1": true, "64:ff9b::a9fe:a9fe": true, "2002:7f00:1::": true,
		"10.0.0.1": false, "192.168.1.1": false, "fd12::1": false, "8.8.8.8": false, "2606:4700::1111": false,
		"64:ff9b::808:808": false,
	}
	for s, want := range tests {
		if got := remote.Inner(netip.MustParseAddr(s)); got != want {
			t.Errorf("Inner(%s) = %v, want %v", s, got, want)
		}
	}
	if !remote.Inner(netip.Addr{}) {
		t.Error("Inner(no address) = false")
	}
}
