package index

import (
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Put adds records, in the place of those with the same [Key]. What does not
// differ from what is there is left alone. Records are cut by [Record.Bound].
// Many records at once are much faster than each alone; all of them become
// visible together, unless they are more than 65536, or more than fit into a
// gigabyte beside the index: then in parts, in their order.
func (ix *Index) Put(ctx context.Context, records []Record) error {
	if len(records) == 0 {
		return nil
	}
	return ix.Load(ctx, func(yield func(Record, error) bool) {
		for _, r := range records {
			if !yield(r, nil) {
				return
			}
		}
	})
}

// Load adds records as [Index.Put] does, in such parts. An error among them ends
// it; the part that it is in is then not added, those before are. Nobody else can
// write while it runs, and records must not read or write the index itself.
func (ix *Index) Load(ctx context.Context, records iter.Seq2[Record, error]) error {
	pull, stop := iter.Pull2(records)
	defer stop()
	var fault error // of the records
	next := func() (r Record, ok bool, err error) {
		r, fault, ok = pull()
		return r, ok, fault
	}
	for more := true; more; {
		err := ix.write(ctx, func(w *writer) (err error) {
			more, err = w.load(next)
			return err
		})
		if fault != nil {
			return fault
		}
		if err != nil {
			return fmt.Errorf("write index: %w", err)
		}
	}
	return nil
}

// Delete removes the versions with these keys. What is not there is no error.
func (ix *Index) Delete(ctx context.Context, keys []Key) error {
	err := ix.write(ctx, func(w *writer) error {
		for _, k := range keys {
			if err := w.remove(k); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// write runs f in a transaction.
func (ix *Index) write(ctx context.Context, f func(*writer) error) (err error) {
	tx, err := ix.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	w := &writer{
		// Statements take microseconds and are many: cancelling is looked for
		// between them, which costs less than being ready for it in each.
		outer: ctx, ctx: context.WithoutCancel(ctx), tx: tx, bulk: ix.bulk,
		metrics: map[int64][]byte{}, groups: map[int64]*group{},
		terms: gathering{dir: ix.dir},
	}
	defer func() { err = errors.Join(err, w.terms.close()) }()
	if w.state, err = readState(ctx, tx); err != nil {
		return err
	}
	before := w.state
	if err := w.prepare(); err != nil {
		return err
	}
	if err := f(w); err != nil {
		return err
	}
	if w.state == before {
		return nil
	}
	if err := w.flush(); err != nil {
		return err
	}
	return tx.Commit()
}

// A writer gathers what changes in one transaction.
type writer struct {
	outer context.Context // may be cancelled
	ctx   context.Context
	tx    *sql.Tx
	state state
	bulk  int

	terms   gathering
	listed  hashSet          // of words
	words   []string         // fields and words that are listed, as they came
	metrics map[int64][]byte // key of the row: what is appended to it
	cols    [columns][]byte  // from the number first on
	first   int64
	removed map[int64][]int32 // chunk: numbers in it
	sets    [colUpdated]map[string]uint64

	doc              int64   // number of the version being described
	seen             hashSet // its terms
	tokens           []token
	getID, getBody   *sql.Stmt
	putID, putBody   *sql.Stmt
	dropID, dropBody *sql.Stmt
	getSet, putSet   *sql.Stmt
	coder            bodyCoder
	bodies           bodyReader
	groups           map[int64]*group
}

func (w *writer) prepare() error {
	w.first, w.removed = w.state.next, map[int64][]int32{}
	w.listed.empty()
	for _, s := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&w.getID, "SELECT id FROM ident WHERE hash = ?"},
		{&w.putID, "INSERT OR REPLACE INTO ident VALUES (?, ?)"},
		{&w.dropID, "DELETE FROM ident WHERE hash = ?"},
		{&w.getBody, "SELECT body FROM doc WHERE id = ?"},
		{&w.putBody, "INSERT OR REPLACE INTO doc VALUES (?, ?)"},
		{&w.dropBody, "DELETE FROM doc WHERE id = ?"},
		{&w.getSet, "SELECT id FROM facet WHERE field = ? AND value = ?"},
		{&w.putSet, "INSERT INTO facet VALUES (?, ?, ?)"},
	} {
		var err error
		if *s.stmt, err = w.tx.PrepareContext(w.ctx, s.query); err != nil {
			return err
		}
	}
	return nil
}

// load takes records until enough is gathered for one transaction, and tells
// whether there may be more.
func (w *writer) load(next func() (Record, bool, error)) (more bool, err error) {
	for {
		if err := w.outer.Err(); err != nil {
			return false, err
		}
		r, ok, err := next()
		if err != nil || !ok {
			return false, err
		}
		r.Bound()
		if err := w.add(&r); err != nil {
			return false, err
		}
		if w.terms.n > w.bulk {
			if err := w.terms.spill(); err != nil {
				return false, err
			}
		}
		if len(w.words) > maxWords {
			if err := w.flushWords(); err != nil {
				return false, err
			}
		}
		if w.state.next-w.first >= chunkSize || w.terms.size > maxSpilled || w.terms.largest > maxPart {
			return true, nil
		}
	}
}

// add adds a record, unless the same is there.
func (w *writer) add(r *Record) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	hash := int64(identity(r.Key()))
	var old int64
	switch err := w.getID.QueryRowContext(w.ctx, hash).Scan(&old); err {
	case nil:
		g, err := w.group(old)
		if err != nil {
			return err
		}
		if string(g.records[old%groupSize]) == string(body) {
			return nil
		}
		if err := w.kill(old); err != nil {
			return err
		}
	case sql.ErrNoRows:
	default:
		return err
	}
	if w.state.next >= chunkSize<<chunkBits {
		return errFull
	}
	if _, err := w.putID.ExecContext(w.ctx, hash, w.state.next); err != nil {
		return err
	}
	if err := w.keep(w.state.next, body); err != nil {
		return err
	}
	return w.describe(r)
}

// describe gathers the terms and numbers of a record under the next number.
func (w *writer) describe(r *Record) error {
	w.doc = w.state.next
	w.state.next++
	w.state.generation++
	w.seen.empty()
	w.term(fieldLive, "", false)
	repo := w.state.repoHash(r.Repository)
	w.gather(repo)
	w.list(repo, fieldRepo, r.Repository)
	w.tokens = describe(r, w, w.tokens)
	for _, m := range r.Metrics {
		w.metric(m)
	}
	numbers := numbersOf(r)
	for i, values := range facetSets(r) {
		code, err := w.set(i, values)
		if err != nil {
			return err
		}
		numbers[i] = code
	}
	for i, n := range numbers {
		w.cols[i] = appendValue(w.cols[i], width(i), n)
	}
	return nil
}

// gather notes a term of the version being described, and tells whether it is new.
func (w *writer) gather(hash int64) bool {
	if !w.seen.add(hash) {
		return false
	}
	w.terms.add(hash, int(w.doc-w.first))
	return true
}

func (w *writer) term(field byte, word string, listed bool) bool {
	hash := hashOf(field, word)
	if !w.gather(hash) {
		return false
	}
	if listed {
		w.list(hash, field, word)
	}
	return true
}

// list notes a word that can be found by its beginning.
func (w *writer) list(hash int64, field byte, word string) {
	if w.listed.add(hash) {
		w.words = append(w.words, string(field)+word)
	}
}

func (w *writer) pair(hash int64) { w.gather(hash) }

// metric gathers one number, under the name of the metric and of what it was
// measured on.
func (w *writer) metric(m Metric) {
	if math.IsNaN(m.Value) || math.IsInf(m.Value, 0) {
		return
	}
	names := []string{strings.ToLower(m.Name), strings.ToLower(m.Dataset)}
	for _, name := range slices.Compact(names) {
		if name == "" {
			continue
		}
		key := metricKey(name, w.doc/chunkSize)
		row := binary.LittleEndian.AppendUint16(w.metrics[key], uint16(w.doc%chunkSize))
		row = binary.LittleEndian.AppendUint64(row, math.Float64bits(m.Value))
		w.metrics[key] = append(row, byte(m.belief()))
		w.term(fieldFact, "metric="+name, true)
	}
}

func metricKey(name string, chunk int64) int64 {
	return hashOf(fieldFact, "metric="+name)<<chunkBits | chunk
}

// chunkBits is how many bits of a row's key tell the chunk.
const chunkBits = 12

// maxWords bounds the listed words that a transaction keeps until it writes them.
const maxWords = 1 << 18

// maxSets bounds the sets of values of one facet. Versions with further ones are
// found, but not counted.
const maxSets = 1<<16 - 1

// set returns the number that stands for a set of values of a facet.
func (w *writer) set(facet int, values []string) (uint64, error) {
	key := setKey(values)
	if key == "" {
		return 0, nil
	}
	if id, ok := w.sets[facet][key]; ok {
		return id, nil
	}
	var id int64
	err := w.getSet.QueryRowContext(w.ctx, facet, key).Scan(&id)
	if err == sql.ErrNoRows {
		id, err = w.newSet(facet, key)
	}
	if err != nil {
		return 0, err
	}
	id %= maxSets + 1
	if w.sets[facet] == nil {
		w.sets[facet] = map[string]uint64{}
	}
	w.sets[facet][key] = uint64(id)
	return uint64(id), nil
}

// newSet gives a set its number: that of the facet, and one more than the last.
func (w *writer) newSet(facet int, key string) (int64, error) {
	first := int64(facet) * (maxSets + 1)
	var last int64
	err := w.tx.QueryRowContext(w.ctx, "SELECT coalesce(max(id), ?) FROM facet WHERE id BETWEEN ? AND ?",
		first, first, first+maxSets).Scan(&last)
	if err != nil || last == first+maxSets {
		return 0, err
	}
	_, err = w.putSet.ExecContext(w.ctx, last+1, facet, key)
	return last + 1, err
}

// setKey writes a set of values as one text.
func setKey(values []string) string {
	set := map[string]bool{}
	for _, v := range values {
		if v = strings.ToLower(v); v != "" && !strings.Contains(v, "\x00") {
			set[v] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(set)), "\x00")
}

// remove deletes the version with a key, if it is there.
func (w *writer) remove(k Key) error {
	hash := int64(identity(k))
	var id int64
	switch err := w.getID.QueryRowContext(w.ctx, hash).Scan(&id); err {
	case nil:
	case sql.ErrNoRows:
		return nil
	default:
		return err
	}
	if _, err := w.dropID.ExecContext(w.ctx, hash); err != nil {
		return err
	}
	return w.kill(id)
}

// kill takes a number out of those that are searched.
func (w *writer) kill(id int64) error {
	w.state.generation++
	w.state.dead++
	w.removed[id/chunkSize] = append(w.removed[id/chunkSize], int32(id))
	return w.keep(id, nil)
}

func (w *writer) saveState() error {
	for key, n := range map[string]int64{
		"next": w.state.next, "epoch": w.state.epoch, "generation": w.state.generation, "dead": w.state.dead,
	} {
		if _, err := w.tx.ExecContext(w.ctx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", key, strconv.FormatInt(n, 10)); err != nil {
			return err
		}
	}
	return nil
}
