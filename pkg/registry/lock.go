package registry

import "sync"

// A keyedMutex is one lock per repository. Locks of repositories that nobody
// waits for take no memory.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]*countedMutex
}

type countedMutex struct {
	sync.Mutex
	users int
}

// lock takes the lock of key and returns what gives it back.
func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = make(map[string]*countedMutex)
	}
	m := k.held[key]
	if m == nil {
		m = &countedMutex{}
		k.held[key] = m
	}
	m.users++
	k.mu.Unlock()

	m.Lock()
	return func() {
		m.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if m.users--; m.users == 0 {
			delete(k.held, key)
		}
	}
}
