package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/hub"
	"github.com/modelreg/modelreg/pkg/mediatypes"
	"github.com/modelreg/modelreg/pkg/ref"
	"github.com/modelreg/modelreg/pkg/registry"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
	"github.com/modelreg/modelreg/pkg/signing/policy"
)

// A gatekeeper has the policy asked about what the registry of this process gives
// out. The registry has to be there before it is asked.
type gatekeeper struct {
	*rulebook
	door     *hub.Door
	registry http.Handler
}

// gate makes the gatekeeper of --policy; nil without one. The policy is read now:
// a registry that could not tell what it may give must not start. What a version was
// made of may be in other registries, which are asked with the user's credentials
// where a policy has conditions on that.
func (a *app) gate(ctx context.Context, f serveFlags, addr string) (*gatekeeper, error) {
	if a.policies.policy == "" {
		return nil, nil
	}
	if !f.ro {
		return nil, usageError{
			errors.New("--policy goes with --read-only: who publishes has to read what nobody has signed yet"),
			"serve the same directory once more, without --policy, to those who publish",
		}
	}
	host := cmp.Or(f.as, addr)
	if r, err := ref.Parse(host + "/x"); err != nil || r.Host != host {
		return nil, usagef("--as %s: it is the HOST or HOST:PORT that references begin with", host)
	}
	asks, err := a.hubUnder(nil, nil) // where the policy itself may have to be fetched
	if err != nil {
		return nil, err
	}
	source := policySource{a.policies.policy, a.config.policySigners().and(a.policies.policySigners)}
	g := &gatekeeper{rulebook: &rulebook{app: a, read: func(ctx context.Context) (hub.Rules, error) {
		return a.rules(asks, []policySource{source})(ctx)
	}}}
	if !strings.HasPrefix(source.name, "oci://") {
		g.file = source.name
	}
	if g.rules, err = g.read(ctx); err != nil {
		return nil, err
	}
	here := remote.InProcess(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Host != host { // what has its name here is not it
			http.Error(w, "this registry answers by its own name", http.StatusMisdirectedRequest)
			return
		}
		g.registry.ServeHTTP(w, req)
	}))
	inside, err := remote.New(remote.Options{Transport: here, PlainHTTP: func(string) bool { return true }, UserAgent: "modelreg/" + version()})
	if err != nil {
		return nil, err
	}
	elsewhere, err := a.client()
	if err != nil {
		return nil, err
	}
	g.door = hub.NewDoor(hub.New(hub.Options{
		Remote: elsewhere, Inside: map[string]*remote.Client{host: inside}, Rules: g.now, Warn: func(m string) { a.printer.Warn("%s", spoken(m)) },
	}), host)
	g.changed = g.door.Forget
	return g, nil
}

// admit is what the registry asks.
func (g *gatekeeper) admit(ctx context.Context, name string, dgst digest.Digest) error {
	err := g.door.Admit(ctx, name, dgst)
	if errors.Is(err, hub.ErrNothingThere) {
		return registry.ErrNoManifest
	}
	if refusal, ok := errors.AsType[*policy.Refusal](err); ok {
		return &registry.DeniedError{Reason: refusal.Error(), Detail: refusal.Decision}
	}
	// What is attached, or is in the version, is nothing that can be decided on.
	for _, cause := range []error{signing.ErrTooMany, mediatypes.ErrMalformed, artifact.ErrUnsafe, artifact.ErrNotModel} {
		if errors.Is(err, cause) {
			return &registry.DeniedError{Reason: "no policy can be asked: " + err.Error()}
		}
	}
	return err
}
