package card

import (
	"bytes"
	"fmt"
	"time"
)

// HTMLOptions adjusts [Card.HTML]. With the zero value relative links and
// images stay relative to the page they are put into.
type HTMLOptions struct {
	// BaseURL is the URL of the directory the card is in, ending in a slash.
	// Relative links are below it, and relative images if ResolveImage is
	// nil. Images need it to be a path, such as "/acme/tiny/raw/main/".
	BaseURL string

	// ResolveImage, if not nil, returns the URL of the file of the artifact
	// that an image names, or "" to show the image's description instead.
	// The path is relative to the card's directory, clean, and separated by
	// slashes. The URL must be a path of the site that shows the page;
	// another one is taken for "".
	ResolveImage func(path string) string
}

// HTML returns the body as HTML that is safe to put into a page: it can style
// text and show the artifact's own images, and cannot run, fetch, submit or
// imitate controls. Every element is closed, so that a card cannot reach the
// page around it. Raw HTML is kept as far as it is harmless. Images of other
// sites become links, so that reading a card tells nobody of it.
//
// Identifiers and the links to them get the prefix "user-content-". Links to
// elsewhere carry rel="nofollow noopener ugc".
//
// It does not fail on bad Markdown. An error wraps [ErrTooLarge]: the page
// would be over 8 MiB, take over 2 seconds or has over 65536 lines.
func (c *Card) HTML(opts HTMLOptions) ([]byte, error) {
	return sanitise(c.Body, &rewriter{opts: opts})
}

// sanitise renders Markdown, rewrites what the card may not use as it stands,
// and passes the result through the policy.
func sanitise(body []byte, rw *rewriter) ([]byte, error) {
	m := &meter{deadline: time.Now().Add(maxRenderTime)}
	raw := &page{m: m}
	if err := renderMarkdown(raw, bytes.ToValidUTF8(body, []byte("\ufffd")), m); err != nil {
		return nil, err
	}
	rw.out = page{m: m}
	if err := rw.rewrite(&raw.Buffer); err != nil {
		return nil, err
	}
	safe := &page{m: m}
	if err := newPolicy().SanitizeReaderToWriter(&rw.out.Buffer, safe); err != nil {
		return nil, fmt.Errorf("sanitise card: %w", err)
	}
	return safe.Bytes(), nil
}

// A page is a buffer that takes neither too much nor too long.
type page struct {
	bytes.Buffer
	m *meter
}

func (p *page) Write(b []byte) (int, error) {
	if err := p.check(len(b)); err != nil {
		return 0, err
	}
	return p.Buffer.Write(b)
}

// WriteString is here so that no caller finds the buffer's own.
func (p *page) WriteString(s string) (int, error) {
	if err := p.check(len(s)); err != nil {
		return 0, err
	}
	return p.Buffer.WriteString(s)
}

func (p *page) check(n int) error {
	if p.Len()+n > maxOutputBytes {
		return fmt.Errorf("more than %d MiB: %w", maxOutputBytes>>20, ErrTooLarge)
	}
	if p.m.late() {
		return fmt.Errorf("more than %v: %w", maxRenderTime, ErrTooLarge)
	}
	return nil
}
