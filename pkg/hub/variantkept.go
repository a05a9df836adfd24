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
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(variantWorkers)
	for _, m := range p.members {
		if m.target != nil || slices.ContainsFunc(forms, func(f PushedForm) bool { return f.Name == m.variant.Name }) {
			continue
		}
		g.Go(func() error {
			if err := p.signedBefore(gctx, m); err != nil {
				return fmt.Errorf("sign %s with variant %q, which is there already: %w: push it too, as in --variant NAME=PATH, or sign nothing with --add",
					p.ref, m.variant.Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// signedBefore checks that a variant has a signature by the key of this push.
func (p *variantPush) signedBefore(ctx context.Context, m member) error {
	key := p.opts.Signer.Public()
	if key == nil {
		return fmt.Errorf("%w: without a key it is not known whose signature would be the same", signing.ErrUntrusted)
	}
	target := signing.Target{Repository: p.ref.Name(), Descriptor: m.desc}
	_, err := signing.Verify(ctx, p.repo, target, signing.Trust{Keys: []*signing.PublicKey{key}})
	return err
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
