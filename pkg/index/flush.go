package index

import (
	"database/sql"
	"maps"
	"slices"
)

// flush writes what was gathered, in the order of the tables.
func (w *writer) flush() error {
	if err := w.flushGroups(); err != nil {
		return err
	}
	if err := w.flushTerms(); err != nil {
		return err
	}
	if err := w.flushWords(); err != nil {
		return err
	}
	if err := w.flushMetrics(); err != nil {
		return err
	}
	if err := w.flushColumns(); err != nil {
		return err
	}
	if err := w.flushRemoved(); err != nil {
		return err
	}
	return w.saveState()
}

// A table is a table of rows with a number and bytes.
type table struct {
	w        *writer
	get, put *sql.Stmt
	buf      []byte
}

func (w *writer) table(name, column string) (*table, error) {
	get, err := w.tx.PrepareContext(w.ctx, "SELECT "+column+" FROM "+name+" WHERE id = ?")
	if err != nil {
		return nil, err
	}
	put, err := w.tx.PrepareContext(w.ctx, "INSERT OR REPLACE INTO "+name+" VALUES (?, ?)")
	return &table{w: w, get: get, put: put}, err
}

// row returns the bytes of a row, or nil if there is none.
func (t *table) row(id int64) ([]byte, error) {
	var b []byte
	err := t.get.QueryRowContext(t.w.ctx, id).Scan(&b)
	if err == sql.ErrNoRows {
		return nil, nil
	}
	return b, err
}

func (t *table) set(id int64, b []byte) error {
	_, err := t.put.ExecContext(t.w.ctx, id, b)
	return err
}

// merge adds members to the posting of a row, which may be there.
func (t *table) merge(id int64, members []uint16) error {
	old, err := t.row(id)
	if err != nil {
		return err
	}
	if old != nil {
		p, err := decodePosting(old)
		if err != nil {
			return err
		}
		members = p.merged(members)
	}
	t.buf = appendEncoded(t.buf[:0], members)
	return t.set(id, t.buf)
}

func (w *writer) flushMetrics() error {
	t, err := w.table("metric", "data")
	if err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(w.metrics)) {
		old, err := t.row(id)
		if err != nil {
			return err
		}
		if err := t.set(id, append(old, w.metrics[id]...)); err != nil {
			return err
		}
	}
	return nil
}

// blockKey is the row of a column's block.
func blockKey(col int, block int64) int64 { return int64(col)<<32 | block }

func (w *writer) flushColumns() error {
	t, err := w.table("col", "data")
	if err != nil {
		return err
	}
	for col := range w.cols {
		size := width(col)
		for data, at := w.cols[col], w.first; len(data) > 0; {
			inBlock := at % blockSize
			old, err := t.row(blockKey(col, at/blockSize))
			if err != nil {
				return err
			}
			if int64(len(old)) != inBlock*int64(size) {
				return ErrDamaged
			}
			n := min(blockSize-int(inBlock), len(data)/size)
			if err := t.set(blockKey(col, at/blockSize), append(old, data[:n*size]...)); err != nil {
				return err
			}
			data, at = data[n*size:], at+int64(n)
		}
	}
	return nil
}

// flushRemoved takes numbers out of the posting of those that are searched.
func (w *writer) flushRemoved() error {
	t, err := w.table("long", "bits")
	if err != nil {
		return err
	}
	for chunk, list := range w.removed {
		id := longKey(hashOf(fieldLive, ""), chunk)
		old, err := t.row(id)
		if err != nil {
			return err
		}
		p, err := decodePosting(old)
		if err != nil {
			return err
		}
		var set bitset
		p.addTo(&set)
		for _, i := range list {
			i := uint16(i % chunkSize)
			set[i>>6] &^= 1 << (i & 63)
		}
		left := posting{bits: &set}.members()
		if len(left) == 0 {
			_, err = w.tx.ExecContext(w.ctx, "DELETE FROM long WHERE id = ?", id)
		} else {
			err = t.set(id, appendEncoded(nil, left))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
