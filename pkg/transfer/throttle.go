package transfer

import (
	"context"

	"golang.org/x/time/rate"
)

// leastPiece is how little is read at once, however slow the transfer may be.
const leastPiece = 16 << 10

// A throttle keeps all connections together to a number of bytes a second. A
// nil throttle does not.
type throttle struct {
	tokens *rate.Limiter
	size   int // of a piece, bytes
}

// newThrottle returns the throttle for so many bytes a second; 0 is no limit.
func newThrottle(bandwidth int64) *throttle {
	if bandwidth <= 0 {
		return nil
	}
	size := int(min(max(bandwidth/20, leastPiece), bufferBytes))
	return &throttle{tokens: rate.NewLimiter(rate.Limit(bandwidth), size), size: size}
}

// piece returns as much of buf as may be read at once: less than a wait is
// long.
func (t *throttle) piece(buf []byte) []byte {
	if t == nil {
		return buf
	}
	return buf[:min(len(buf), t.size)]
}

// wait returns when n bytes that were read are within the limit.
func (t *throttle) wait(ctx context.Context, n int) error {
	if t == nil || n == 0 {
		return nil
	}
	return t.tokens.WaitN(ctx, n)
}
