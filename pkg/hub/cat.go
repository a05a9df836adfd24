package hub

import (
	"context"
	"fmt"
	"io"

	"github.com/modelreg/modelreg/pkg/artifact"
	"github.com/modelreg/modelreg/pkg/ref"
)

// copyBuffer is large because small reads cost a third of the time in calls.
const copyBuffer = 1 << 20

// Cat writes one file of the version that r resolves to. What was written is
// only right when no error is returned: the digest is known at the end.
func (h *Hub) Cat(ctx context.Context, r ref.Reference, path string, w io.Writer) error {
	t, err := h.model(ctx, r)
	if err != nil {
		return err
	}
	a, err := artifact.Open(ctx, t.repo, t.desc)
	if err != nil {
		return fmt.Errorf("read %s: %w", t.ref, err)
	}
	f, _, err := a.OpenFile(ctx, t.repo, path)
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", path, t.ref, err)
	}
	defer f.Close()
	// The structs hide ReaderFrom and WriterTo, which would not use the buffer.
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, copyBuffer))
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", path, t.ref, err)
	}
	return nil
}
