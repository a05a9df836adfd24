package remote

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// A Memory outlives the process: with one, an upload goes on that an earlier
// process began, and a registry's way to take uploads need not be found out
// each time. It is called from several goroutines at once, and does what it
// can: a memory that fails is one that knows nothing.
type Memory interface {
	// Upload opens the note of an upload of what key stands for to a
	// repository ("host/name"). It returns nil when another process is at
	// it, or nothing can be kept.
	Upload(repository, key string) Note

	// Habit returns what [Memory.SetHabit] noted of a registry, or "".
	Habit(host string) string

	SetHabit(host, text string)
}

// A Note tells where one upload goes on. Nobody else has it until it is closed.
type Note interface {
	// Location is the address that was kept last, or "". It can hold
	// secrets.
	Location() string

	// Keep notes the address; "" means that there is nothing to go on with.
	Keep(location string)

	Close()
}

// SetMemory gives the repository a memory. It is called before the first
// upload, or not at all.
func (r *Repository) SetMemory(m Memory) { r.memory = m }

// A mode is a way to upload a blob.
type mode int

// The modes, as in the OCI distribution specification section "Pushing blobs":
// all in the closing PUT; all in one PATCH, then an empty PUT; pieces.
const (
	whole mode = iota
	streamed
	chunked
)

const (
	defaultPiece = 64 << 20 // of a chunked upload: small ones cost the registry a sync each
	leastPiece   = 1 << 20
)

// A habit is how a registry takes uploads, as far as it was found out. The
// zero value is what is tried first.
type habit struct {
	mode     mode  // for blobs whose digest is known
	piece    int64 // of a chunked upload; 0 means defaultPiece
	noStream bool  // it takes no PATCH of a whole blob
}

var modeNames = []string{whole: "whole", streamed: "streamed", chunked: "chunked"}

// String returns a habit in the form that parseHabit reads.
func (h habit) String() string {
	s := fmt.Sprintf("%s %d", modeNames[h.mode], h.piece)
	if h.noStream {
		s += " nostream"
	}
	return s
}

// parseHabit reads a habit. What it cannot read is the zero value.
func parseHabit(s string) (h habit) {
	words := strings.Fields(s)
	if len(words) < 2 || len(words) > 3 {
		return habit{}
	}
	for m, name := range modeNames {
		if name == words[0] {
			h.mode = mode(m)
		}
	}
	n, err := strconv.ParseInt(words[1], 10, 64)
	if err != nil || n != 0 && n < leastPiece || modeNames[h.mode] != words[0] {
		return habit{}
	}
	h.piece = n
	if len(words) == 3 {
		h.noStream = words[2] == "nostream"
	}
	return h
}

// habits are those of the registries that a client has met.
type habits struct {
	mu    sync.Mutex
	known map[string]habit
}

// habit returns what is known of the registry.
func (r *Repository) habit() habit {
	all := &r.client.habits
	all.mu.Lock()
	defer all.mu.Unlock()
	h, ok := all.known[r.at.host]
	if !ok {
		if r.memory != nil {
			h = parseHabit(r.memory.Habit(r.at.host))
		}
		if all.known == nil {
			all.known = make(map[string]habit)
		}
		all.known[r.at.host] = h
	}
	return h
}

// learn notes what was found out of the registry.
func (r *Repository) learn(change func(*habit)) {
	h := r.habit()
	all := &r.client.habits
	all.mu.Lock()
	old := h
	change(&h)
	all.known[r.at.host] = h
	all.mu.Unlock()
	if r.memory != nil && h != old {
		r.memory.SetHabit(r.at.host, h.String())
	}
}
