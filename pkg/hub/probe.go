package hub

import (
	"context"

	"github.com/modelreg/modelreg/pkg/remote"
)

// Probe finds out what a registry can do, against a scratch repository below
// prefix on host, or below the root when prefix is empty.
func (h *Hub) Probe(ctx context.Context, host, prefix string) (remote.Capabilities, error) {
	return h.opts.Remote.Probe(ctx, host, prefix)
}

// Mirrors asks the mirrors that are set up for the registry on host whether
// they answer.
func (h *Hub) Mirrors(ctx context.Context, host string) ([]remote.MirrorStatus, error) {
	return h.opts.Remote.Mirrors(ctx, host)
}
