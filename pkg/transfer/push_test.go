package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content/memory"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// A target is oras-go's memory store that can fail first.
type target struct {
	*memory.Store
	fail []error // for the first pushes; each reads a part
}

func (s *target) Push(ctx context.Context, desc ocispec.Descriptor, r io.Reader) error {
	if len(s.fail) == 0 {
		return s.Store.Push(ctx, desc, r)
	}
	err := s.fail[0]
	s.fail = s.fail[1:]
	_, _ = io.CopyN(io.Discard, r, 100)
	return err
}

func TestPush(t *testing.T) {
	refused := errors.New("refused")
	reset := syscall.ECONNRESET
	tests := map[string]struct {
		before bool // the target has the blob
		fail   []error
		want   transfer.Action
		err    error
	}{
		"new":                 {false, nil, transfer.Done, nil},
		"there":               {true, nil, transfer.Exists, nil},
		"came in between":     {false, []error{errdef.ErrAlreadyExists}, transfer.Exists, nil},
		"broken twice":        {false, []error{reset, io.ErrUnexpectedEOF}, transfer.Done, nil},
		"busy":                {false, []error{busy{0, true}}, transfer.Done, nil},
		"refused":             {false, []error{refused}, 0, refused},
		"broken all the time": {false, slices.Repeat([]error{reset}, 6), 0, reset},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desc, data := content(1, 1000)
				dst := &target{Store: memory.New()}
				if tt.before {
					if err := dst.Push(t.Context(), desc, bytes.NewReader(data)); err != nil {
						t.Fatal(err)
					}
				}
				dst.fail = tt.fail
				var seen ledger
				did, err := transfer.Push(t.Context(), dst, transfer.Blob{Desc: desc, Open: opener(data)}, transfer.PushOptions{Observe: seen.observe})
				if !errors.Is(err, tt.err) || err == nil && did != tt.want {
					t.Fatalf("Push = %v, %v; want %v, %v", did, err, tt.want, tt.err)
				}
				if err == nil && seen.count(tt.want) != 1 {
					t.Errorf("the end was told %d times", seen.count(tt.want))
				}
				if did == transfer.Done && err == nil && seen.moved() != desc.Size {
					t.Errorf("%d bytes told, want %d", seen.moved(), desc.Size)
				}
			})
		})
	}
}

// A mounter can link blobs from some repositories.
type mounter struct {
	*memory.Store
	has   string
	asked []string
}

func (m *mounter) MountFrom(_ context.Context, _ ocispec.Descriptor, from string) (bool, error) {
	m.asked = append(m.asked, from)
	return from == m.has, nil
}

func TestPushMounts(t *testing.T) {
	desc, data := content(1, 1000)
	for has, want := range map[string]transfer.Action{"b": transfer.Mounted, "z": transfer.Done} {
		m := &mounter{Store: memory.New(), has: has}
		did, err := transfer.Push(t.Context(), m, transfer.Blob{Desc: desc, Open: opener(data)},
			transfer.PushOptions{MountFrom: []string{"a", "b", "c"}})
		if err != nil || did != want {
			t.Errorf("Push with the blob in %s = %v, %v; want %v", has, did, err, want)
		}
		if has == "b" && !slices.Equal(m.asked, []string{"a", "b"}) {
			t.Errorf("asked %v, want no further than b", m.asked)
		}
	}
}
