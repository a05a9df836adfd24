package ref

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const (
	lowerAlphanumeric = "abcdefghijklmnopqrstuvwxyz0123456789"
	alphanumeric      = lowerAlphanumeric + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
)

// only tells whether s has no bytes but those of set.
func only(s, set string) bool {
	return strings.Trim(s, set) == ""
}

// looksLikeHost is docker's rule for the first element of a name, and one
// thing more: what follows the colon must be a port, so that "bert:feature/x"
// is a name and a branch.
func looksLikeHost(s string) bool {
	if strings.HasPrefix(s, "[") || s == "localhost" {
		return true
	}
	name, port, colon := strings.Cut(s, ":")
	if colon {
		return port != "" && only(port, "0123456789")
	}
	return strings.Contains(name, ".")
}

// cleanHost checks a host and writes it in lower case, as DNS and everything
// that is keyed by it must see it.
func cleanHost(s string) (string, error) {
	s = strings.ToLower(s)
	name := s
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		name = s[:i]
		if err := checkPort(s[i+1:]); err != nil {
			return "", err
		}
	}
	if strings.HasPrefix(name, "[") {
		return s, checkIPv6(name)
	}
	return s, checkHostName(name)
}

func checkPort(port string) error {
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 || port[0] == '0' {
		return fmt.Errorf("port %q is not between 1 and 65535", port)
	}
	return nil
}

// checkIPv6 checks an address in brackets.
func checkIPv6(s string) error {
	addr, err := netip.ParseAddr(strings.TrimSuffix(s[1:], "]"))
	if err != nil || !strings.HasSuffix(s, "]") || !addr.Is6() || addr.Zone() != "" {
		return fmt.Errorf("%q is not an IPv6 address", s)
	}
	return nil
}

func checkHostName(name string) error {
	if len(name) > 253 { // RFC 1035, section 2.3.4
		return fmt.Errorf("host longer than 253 bytes")
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || !only(label, lowerAlphanumeric+"-") || label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("%q is not a host name", name)
		}
	}
	return nil
}

// checkRepository follows the distribution specification, "Pulling manifests":
// [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(\/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*
func checkRepository(s string) error {
	if s == "" {
		return fmt.Errorf("no repository")
	}
	if len(s) > MaxRepositoryBytes {
		return fmt.Errorf("repository of %d bytes, more than %d", len(s), MaxRepositoryBytes)
	}
	if strings.ToLower(s) != s {
		return fmt.Errorf("repository %q must be in lower case", s)
	}
	for elem := range strings.SplitSeq(s, "/") {
		if !validElement(elem) {
			return fmt.Errorf("repository element %q: letters and digits, joined by one of . _ __ or dashes", elem)
		}
	}
	return nil
}

func validElement(s string) bool {
	if s == "" || !only(s, lowerAlphanumeric+"._-") {
		return false
	}
	between := strings.FieldsFunc(s, func(c rune) bool {
		return strings.ContainsRune(lowerAlphanumeric, c)
	})
	for _, sep := range between {
		if sep != "." && sep != "_" && sep != "__" && strings.Trim(sep, "-") != "" {
			return false
		}
	}
	return strings.Contains(lowerAlphanumeric, s[:1]) && strings.Contains(lowerAlphanumeric, s[len(s)-1:])
}

// checkForeignName checks the name of a model elsewhere, where letters may be
// upper case: Hugging Face, ModelScope, Ollama.
func checkForeignName(s string) error {
	if len(s) > MaxRepositoryBytes {
		return fmt.Errorf("name of %d bytes, more than %d", len(s), MaxRepositoryBytes)
	}
	for elem := range strings.SplitSeq(s, "/") {
		if elem == "" || !only(elem, alphanumeric+"._-") || !strings.Contains(alphanumeric+"_", elem[:1]) {
			return fmt.Errorf("name element %q: letters, digits, dot, dash and underscore", elem)
		}
	}
	return nil
}
