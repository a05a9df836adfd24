package remote

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// An endpoint is where a registry, or a mirror of one, is spoken to. It is not
// changed once made.
type endpoint struct {
	scheme string
	host   string // host or host:port, as in references

	// What follows is zero where only the client's settings count.
	root   string            // path of the API, "/v2" when api is not set
	api    bool              // root is set, perhaps to nothing
	ns     string            // the registry that is meant, for those who serve several
	near   http.RoundTripper // reaches the host
	header http.Header       // for the host alone
	cache  auth.Cache        // tokens
	mirror *mirror           // nil for the registry, and what stands in its place
	from   string            // who says so, for the user
}

// base returns the path of the API.
func (e *endpoint) base() string {
	if e.api {
		return e.root
	}
	return "/v2"
}

// url returns the URL of what lies at path in a repository.
func (e *endpoint) url(repository, path string, query url.Values) *url.URL {
	if e.ns != "" {
		query = maps.Clone(query)
		if query == nil {
			query = make(url.Values)
		}
		query.Set("ns", e.ns)
	}
	return &url.URL{Scheme: e.scheme, Host: e.host, Path: e.base() + "/" + repository + path, RawQuery: query.Encode()}
}

// scope returns what a token must be good for to do actions in a repository.
func (e *endpoint) scope(repository string, actions ...string) string {
	below, ok := strings.CutPrefix(e.base(), "/v2/")
	if ok {
		repository = strings.Trim(below, "/") + "/" + repository
	}
	return auth.ScopeRepository(repository, actions...)
}

// isLoopback reports whether host (with or without a port) names this machine
// by its form alone.
func isLoopback(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && addr.Unmap().IsLoopback()
}

// sameOrigin reports whether two URLs lead to the same server by the same
// means: scheme, host and port are equal.
func sameOrigin(a, b *url.URL) bool {
	return strings.EqualFold(a.Scheme, b.Scheme) && hostPort(a) == hostPort(b)
}

// hostPort returns the host of u with its port, also where that is implied.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "443"
		if strings.EqualFold(u.Scheme, "http") {
			port = "80"
		}
	}
	return strings.ToLower(u.Hostname()) + ":" + port
}

// inner reports whether addr is one that a stranger has no reason to send us
// to: this machine, the link it is on, the metadata services of clouds. The
// private ranges are not among them, because registries inside a company
// redirect to stores inside it.
func inner(addr netip.Addr) bool {
	addr = embedded(addr.Unmap().WithZone(""))
	return !addr.IsValid() || addr.IsLoopback() || addr.IsUnspecified() ||
		addr.IsLinkLocalUnicast() || addr.IsMulticast() || metadata(addr)
}

// metadata knows the addresses of metadata services outside the link-local
// range: Alibaba's and Azure's, and those of AWS and GCP for IPv6.
func metadata(addr netip.Addr) bool {
	switch addr.String() {
	case "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254":
		return true
	}
	return addr.Is4() && addr.As4()[0] == 0
}

// embedded returns the IPv4 address inside a NAT64 (RFC 6052) or 6to4
// (RFC 3056) one, which leads to the same host.
func embedded(addr netip.Addr) netip.Addr {
	if !addr.Is6() {
		return addr
	}
	b := addr.As16()
	switch {
	case netip.PrefixFrom(addr, 96).Masked().String() == "64:ff9b::/96":
		return netip.AddrFrom4([4]byte(b[12:16]))
	case b[0] == 0x20 && b[1] == 0x02:
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return addr
}

// refuseInner is a [net.Dialer]'s Control function. It sees the address that
// is really dialled, so that no name and no change of DNS gets round it.
func refuseInner(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || inner(ap.Addr()) {
		return protocolError("dial "+address, "a registry on another host may not lead there")
	}
	return nil
}

type strangerKey struct{} // of requests to where a stranger's content leads

// ForStranger returns a context for requests to registries that the user has not
// named, and that are named by content of somebody else. Like redirects, they
// lead neither to this machine nor to the link that it is on nor to metadata
// services, by whatever name; such a request fails with [ErrProtocol]. Mirrors and
// servers that the user has set up are asked as ever.
func ForStranger(ctx context.Context) context.Context {
	return context.WithValue(ctx, strangerKey{}, true)
}

func forStranger(ctx context.Context) bool { return ctx.Value(strangerKey{}) != nil }
