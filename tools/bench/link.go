package main

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A link is a TCP proxy in front of the registry. It limits each connection, each
// way, waits before each response, and counts what passes. A request is what
// the client sends between two responses, which is true of HTTP/1.1 as the tools
// speak it.
type link struct {
	rate    float64       // bytes per second; 0 for no limit
	latency time.Duration // before the first byte of each response

	addr     string // host:port
	upstream atomic.Value
	listener net.Listener
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool

	down, up, requests, opened atomic.Int64
}

// A traffic is what passed a link.
type traffic struct {
	Down, Up, Requests, Conns int64 // bytes to the client, bytes from it
}

func newLink(rate float64, latency time.Duration) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{rate: rate, latency: latency, addr: l.Addr().String(), listener: l, conns: make(map[net.Conn]bool)}
	k.upstream.Store("")
	k.wait.Go(k.serve)
	return k, nil
}

// connect makes the link lead to host:port, and ends what there was.
func (k *link) connect(host string) {
	k.upstream.Store(host)
	k.drop()
}

func (k *link) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for c := range k.conns {
		_ = c.Close()
	}
}

func (k *link) close() error {
	err := k.listener.Close()
	k.drop()
	k.wait.Wait()
	return err
}

func (k *link) traffic() traffic {
	return traffic{k.down.Load(), k.up.Load(), k.requests.Load(), k.opened.Load()}
}

func (t traffic) since(before traffic) traffic {
	return traffic{t.Down - before.Down, t.Up - before.Up, t.Requests - before.Requests, t.Conns - before.Conns}
}

func (k *link) serve() {
	for {
		client, err := k.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", k.upstream.Load().(string))
		if err != nil {
			_ = client.Close()
			continue
		}
		k.opened.Add(1)
		k.mu.Lock()
		k.conns[client], k.conns[server] = true, true
		k.mu.Unlock()
		k.wait.Go(func() { k.pass(client, server) })
	}
}

// pass moves bytes both ways until either side is done.
func (k *link) pass(client, server net.Conn) {
	var asked atomic.Bool // the client has sent something since the last response
	var both sync.WaitGroup
	both.Go(func() {
		k.copy(server, client, &k.up, func() {
			if asked.CompareAndSwap(false, true) {
				k.requests.Add(1)
			}
		})
		_ = server.(*net.TCPConn).CloseWrite()
	})
	both.Go(func() {
		k.copy(client, server, &k.down, func() {
			if asked.CompareAndSwap(true, false) {
				time.Sleep(k.latency)
			}
		})
		_ = client.Close()
		_ = server.Close()
	})
	both.Wait()
	k.mu.Lock()
	delete(k.conns, client)
	delete(k.conns, server)
	k.mu.Unlock()
	_ = client.Close()
	_ = server.Close()
}

// copy moves bytes from src to dst at the link's rate and counts them. before is
// called before each piece goes on.
func (k *link) copy(dst io.Writer, src io.Reader, count *atomic.Int64, before func()) {
	buf := make([]byte, 64<<10)
	p := pacer{rate: k.rate}
	for {
		n, err := src.Read(buf)
		if n > 0 {
			before()
			p.take(n)
			count.Add(int64(n))
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// A pacer spreads bytes over time.
type pacer struct {
	rate float64
	next time.Time // when all that was taken will have passed
}

// slack is how far bytes may run ahead of their time: sleeps are no shorter.
const slack = 5 * time.Millisecond

func (p *pacer) take(n int) {
	if p.rate <= 0 {
		return
	}
	now := time.Now()
	if idle := now.Add(-slack); p.next.Before(idle) {
		p.next = idle
	}
	p.next = p.next.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	if wait := p.next.Sub(now); wait > slack/2 {
		time.Sleep(wait)
	}
}

// reached waits until more than n bytes have gone to clients since before, and
// reports whether that was so before ctx ended.
func (k *link) reached(ctx context.Context, before traffic, n int64) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for k.traffic().since(before).Down < n {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}
