package index

import (
	"database/sql"
	"encoding/binary"
)

// Most terms are in few versions, and a row for each would be mostly the row's
// own bytes. So the terms whose hashes begin alike share a row for each chunk, a
// bucket; only long postings have rows of their own.
const (
	bucketBits = 15
	bucketRest = hashBits - bucketBits // bits of a hash that tell terms of a bucket apart

	// longPosting is how many bytes a posting in a bucket has at most, and
	// longPair one of a pair, of which there are two in a bucket.
	longPosting = 512
	longPair    = 2048
)

// bucketKey is the row of a bucket in a chunk. Rows of a chunk are together, so
// that a new chunk is written at the end.
func bucketKey(number, chunk int64) int64 { return chunk<<bucketBits | number }

// longKey is the row of a posting of its own in a chunk.
func longKey(hash, chunk int64) int64 { return chunk<<hashBits | hash }

// restOf is what tells a term from others in its bucket.
func restOf(hash int64) uint64 { return uint64(hash) & (1<<bucketRest - 1) }

// An entry is a term of a bucket.
type entry struct {
	rest uint64
	kind byte   // zero if the posting has a row of its own
	data []byte // of the posting, without its kind
}

func (e entry) posting() (posting, error) { return decodeAs(e.kind, e.data) }

// A bucket is what is left to read of a row: entries by their rest.
type bucket struct {
	b    []byte
	rest uint64
}

// next returns the next entry, and false behind the last.
func (k *bucket) next() (entry, bool, error) {
	if len(k.b) == 0 {
		return entry{}, false, nil
	}
	more, n := binary.Uvarint(k.b)
	if n <= 0 {
		return entry{}, false, ErrDamaged
	}
	head, m := binary.Uvarint(k.b[n:])
	k.b = k.b[n+max(m, 0):]
	size := head >> 1
	if m <= 0 || size > uint64(len(k.b)) {
		return entry{}, false, ErrDamaged
	}
	k.rest += more
	e := entry{rest: k.rest, data: k.b[:size]}
	if head != 0 {
		e.kind = asDeltas + byte(head&1)
	}
	k.b = k.b[size:]
	return e, true, nil
}

// find skips to a term; false if it is not there.
func (k *bucket) find(rest uint64) (entry, bool, error) {
	for {
		e, ok, err := k.next()
		if err != nil || !ok || e.rest > rest {
			return entry{}, false, err
		}
		if e.rest == rest {
			return e, true, nil
		}
	}
}

// A bucketWriter writes entries one after the other.
type bucketWriter struct {
	b    []byte
	rest uint64
}

func (w *bucketWriter) add(e entry) {
	w.b = binary.AppendUvarint(w.b, e.rest-w.rest)
	w.rest = e.rest
	head := uint64(0)
	if e.kind != 0 {
		head = uint64(len(e.data))<<1 | uint64(e.kind-asDeltas)
	}
	w.b = append(binary.AppendUvarint(w.b, head), e.data...)
}

// A change is a term of a bucket, and the versions of one transaction that have
// it.
type change struct {
	rest uint64
	docs []uint64
}

// flushTerms adds to the postings of terms, a bucket at a time.
func (w *writer) flushTerms() error {
	t, err := w.table("post", "bits")
	if err != nil {
		return err
	}
	long, err := w.table("long", "bits")
	if err != nil {
		return err
	}
	bw := &bucketsWriter{w: w, rows: t, long: long}
	err = w.terms.each(func(hash int64, docs []uint64) error {
		if number := hash >> bucketRest; number != bw.number {
			if err := bw.flush(); err != nil {
				return err
			}
			bw.number = number
		}
		bw.changes = append(bw.changes, change{restOf(hash), docs})
		return nil
	})
	if err != nil {
		return err
	}
	return bw.flush()
}

// A bucketsWriter merges changes into the rows of one bucket after the other.
type bucketsWriter struct {
	w          *writer
	rows, long *table
	number     int64 // of the bucket
	changes    []change
	out        bucketWriter
	members    []uint16
	buf        []byte
}

// flush writes the changes of the bucket, chunk by chunk.
func (bw *bucketsWriter) flush() error {
	if err := bw.w.outer.Err(); err != nil {
		return err
	}
	w := bw.w
	for chunk := w.first / chunkSize; len(bw.changes) > 0 && chunk*chunkSize < w.state.next; chunk++ {
		if err := bw.merge(chunk); err != nil {
			return err
		}
	}
	bw.changes = bw.changes[:0]
	return nil
}

// take returns the members of a chunk that are first in docs, and what follows.
func (bw *bucketsWriter) take(chunk int64, docs []uint64) (members []uint16, rest []uint64) {
	bw.members = bw.members[:0]
	for len(docs) > 0 {
		doc := bw.w.first + int64(docs[0]%maxGathered)
		if doc/chunkSize != chunk {
			break
		}
		bw.members = append(bw.members, uint16(doc%chunkSize))
		docs = docs[1:]
	}
	return bw.members, docs
}

// merge merges the changes of a chunk into its row of the bucket.
func (bw *bucketsWriter) merge(chunk int64) error {
	id := bucketKey(bw.number, chunk)
	var row []byte
	var err error
	if bw.w.isOld(chunk) {
		row, err = bw.rows.row(id)
	}
	if err != nil {
		return err
	}
	old := bucket{b: row}
	bw.out = bucketWriter{b: bw.out.b[:0]}
	e, have, err := old.next()
	for i := range bw.changes {
		c := &bw.changes[i]
		var members []uint16
		if members, c.docs = bw.take(chunk, c.docs); len(members) == 0 {
			continue
		}
		for err == nil && have && e.rest < c.rest {
			bw.out.add(e)
			e, have, err = old.next()
		}
		var there *entry
		if err == nil && have && e.rest == c.rest {
			same := e
			there = &same
			e, have, err = old.next()
		}
		if err != nil {
			return err
		}
		if err := bw.put(chunk, c.rest, there, members); err != nil {
			return err
		}
	}
	for err == nil && have {
		bw.out.add(e)
		e, have, err = old.next()
	}
	if err != nil || len(bw.out.b) == 0 {
		return err
	}
	return bw.rows.set(id, bw.out.b)
}

// isOld tells whether there are versions of a chunk from before this transaction.
func (w *writer) isOld(chunk int64) bool { return chunk*chunkSize < w.first }

// put writes a term: what is there of it, and more members.
func (bw *bucketsWriter) put(chunk int64, rest uint64, there *entry, members []uint16) error {
	hash := bw.number<<bucketRest | int64(rest)
	switch {
	case there == nil:
	case there.kind == 0:
		return bw.putLong(hash, chunk, members)
	default:
		p, err := there.posting()
		if err != nil {
			return err
		}
		members = p.merged(members)
	}
	bw.buf = appendEncoded(bw.buf[:0], members)
	limit := longPosting
	if isPair(hash) {
		limit = longPair
	}
	if len(bw.buf) > limit || hash == hashOf(fieldLive, "") {
		return bw.putLong(hash, chunk, members)
	}
	bw.out.add(entry{rest: rest, kind: bw.buf[0], data: bw.buf[1:]})
	return nil
}

// putLong adds members to a posting in a row of its own.
func (bw *bucketsWriter) putLong(hash, chunk int64, members []uint16) error {
	bw.out.add(entry{rest: restOf(hash)})
	if bw.w.isOld(chunk) {
		return bw.long.merge(longKey(hash, chunk), members)
	}
	bw.long.buf = appendEncoded(bw.long.buf[:0], members)
	return bw.long.set(longKey(hash, chunk), bw.long.buf)
}

// load reads the postings of a term from some chunk on.
func (r *reader) load(hash int64, from int, list *postings) error {
	stmt, err := r.stmt(&r.getPost, "SELECT bits FROM post WHERE id = ?")
	if err != nil {
		return err
	}
	for chunk := from; chunk < r.chunks(); chunk++ {
		away := false
		err := r.row(stmt, bucketKey(hash>>bucketRest, int64(chunk)), func(b []byte) error {
			e, ok, err := (&bucket{b: b}).find(restOf(hash))
			if away = ok && e.kind == 0; err != nil || !ok || away {
				return err
			}
			p, err := e.posting()
			list.set(chunk, p)
			return err
		})
		if err == nil && away {
			err = r.loadLong(hash, chunk, list)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// loadLong reads the posting of a term that has a row of its own in a chunk.
func (r *reader) loadLong(hash int64, chunk int, list *postings) error {
	stmt, err := r.stmt(&r.getLong, "SELECT bits FROM long WHERE id = ?")
	if err != nil {
		return err
	}
	return r.row(stmt, longKey(hash, int64(chunk)), func(b []byte) error {
		p, err := decodePosting(b)
		list.set(chunk, p)
		return err
	})
}

// row calls f with the row of a key, if there is one. The bytes are good until f
// returns.
func (r *reader) row(stmt *sql.Stmt, id int64, f func(b []byte) error) error {
	if err := r.outer.Err(); err != nil {
		return err
	}
	rows, err := stmt.QueryContext(r.ctx, id)
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Next() {
		var b sql.RawBytes
		if err := rows.Scan(&b); err != nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
	return rows.Err()
}

// set makes p the posting of a chunk.
func (p *postings) set(chunk int, q posting) {
	for len(*p) <= chunk {
		*p = append(*p, posting{})
	}
	(*p)[chunk] = q
}

// together adds the versions that have any of the terms to list. The terms of a
// bucket, which are words that begin alike, are read at once.
func (r *reader) together(hashes []int64, from int, list *postings) error {
	stmt, err := r.stmt(&r.getPost, "SELECT bits FROM post WHERE id = ?")
	if err != nil {
		return err
	}
	for len(hashes) > 0 {
		number, n := hashes[0]>>bucketRest, 1
		for n < len(hashes) && hashes[n]>>bucketRest == number {
			n++
		}
		for chunk := from; chunk < r.chunks(); chunk++ {
			var away []int64
			err := r.row(stmt, bucketKey(number, int64(chunk)), func(b []byte) error {
				return list.addEntries(chunk, b, hashes[:n], &away)
			})
			if err == nil {
				err = r.addLong(away, chunk, list)
			}
			if err != nil {
				return err
			}
		}
		hashes = hashes[n:]
	}
	return nil
}

// addLong adds the versions of a chunk that have any of the terms, which have rows
// of their own there.
func (r *reader) addLong(hashes []int64, chunk int, list *postings) error {
	for _, hash := range hashes {
		var one postings
		if err := r.loadLong(hash, chunk, &one); err != nil {
			return err
		}
		one.at(chunk).addTo(list.bitsOf(chunk))
	}
	return nil
}

// addEntries adds what a row of a bucket has of some terms, and to away those
// that have rows of their own.
func (p *postings) addEntries(chunk int, row []byte, hashes []int64, away *[]int64) error {
	k := bucket{b: row}
	e, ok, err := k.next()
	for _, hash := range hashes {
		for ok && e.rest < restOf(hash) {
			e, ok, err = k.next()
		}
		switch {
		case !ok:
			return err
		case e.rest != restOf(hash):
		case e.kind == 0:
			*away = append(*away, hash)
		default:
			if err := addData(p.bitsOf(chunk), e); err != nil {
				return err
			}
		}
	}
	return err
}

func addData(set *bitset, e entry) error {
	q, err := e.posting()
	if err == nil {
		q.addTo(set)
	}
	return err
}

// bitsOf returns the set of a chunk, for adding to it.
func (p *postings) bitsOf(chunk int) *bitset {
	for len(*p) <= chunk {
		*p = append(*p, posting{})
	}
	if (*p)[chunk].bits == nil {
		(*p)[chunk].bits = new(bitset)
	}
	return (*p)[chunk].bits
}
