package card

import (
	"net/url"
	"path"
	"strings"

	"golang.org/x/net/html"
)

// link returns where a link of the card may lead, and whether it may.
func (w *rewriter) link(s string) (string, bool) {
	u, ok := parseURL(s)
	if !ok {
		return "", false
	}
	switch {
	case u.Scheme == "mailto":
		return u.String(), true
	case u.Scheme != "" || u.Host != "":
		return absolute(u)
	case u.Path == "" && u.RawQuery == "" && u.Fragment != "":
		u.Fragment, u.RawFragment = prefixed(u.Fragment), ""
		return u.String(), true
	case strings.HasPrefix(u.Path, "/"):
		return "/" + strings.TrimLeft(u.String(), "/"), true
	}
	return below(w.opts.BaseURL, u), true
}

// parseURL reads a URL as a browser would: without the blanks around it, and
// with backslashes for slashes.
func parseURL(s string) (*url.URL, bool) {
	s = strings.ReplaceAll(strings.Trim(s, " \t\r\n\f"), `\`, "/")
	if s == "" || strings.ContainsFunc(s, isControl) || strings.ContainsAny(s, "\t\r\n") {
		return nil, false
	}
	u, err := url.Parse(s)
	return u, err == nil && u.User == nil
}

// absolute returns a URL of the web.
func absolute(u *url.URL) (string, bool) {
	if u.Scheme == "" {
		u.Scheme = "https"
	}
	if u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", false
	}
	return u.String(), true
}

// below returns a relative URL below a base, out of which it cannot climb.
func below(base string, u *url.URL) string {
	rel := url.URL{Path: clean(u.Path), RawQuery: u.RawQuery, Fragment: u.Fragment}
	if rel.Fragment != "" {
		rel.Fragment = prefixed(rel.Fragment)
	}
	s := rel.String()
	if base != "" {
		s = strings.TrimPrefix(s, "./")
	}
	return base + s
}

// clean returns the path of a file of the artifact. It keeps the slash at the
// end of a directory.
func clean(p string) string {
	c := strings.TrimPrefix(path.Clean("/"+p), "/")
	if c != "" && strings.HasSuffix(p, "/") {
		c += "/"
	}
	return c
}

// image shows an image of the artifact, and describes any other.
func (w *rewriter) image(t html.Token) {
	var src, alt string
	kept := make([]html.Attribute, 0, len(t.Attr)+2)
	for _, a := range t.Attr {
		switch a.Key {
		case "src":
			src = a.Val
		case "alt":
			alt = a.Val
		case "width", "height", "align", "title":
			kept = append(kept, a)
		}
	}
	if w.dropImages {
		return
	}
	u, ok := parseURL(src)
	if ok && u.Scheme == "" && u.Host == "" {
		if src := w.imageSource(u); imageValue.MatchString(src) {
			w.tag("img", append(kept,
				html.Attribute{Key: "src", Val: src},
				html.Attribute{Key: "alt", Val: alt},
				html.Attribute{Key: "loading", Val: "lazy"}))
			return
		}
		w.text(alt)
		return
	}
	w.describe(u, ok, alt)
}

// imageSource returns the URL of an image of the artifact, or "".
func (w *rewriter) imageSource(u *url.URL) string {
	name := clean(u.Path)
	if name == "" || strings.HasSuffix(name, "/") {
		return ""
	}
	if w.opts.ResolveImage != nil {
		return w.opts.ResolveImage(name)
	}
	return below(w.opts.BaseURL, &url.URL{Path: name})
}

// describe puts a link in the place of an image of another site, or only its
// description where a link cannot be.
func (w *rewriter) describe(u *url.URL, ok bool, alt string) {
	href := ""
	if ok {
		href, ok = absolute(u)
	}
	if !ok || w.linked {
		w.text(alt)
		return
	}
	if strings.TrimSpace(alt) == "" {
		alt = "image at " + u.Host
	}
	w.tag("a", []html.Attribute{{Key: "href", Val: href}, {Key: "rel", Val: linkRel}})
	w.text(alt)
	w.write("</a>")
}
