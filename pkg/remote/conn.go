package remote

import (
	"context"
	"io"
	"net"
	"syscall"
	"time"
)

const (
	// sliceBytes is how much is handed to the kernel at once. Each slice has
	// stallTimeout to go; smaller ones cost system calls.
	sliceBytes = 1 << 20

	// stallTimeout is how long bytes may stand still in either direction.
	stallTimeout = 60 * time.Second

	dialTimeout = 10 * time.Second
)

// A dialer makes connections that give up when writing stalls.
type dialer struct{ net.Dialer }

func newDialer(control func(network, address string, c syscall.RawConn) error) *dialer {
	return &dialer{net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Control: control}}
}

// DialContext connects as [net.Dialer.DialContext] does.
func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := d.Dialer.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c}, nil
}

// A conn is a connection to a registry. Reading has no deadline here, because
// waiting for the answer to an upload may rightly take long.
type conn struct{ net.Conn }

func (c *conn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// ReadFrom is how net/http sends a request body over a connection without
// TLS. The body of an upload goes in slices, each with its own deadline and
// counted when it has gone; from a file the kernel moves them (sendfile).
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	limited, ok := r.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	body, ok := limited.R.(*uploadBody)
	if !ok {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	n, err := c.sendBody(body, limited.N)
	limited.N -= n
	return n, err
}

func (c *conn) sendBody(body *uploadBody, limit int64) (int64, error) {
	send := c.copySlice(body)
	to, ok := c.Conn.(io.ReaderFrom)
	if f := body.file(); ok && f != nil {
		send = func(n int64) (int64, error) {
			return to.ReadFrom(&io.LimitedReader{R: f, N: n})
		}
	}
	var total int64
	for total < limit && body.left > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(stallTimeout)); err != nil {
			return total, err
		}
		n, err := send(min(sliceBytes, limit-total, body.left))
		total += n
		body.moved(n)
		if err != nil {
			return total, err
		}
		if n == 0 {
			return total, body.ended()
		}
	}
	return total, nil
}

// copySlice returns a function that moves bytes through a buffer of its own,
// large because the 32 KiB of io.Copy cost more time in calls than in copying.
func (c *conn) copySlice(body *uploadBody) func(int64) (int64, error) {
	var buf []byte
	return func(n int64) (int64, error) {
		if buf == nil {
			buf = make([]byte, min(sliceBytes, body.left))
		}
		m, err := body.fill(buf[:min(n, int64(len(buf)))], func(p []byte) (int, error) {
			return io.ReadFull(body.src, p)
		})
		if m == 0 || err != nil {
			return 0, err
		}
		w, err := c.Conn.Write(buf[:m])
		return int64(w), err
	}
}
