package remote

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
)

// InProcess returns what carries requests to a handler of this process, as
// [Options.Transport]. Answers are read while they are written. The body of an
// answer must be closed, as always.
func InProcess(h http.Handler) http.RoundTripper { return inProcess{h} }

type inProcess struct{ handler http.Handler }

// InProcess tells whether the repository is reached through [InProcess], and is so
// none of the registry that its name may be of.
func (r *Repository) InProcess() bool {
	_, ok := r.client.opts.Transport.(inProcess)
	return ok
}

// RoundTrip implements [http.RoundTripper].
func (p inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(req.Context())
	r, w := io.Pipe()
	answer := &pipedAnswer{header: make(http.Header), pipe: w, begun: make(chan struct{})}
	in := req.Clone(ctx)
	in.RequestURI, in.Host = req.URL.RequestURI(), req.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	stop := context.AfterFunc(ctx, func() { _ = w.CloseWithError(context.Cause(ctx)) }) // which returns nil
	go func() {
		defer cancel()
		defer stop()
		p.handler.ServeHTTP(answer, in)
		answer.WriteHeader(http.StatusOK)
		_ = w.Close() // which returns nil
	}()
	select {
	case <-answer.begun:
	case <-ctx.Done():
		if err := context.Cause(req.Context()); err != nil {
			return nil, err
		}
		<-answer.begun // it is the handler that has ended
	}
	length, err := strconv.ParseInt(answer.sent.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	return &http.Response{
		StatusCode: answer.status, Status: http.StatusText(answer.status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: answer.sent, Body: r, ContentLength: length, Request: req,
	}, nil
}

// A pipedAnswer is an answer that is read while it is written.
type pipedAnswer struct {
	header, sent http.Header
	status       int
	once         sync.Once
	begun        chan struct{}
	pipe         *io.PipeWriter
}

// Header implements [http.ResponseWriter].
func (a *pipedAnswer) Header() http.Header { return a.header }

// WriteHeader implements [http.ResponseWriter].
func (a *pipedAnswer) WriteHeader(status int) {
	a.once.Do(func() {
		a.status, a.sent = status, a.header.Clone()
		close(a.begun)
	})
}

// Write implements [http.ResponseWriter].
func (a *pipedAnswer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.pipe.Write(p)
}
