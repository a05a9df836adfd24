package index

import (
	"database/sql"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
)

// Records are kept in groups of this many neighbours, each compressed as one:
// versions of a model mostly come together, and their cards are alike. A search
// reads a whole group for each record that it shows.
const groupSize = 8

// maxGroups bounds the groups that a writer has in memory.
const maxGroups = 64

// A group is the records of neighbouring numbers as JSON; nil for those that are
// not there.
type group struct {
	records [groupSize][]byte
	changed bool
}

// encode writes each record after its length.
func (g *group) encode() []byte {
	var b []byte
	for _, r := range g.records {
		b = append(binary.AppendUvarint(b, uint64(len(r))), r...)
	}
	return b
}

func (g *group) empty() bool {
	return !slices.ContainsFunc(g.records[:], func(r []byte) bool { return r != nil })
}

func decodeGroup(b []byte) (*group, error) {
	g := new(group)
	for i := range g.records {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return nil, ErrDamaged
		}
		if size > 0 {
			g.records[i] = b[n : n+int(size)]
		}
		b = b[n+int(size):]
	}
	return g, nil
}

// group returns the group that a number is in.
func (w *writer) group(id int64) (*group, error) {
	number := id / groupSize
	if g := w.groups[number]; g != nil {
		return g, nil
	}
	if len(w.groups) >= maxGroups {
		if err := w.flushGroups(); err != nil {
			return nil, err
		}
	}
	g := new(group)
	var body []byte
	switch err := w.getBody.QueryRowContext(w.ctx, number).Scan(&body); err {
	case nil:
		if g, err = w.bodies.group(body); err != nil {
			return nil, err
		}
	case sql.ErrNoRows:
	default:
		return nil, err
	}
	w.groups[number] = g
	return g, nil
}

// keep puts a record where its number says; nil takes it away.
func (w *writer) keep(id int64, record []byte) error {
	g, err := w.group(id)
	if err != nil {
		return err
	}
	g.records[id%groupSize], g.changed = record, true
	return nil
}

// flushGroups writes the groups that have changed, and forgets all.
func (w *writer) flushGroups() error {
	for _, number := range slices.Sorted(maps.Keys(w.groups)) {
		g := w.groups[number]
		if !g.changed {
			continue
		}
		if g.empty() {
			if _, err := w.dropBody.ExecContext(w.ctx, number); err != nil {
				return err
			}
			continue
		}
		body, err := w.coder.compress(g.encode())
		if err != nil {
			return err
		}
		if _, err := w.putBody.ExecContext(w.ctx, number, body); err != nil {
			return err
		}
	}
	clear(w.groups)
	return nil
}

// record returns the version with a number.
func (r *reader) record(id int64) (Record, error) {
	if r.group == nil || r.groupAt != id/groupSize {
		stmt, err := r.stmt(&r.getDoc, "SELECT body FROM doc WHERE id = ?")
		if err != nil {
			return Record{}, err
		}
		var b []byte
		if err := stmt.QueryRowContext(r.ctx, id/groupSize).Scan(&b); err != nil {
			return Record{}, fmt.Errorf("read record: %w", err)
		}
		if r.group, err = r.body.group(b); err != nil {
			return Record{}, err
		}
		r.groupAt = id / groupSize
	}
	return decodeRecord(r.group.records[id%groupSize])
}
