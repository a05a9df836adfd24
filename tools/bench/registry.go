package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// A registry is a stock distribution registry on loopback, over a directory.
type registry struct {
	host    string
	process *process
}

// startRegistry starts a registry on what is in dir, which is made if need be.
func startRegistry(ctx context.Context, bin, dir string) (*registry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	host, err := freeAddress()
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q, secret: x}\n",
		filepath.Join(dir, "data"), host)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	p, err := start(ctx, command{dir, []string{bin, "serve", file}}, dir)
	if err != nil {
		return nil, err
	}
	r := &registry{host, p}
	if err := r.answers(ctx); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func (r *registry) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.host+"/v2/", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the registry does not answer: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the registry; its directory stays.
func (r *registry) stop() {
	_ = r.process.terminate()
	_, _ = r.process.wait() // it was told to end
}

// freeAddress returns an address that nobody listens on now.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
