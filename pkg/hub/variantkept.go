package hub

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/modelreg/modelreg/pkg/signing"
)

// packAll pushes the forms. Whether what is kept may be signed is asked before
// anything is sent, if it is known by then what is kept.
func (p *variantPush) packAll(ctx context.Context, forms []PushedForm) error {
	named := !slices.ContainsFunc(forms, func(f PushedForm) bool { return f.Name == "" })
	if named {
		if err := p.vouch(ctx, forms); err != nil {
			return err
		}
	}
	for _, form := range forms {
		if err := p.pack(ctx, form); err != nil {
			return err
		}
	}
	if !named {
		if err := p.vouch(ctx, nil); err != nil {
			return err
		}
	}
	p.noteKept()
	return nil
}

// vouch checks that the signer has signed what is kept, but for what forms take
// the place of. Whoever may push could have put a variant there, and the
// signature of the index would make it good.
func (p *variantPush) vouch(ctx context.Context, forms []PushedForm) error {
	if p.opts.Signer == nil {
		return nil
	}
	kept := slices.DeleteFunc(slices.Clone(p.members), func(m member) bool {
		return m.target != nil || slices.ContainsFunc(forms, func(f PushedForm) bool { return f.Name == m.variant.Name })
	})
	if len(kept) == 0 {
		return nil
	}
	trust, err := p.hub.ownTrust(ctx, p.opts.Signer)
	if err != nil {
		return fmt.Errorf("sign %s with variants that are there already: %w: %s", p.ref, err, keptHint)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(variantWorkers)
	for _, m := range kept {
		g.Go(func() error {
			target := signing.Target{Repository: p.ref.Name(), Descriptor: m.desc}
			if _, err := signing.Verify(gctx, p.repo, target, trust); err != nil {
				return fmt.Errorf("sign %s with variant %q, which is there already: %w: %s", p.ref, m.variant.Name, err, keptHint)
			}
			return nil
		})
	}
	return g.Wait()
}

// keptHint is what to do about variants that the signer has not signed.
const keptHint = "push it too, as in --variant NAME=PATH, or sign nothing with --add"

// ownTrust is trust in what the signer of a push has signed before: with its key,
// or as the identity that it has now, in a log or not. Whose word that identity is,
// the signer's own roots tell, or those that are known here.
func (h *Hub) ownTrust(ctx context.Context, s *signing.Signer) (signing.Trust, error) {
	var roots *signing.Roots
	if s.Public() == nil {
		rules, err := h.rules(ctx)
		if err != nil {
			return signing.Trust{}, err
		}
		if rules.Roots != nil {
			if roots, err = rules.Roots(""); err != nil {
				roots = nil // the signer may have its own
			}
		}
	}
	trust, err := s.Trust(ctx, roots)
	if err == nil && len(trust.Keys)+len(trust.Identities) == 0 {
		err = fmt.Errorf("%w: without a trusted root it is not known whose signatures are by the same identity", signing.ErrUntrusted)
	}
	trust.IgnoreLog = len(trust.Identities) > 0
	return trust, err
}

// noteKept tells that nobody looked at what is kept, if a look was asked for.
func (p *variantPush) noteKept() {
	var kept []string
	for _, m := range p.members {
		if m.target == nil {
			kept = append(kept, m.variant.Name)
		}
	}
	if len(kept) > 0 && !p.opts.NoScan {
		slices.Sort(kept)
		p.res.Notes = append(p.res.Notes, "kept as they are, and not scanned: "+strings.Join(kept, ", "))
	}
}
