package signing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
)

// Services vouch for a signature beside its key: when it was made, and that it
// is known to have been made. The zero value are none.
type Services struct {
	// Fulcio is the URL of the certificate authority of keyless signatures. It
	// is sent an OIDC token, and must be reached by https but on this machine.
	Fulcio string

	// Logs are transparency logs. What is written to one stays there, for all
	// who may read the log: the certificate with its identity, or the public
	// key, the signature, and a digest of what was signed.
	Logs []LogService

	// Timestamps are the URLs of timestamp authorities.
	Timestamps []string

	// Roots, if not nil, must believe a signature before it is attached.
	Roots *Roots

	// Transport makes the requests. Nil means [http.DefaultTransport].
	Transport http.RoundTripper
}

// A LogService is a transparency log: the URL of a Rekor, and the version of its
// API, 1 or 2. The second says nothing of times; a certificate's signature needs
// a timestamp authority beside it.
type LogService struct {
	URL     string
	Version int
}

// String returns the URL without what may be secret in it.
func (l LogService) String() string { return place(l.URL) }

// PublicServices are those of the public sigstore, at sigstore.dev.
func PublicServices() Services {
	return Services{
		Fulcio:     "https://fulcio.sigstore.dev",
		Logs:       []LogService{{URL: "https://rekor.sigstore.dev", Version: 1}},
		Timestamps: []string{"https://timestamp.sigstore.dev/api/v1/timestamp"},
	}
}

// maxServices bounds the services that a signing configuration can make one ask.
const maxServices = 8

// ParseSigningConfig reads sigstore's signing_config.json, and chooses the
// services that it wants used now.
func ParseSigningConfig(raw []byte) (Services, error) {
	if len(raw) > maxRootBytes {
		return Services{}, fmt.Errorf("read signing configuration: %d bytes, more than %d", len(raw), maxRootBytes)
	}
	var s Services
	err := guard(func() (err error) {
		s, err = parseSigningConfig(raw)
		return err
	})
	if err != nil {
		return Services{}, fmt.Errorf("read signing configuration: %w", err)
	}
	return s, nil
}

func parseSigningConfig(raw []byte) (Services, error) {
	var s Services
	config, err := root.NewSigningConfigFromJSON(raw)
	if err != nil {
		return s, err
	}
	now := time.Now()
	if list := config.FulcioCertificateAuthorityURLs(); len(list) > 0 {
		fulcio, err := root.SelectService(list, sign.FulcioAPIVersions, now)
		if err != nil {
			return s, fmt.Errorf("certificate authority: %w", err)
		}
		s.Fulcio = fulcio.URL
	}
	if list := config.RekorLogURLs(); len(list) > 0 {
		logs, err := root.SelectServices(list, config.RekorLogURLsConfig(), sign.RekorAPIVersions, now)
		if err != nil {
			return s, fmt.Errorf("log: %w", err)
		}
		for _, log := range logs {
			s.Logs = append(s.Logs, LogService{URL: log.URL, Version: int(log.MajorAPIVersion)})
		}
	}
	if list := config.TimestampAuthorityURLs(); len(list) > 0 {
		tsas, err := root.SelectServices(list, config.TimestampAuthorityURLsConfig(), sign.TimestampAuthorityAPIVersions, now)
		if err != nil {
			return s, fmt.Errorf("timestamp authority: %w", err)
		}
		for _, tsa := range tsas {
			s.Timestamps = append(s.Timestamps, tsa.URL)
		}
	}
	return s, nil
}

// check tells what is wrong with the services, for a signature with a
// certificate or one with a key.
func (s Services) check(certificate bool) error {
	urls := append([]string{}, s.Timestamps...)
	for _, log := range s.Logs {
		if log.Version != 1 && log.Version != 2 {
			return fmt.Errorf("log %s of version %d: 1 and 2 are known", log, log.Version)
		}
		urls = append(urls, log.URL)
	}
	if len(urls) > maxServices {
		return fmt.Errorf("%d logs and timestamp authorities, more than %d", len(urls), maxServices)
	}
	if certificate {
		if s.Fulcio == "" {
			return errors.New("keyless signing needs a certificate authority (Fulcio)")
		}
		if !s.tellsTime() {
			return errors.New("a keyless signature is good for the minutes of its certificate, and somebody must say when it was made: " +
				"a timestamp authority, or a log of the first version")
		}
		if !keepsSecrets(s.Fulcio) {
			return fmt.Errorf("certificate authority %s: the OIDC token would go over the network in the clear: use https", place(s.Fulcio))
		}
		urls = append(urls, s.Fulcio)
	}
	for _, text := range urls {
		if u, err := url.Parse(text); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return fmt.Errorf("%q is no URL of a service", place(text))
		}
	}
	return nil
}

// keepsSecrets tells whether what is sent to a URL stays between the two.
func keepsSecrets(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return true // what is no URL is found later
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}

func (s Services) tellsTime() bool {
	for _, log := range s.Logs {
		if log.Version == 1 {
			return true
		}
	}
	return len(s.Timestamps) > 0
}

func (s Services) none() bool { return len(s.Logs)+len(s.Timestamps) == 0 }

// ErrService means that a certificate authority, log, timestamp authority or
// trust repository could not be used just now; ErrRefused that it refuses what it
// was asked.
var (
	ErrService = errors.New("sigstore service does not answer")
	ErrRefused = errors.New("sigstore service refuses")
)

// A ServiceError is the answer of a service that is no success. It wraps
// [ErrService] or [ErrRefused].
type ServiceError struct {
	URL      string // without a query
	Status   int
	Message  string // the beginning of what the service says
	location string // of the entry that is there already
}

func (e *ServiceError) Error() string {
	return fmt.Sprintf("%s answers %d %s: %s", e.URL, e.Status, http.StatusText(e.Status), e.Message)
}

// Unwrap returns the class of the error.
func (e *ServiceError) Unwrap() error {
	if e.again() {
		return ErrService
	}
	return ErrRefused
}

// again tells whether the same request may go better another time.
func (e *ServiceError) again() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests
}

// Limits of what signing services are given.
const (
	serviceTries    = 3
	serviceTimeout  = 30 * time.Second // for one request
	maxServiceReply = 4 << 20          // of an answer, in bytes
	maxServiceError = 300              // of what is shown of a refusal, in bytes
)

// serviceTransport makes the requests of one signature: they end with its
// context, are tried again where that can help, and answers that are no success
// are errors of one kind, whoever asked. A redirect is none: a token goes to whom
// it was meant for and nobody else.
type serviceTransport struct {
	ctx  context.Context
	base http.RoundTripper
}

func newServiceTransport(ctx context.Context, base http.RoundTripper) *serviceTransport {
	if base == nil {
		base = http.DefaultTransport
	}
	return &serviceTransport{ctx: ctx, base: base}
}

// RoundTrip makes one request.
func (t *serviceTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	for try := 1; ; try++ {
		resp, err := t.once(req)
		failed, isAnswer := errors.AsType[*ServiceError](err)
		if err == nil || try == serviceTries || isAnswer && !failed.again() || t.ctx.Err() != nil {
			return resp, err
		}
		if req.Body != nil {
			if req.GetBody == nil {
				return resp, err
			}
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		wait := time.Duration(1<<(try-1))*500*time.Millisecond + rand.N(200*time.Millisecond)
		select {
		case <-t.ctx.Done():
			return nil, context.Cause(t.ctx)
		case <-time.After(wait):
		}
	}
}

func (t *serviceTransport) once(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(t.ctx, serviceTimeout)
	defer cancel()
	resp, err := t.base.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxServiceReply+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxServiceReply {
		return nil, &ServiceError{URL: where(req.URL), Status: resp.StatusCode, Message: fmt.Sprintf("more than %d bytes", maxServiceReply)}
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, &ServiceError{
			URL: where(req.URL), Status: resp.StatusCode, location: resp.Header.Get("Location"),
			Message: strings.TrimSpace(string(raw[:min(len(raw), maxServiceError)])),
		}
	}
	resp.Body = io.NopCloser(strings.NewReader(string(raw)))
	return resp, nil
}

// where is a URL without what may be secret in it.
func where(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }

// place is where, of a text that somebody gave and that may be no URL.
func place(text string) string {
	if u, err := url.Parse(text); err == nil && u.Host != "" {
		return where(u)
	}
	text, _, _ = strings.Cut(text, "?")
	return text[strings.LastIndex(text, "@")+1:]
}
