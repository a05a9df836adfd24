package index

import (
	"context"
	"database/sql"
	"fmt"
)

// A reader is one search's view of the index: what was there when it began.
type reader struct {
	outer context.Context // may be cancelled
	ctx   context.Context
	tx    *sql.Tx
	state state
	cache *cache
	body  bodyReader

	group   *group // read last
	groupAt int64

	getPost, getLong, getCol, getMetric, getDoc, getWords *sql.Stmt
}

// read runs f on what is there now.
func (ix *Index) read(ctx context.Context, f func(*reader) error) error {
	tx, err := ix.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	// As in a writer, cancelling is looked for between statements.
	r := &reader{outer: ctx, ctx: context.WithoutCancel(ctx), tx: tx, cache: ix.cache}
	if r.state, err = readState(ctx, tx); err != nil {
		return err
	}
	return f(r)
}

// stmt prepares a statement when it is first used.
func (r *reader) stmt(s **sql.Stmt, query string) (*sql.Stmt, error) {
	if *s != nil {
		return *s, nil
	}
	var err error
	*s, err = r.tx.PrepareContext(r.ctx, query)
	return *s, err
}

// chunks is how many chunks there are.
func (r *reader) chunks() int { return int((r.state.next + chunkSize - 1) / chunkSize) }

// A postings holds the postings of one term, by chunk.
type postings []posting

func (p postings) at(chunk int) posting {
	if chunk < len(p) {
		return p[chunk]
	}
	return posting{}
}

// term returns the postings of a term.
func (r *reader) term(field byte, word string) (postings, error) {
	if field == fieldRepo {
		return r.postings(r.state.repoHash(word), false)
	}
	return r.postings(hashOf(field, word), field == fieldLive)
}

// postings returns those of a term or a pair. Those that change in old chunks too
// are read anew when anything changed; of the others only chunks that were not
// full.
func (r *reader) postings(hash int64, changes bool) (postings, error) {
	key := cacheKey{'p', hash}
	if err := r.outer.Err(); err != nil {
		return nil, err
	}
	list, from, now := r.kept(key, changes)
	if now {
		return list, nil
	}
	if err := r.load(hash, from, &list); err != nil {
		return nil, fmt.Errorf("read postings: %w", err)
	}
	r.keep(key, list, list.bytes())
	return list, nil
}

// kept returns what the cache has of postings: whether they are those of now, and
// if not, those of the chunks before from, which are full.
func (r *reader) kept(key cacheKey, changes bool) (list postings, from int, now bool) {
	c := r.cache.get(key)
	if c == nil || c.epoch != r.state.epoch || c.generation > r.state.generation {
		return nil, 0, false
	}
	old := c.value.(postings)
	if c.generation == r.state.generation {
		return old, 0, true
	}
	if changes {
		return nil, 0, false
	}
	from = int(c.next / chunkSize)
	return append(list, old[:min(from, len(old))]...), from, false
}

// bytes is about what the postings take in memory.
func (p postings) bytes() int64 {
	size := int64(100)
	for _, q := range p {
		size += int64(q.bytes())
	}
	return size
}

func (r *reader) keep(key cacheKey, value any, size int64) {
	r.cache.put(&cached{key, r.state.epoch, r.state.generation, r.state.next, value, size})
}

// column returns the block of a column with the numbers of a quarter of a chunk.
func (r *reader) column(col, block int) ([]byte, error) {
	key := cacheKey{'c', blockKey(col, int64(block))}
	have := min(r.state.next-int64(block)*blockSize, blockSize) * int64(width(col))
	if c := r.cache.get(key); c != nil && c.epoch == r.state.epoch {
		if b := c.value.([]byte); int64(len(b)) >= have {
			return b[:have], nil
		}
	}
	stmt, err := r.stmt(&r.getCol, "SELECT data FROM col WHERE id = ?")
	if err != nil {
		return nil, err
	}
	var b []byte
	if err := stmt.QueryRowContext(r.ctx, key.id).Scan(&b); err != nil {
		return nil, fmt.Errorf("read column: %w", err)
	}
	if int64(len(b)) != have {
		return nil, ErrDamaged
	}
	r.keep(key, b, int64(len(b))+100)
	return b, nil
}

// A view is a column of one chunk.
type view struct {
	width  int
	blocks [chunkSize / blockSize][]byte
}

func (r *reader) view(col, chunk int) (*view, error) {
	v := &view{width: width(col)}
	for i := range v.blocks {
		block := chunk*len(v.blocks) + i
		if int64(block)*blockSize >= r.state.next {
			break
		}
		var err error
		if v.blocks[i], err = r.column(col, block); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func (v *view) at(i uint16) uint64 {
	return valueAt(v.blocks[i/blockSize], v.width, int(i)%blockSize)
}
