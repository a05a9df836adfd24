package card

import "html"

// HTMLOptions adjusts [Card.HTML]. With the zero value relative links and
// images stay relative to the page they are put into.
type HTMLOptions struct {
	// BaseURL is the URL of the directory the card is in, ending in a slash;
	// relative links and images are below it.
	BaseURL string

	// ResolveImage, if not nil, returns the URL of the file of the artifact
	// that an image names, or "" to show the image's description instead.
	// The path is relative, clean and separated by slashes.
	ResolveImage func(path string) string
}

// HTML returns the body as HTML that is safe to put into a page.
func (c *Card) HTML(opts HTMLOptions) ([]byte, error) {
	return []byte("<pre>" + html.EscapeString(string(c.Body)) + "</pre>\n"), nil
}
