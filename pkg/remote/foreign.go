package remote

// RequestError makes an error of a request that got no answer: op names the
// request, and err is what an HTTP client returned, whose text may show a URL
// with a signature in it. The result has a class, and is an *[Error] that knows
// whether the request may be made again. It is for packages that talk to other
// servers through [Client.Transport].
func RequestError(op string, err error) error { return requestError(op, err) }

// CleanText makes text that a stranger chose fit to show: on one line, without
// control characters, with secrets cut out, and not longer than 512 bytes.
func CleanText(s string) string { return cleanText(s) }
