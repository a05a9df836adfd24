package shard

import (
	"context"
	"fmt"
	"strings"
)

// A tensor is one that is to be placed.
type tensor struct {
	name   string
	dtype  string // safetensors
	kind   uint32 // GGUF
	shape  []int64
	file   *File
	offset int64 // in file
	bytes  int64
}

// A layout knows how large a shard becomes, and writes it.
type layout interface {
	// add returns what fill becomes with one more tensor.
	add(fill, *tensor) fill

	// size is that of the whole file.
	size(fill) int64

	// write returns the parts of shard i of n.
	write(i, n int, tensors []tensor) ([]Part, error)

	// maxShards is how many the format can number.
	maxShards() int

	// leader tells whether the first shard may be without tensors.
	leader() bool
}

// A fill is how full a shard is.
type fill struct {
	first      bool
	tensors    int
	head, data int64 // bytes of descriptions and of tensors
}

// A cutter puts tensors into shards, one after the other.
type cutter struct {
	layout layout
	limit  int64
	now    fill
	start  int // of the current shard
	end    int // of what has been placed
	ends   []int
	larger int
}

// cut returns where shards end, as numbers of tensors.
func cut(ctx context.Context, l layout, tensors []tensor, limit int64) (*cutter, error) {
	c := &cutter{layout: l, limit: limit, now: fill{first: true}}
	for c.end < len(tensors) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		run := tensors[c.end : c.end+block(tensors[c.end:])]
		if !c.whole(run) {
			for i := range run {
				c.one(&run[i])
			}
		}
		if len(c.ends) > l.maxShards() {
			return nil, fmt.Errorf("%w: more than %d shards", ErrConflict, l.maxShards())
		}
	}
	c.close()
	return c, nil
}

// whole places a transformer block in one shard, if there is one for it: the
// current one, or a new one where the current is not left half empty.
func (c *cutter) whole(run []tensor) bool {
	with, alone := c.now, fill{}
	for i := range run {
		with = c.layout.add(with, &run[i])
	}
	if c.layout.size(with) <= c.limit {
		c.now, c.end = with, c.end+len(run)
		return true
	}
	if c.layout.size(c.now) < c.limit/2 || len(run) == 1 || c.now.tensors == 0 && !c.layout.leader() {
		return false
	}
	for i := range run {
		alone = c.layout.add(alone, &run[i])
	}
	if c.layout.size(alone) > c.limit {
		return false
	}
	c.close()
	c.now, c.end = alone, c.end+len(run)
	return true
}

// one places a tensor.
func (c *cutter) one(t *tensor) {
	with := c.layout.add(c.now, t)
	if c.layout.size(with) <= c.limit {
		c.now, c.end = with, c.end+1
		return
	}
	if alone := c.layout.add(fill{}, t); c.now.tensors > 0 || c.now.first && c.layout.leader() && c.layout.size(alone) <= c.limit {
		c.close()
		with = alone
	}
	c.now, c.end = with, c.end+1
	if c.layout.size(with) > c.limit {
		c.larger++
		c.close()
	}
}

// close ends the current shard.
func (c *cutter) close() {
	if c.end == c.start && !(c.now.first && c.end == 0) {
		return
	}
	c.ends = append(c.ends, c.end)
	c.start, c.now = c.end, fill{}
}

// block returns how many of the first tensors are of one transformer block.
func block(tensors []tensor) int {
	prefix := blockPrefix(tensors[0].name)
	if prefix == "" {
		return 1
	}
	n := 1
	for n < len(tensors) && strings.HasPrefix(tensors[n].name, prefix) {
		n++
	}
	return n
}

// blockPrefix is the name of a tensor up to its first number: "model.layers.0."
// of "model.layers.0.mlp.gate_proj.weight", "blk.0." of "blk.0.attn_q.weight".
// Names without a number have none.
func blockPrefix(name string) string {
	for end := 0; ; {
		i := strings.IndexByte(name[end:], '.')
		if i < 0 {
			return ""
		}
		part := name[end : end+i]
		end += i + 1
		if part != "" && strings.Trim(part, "0123456789") == "" {
			return name[:end]
		}
	}
}
