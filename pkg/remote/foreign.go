package remote

import "net/http"

// RequestError makes an error of a request that got no answer: op names the
// request, and err is what an HTTP client returned, whose text may show a URL
// with a signature in it. The result has a class, and is an *[Error] that knows
// whether the request may be made again. It is for packages that talk to other
// servers through [Client.Transport].
func RequestError(op string, err error) error { return requestError(op, err) }

// AnswerError makes an error of an answer that is not the one hoped for, and closes
// it: op names the request. It has a class, the time that Retry-After asks for, and
// the beginning of what the answer says. It is for the same packages.
func AnswerError(op string, resp *http.Response) *Error { return answerError(op, resp) }

// CleanText makes text that a stranger chose fit to show: on one line, without
// control characters, with secrets cut out, and not longer than 512 bytes.
func CleanText(s string) string { return cleanText(s) }
