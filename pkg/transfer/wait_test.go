package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/modelreg/modelreg/pkg/transfer"
)

// A source that gives a little and then asks to wait has not done enough for all
// the waiting to be forgiven: a part must come for that.
func TestPullMaxWait(t *testing.T) {
	tests := map[string]struct {
		each, size int           // bytes that come between two requests to wait
		asks, most time.Duration // most is the option
		atLeast    time.Duration // waited until the end
		atMost     time.Duration
		fails      bool
	}{
		"a byte a minute":          {1, 1000, time.Minute, 0, 4 * time.Minute, 5 * time.Minute, true},
		"a byte a minute, shorter": {1, 1000, time.Minute, 150 * time.Second, 2 * time.Minute, 150 * time.Second, true},
		"a byte, without a word":   {1, 1 << 20, 0, 0, 4 * time.Minute, 5 * time.Minute, true},
		"asks for too much":        {1, 1000, time.Minute, 30 * time.Second, 0, time.Second, true},
		"longer":                   {100, 1000, time.Minute, time.Hour, 9 * time.Minute, 10 * time.Minute, false},
		"a part each":              {16 * mib, 128 * mib, time.Minute, 3 * time.Minute, 7 * time.Minute, 8 * time.Minute, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desc, data := content(70, tt.size)
				src := newSource(data)
				refuse := false
				src.wrap = func(_ context.Context, _ int64, rc io.ReadCloser) (io.ReadCloser, error) {
					if refuse = !refuse; !refuse {
						return nil, busy{tt.asks, true}
					}
					return io.NopCloser(io.MultiReader(io.LimitReader(rc, int64(tt.each)), breaking{})), nil
				}
				p := newPartial()
				start := time.Now()
				err := transfer.Pull(t.Context(), src, []transfer.Job{job(desc, p)}, transfer.PullOptions{Connections: 1, MaxWait: tt.most})
				took := time.Since(start)
				if errors.Is(err, transfer.ErrMaxWait) != tt.fails || errors.Is(err, busy{tt.asks, true}) != tt.fails && tt.asks > 0 {
					t.Errorf("Pull = %v, want it to wait too long: %v", err, tt.fails)
				}
				if took < tt.atLeast || took > tt.atMost {
					t.Errorf("took %v, want %v to %v", took, tt.atLeast, tt.atMost)
				}
				if !tt.fails && !bytes.Equal(p.data, data) {
					t.Error("the bytes are wrong")
				}
				if tt.fails && took > 0 && p.kept == 0 {
					t.Error("nothing is kept for the next run")
				}
			})
		})
	}
}
