package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/modelreg/modelreg/pkg/registry"
)

type serveFlags struct {
	data, listen     string
	tlsCert, tlsKey  string
	insecureHTTP, ro bool
	verbose          bool
	as               string
	lookEvery        time.Duration
}

// Limits of the server: slow clients are cut off before they cost others.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	drainTimeout      = 30 * time.Second
)

func newServe(a *app) *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run a registry",
		Long: `Run an OCI registry with the referrers API on a directory. It has no accounts: it
listens on loopback unless told otherwise.

The address is printed on standard output once the registry answers. On SIGTERM or
Ctrl-C requests under way are finished first.

With --policy versions that the policy does not allow are not given out: a request for
the manifest is answered with 403, the rule, what was found and what would satisfy it.
The policy knows the registry by the name of --as. It is read when the registry starts,
every --policy-interval, and on SIGHUP; one that cannot be used is told of, and the one
before decides on. It is a door for those who use models, beside a registry on the same directory for those who
publish, and takes nothing off their own policies: a blob is given to whoever knows its
digest.`,
		Example: `  modelreg serve --data /var/lib/modelreg
  modelreg serve --data ./data --listen 127.0.0.1:0 --format json
  modelreg serve --data /var/lib/modelreg --read-only --policy policy.yaml --as models.example.com \
    --listen 0.0.0.0:443 --tls-cert server.pem --tls-key server.key`,
		Args: exactArgs(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case f.lookEvery < 0:
				return usagef("--policy-interval %v: use a duration such as 30s, or 0", f.lookEvery)
			case cmd.Flags().Changed("policy-interval") && a.policies.policy == "":
				return usagef("--policy-interval goes with --policy")
			}
			return a.serve(cmd.Context(), f)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "modelreg-data", "keep all content in `DIR`")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:5000", "`ADDRESS` to listen on; port 0 takes a free one")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "serve HTTPS with this certificate, PEM `FILE`")
	fl.StringVar(&f.tlsKey, "tls-key", "", "key of --tls-cert, PEM `FILE`")
	fl.BoolVar(&f.insecureHTTP, "insecure-http", false, "allow plain HTTP on an address that is not loopback")
	fl.BoolVar(&f.ro, "read-only", false, "refuse all writes")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "log requests on standard error")
	fl.StringVar(&a.policies.policy, "policy", "", "with --read-only: give out only what the policy in `FILE`, or in a registry at oci://REF, allows")
	fl.StringVar(&f.as, "as", "", "what policies call the registry, `HOST` or HOST:PORT (default: the address it listens on)")
	fl.DurationVar(&f.lookEvery, "policy-interval", time.Minute, "look each `DURATION` whether the policy has changed; 0 looks on SIGHUP only")
	a.addPolicyTrust(cmd)
	return cmd
}

func (a *app) serve(ctx context.Context, f serveFlags) error {
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return usagef("--tls-cert and --tls-key go together")
	}
	ln, err := listen(f)
	if err != nil {
		return err
	}
	gate, err := a.gate(ctx, f, ln.Addr().String())
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	opts := registry.Options{Data: f.data, ReadOnly: f.ro}
	if gate != nil {
		opts.Admit = gate.admit
	}
	if f.verbose {
		opts.Logger = slog.New(slog.NewTextHandler(a.err, nil))
	}
	reg, err := registry.New(ctx, opts)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	if gate != nil {
		gate.registry = reg.Distribution()
	}
	srv := &http.Server{
		Handler: reg, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	if gate != nil {
		following, stop := context.WithCancel(ctx)
		wait := gate.follow(following, f.lookEvery)
		defer func() { stop(); wait() }()
	}
	if err := a.announce(ln.Addr(), f); err != nil {
		return errors.Join(err, ln.Close(), reg.Close())
	}
	return errors.Join(a.serveUntilDone(ctx, srv, ln), reg.Close())
}

// listen opens the port, and refuses to show an open registry to a network
// unless that is what was asked for.
func listen(f serveFlags) (net.Listener, error) {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return nil, usagef("--listen %s: use HOST:PORT", f.listen)
	}
	addr, err := netip.ParseAddr(host)
	loopback := host == "localhost" || (err == nil && addr.IsLoopback())
	if !loopback && f.tlsCert == "" && !f.insecureHTTP {
		return nil, usagef("--listen %s: anybody who can reach this address could read and write: use --tls-cert and --tls-key, or --insecure-http", f.listen)
	}
	ln, err := net.Listen("tcp", f.listen)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if f.tlsCert == "" {
		return ln, nil
	}
	pair, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read TLS certificate: %w", err), ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}), nil
}

func (a *app) announce(addr net.Addr, f serveFlags) error {
	scheme := "http"
	if f.tlsCert != "" {
		scheme = "https"
	}
	res := map[string]string{"address": addr.String(), "url": scheme + "://" + addr.String(), "data": f.data}
	return a.printer.Result(res, func(w io.Writer) { fmt.Fprintln(w, res["url"]) })
}

// serveUntilDone serves until ctx ends, then lets requests finish.
func (a *app) serveUntilDone(ctx context.Context, srv *http.Server, ln net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	a.printer.Note("stopping: waiting for requests to finish")
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	err := srv.Shutdown(drain)
	<-failed
	if err != nil {
		return errors.Join(fmt.Errorf("stop: %w", err), srv.Close())
	}
	return nil
}
