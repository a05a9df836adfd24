package index

import (
	"database/sql"
	"encoding/binary"
	"slices"
)

// Listed words are kept in blocks of sorted words, of which each but the first
// is written as how much it shares with the one before, and the rest.

// A block of more than maxBlock bytes is split into some of splitBlock. With a
// first word these fit where SQLite keeps a row whole.
const (
	maxBlock   = 1400
	splitBlock = 1000
)

// encodeWords appends sorted words as a block, until it has limit bytes or a word
// more than that. It returns how many words these are.
func encodeWords(dst []byte, list []string, limit int) ([]byte, int) {
	last := ""
	for i, w := range list {
		n := shared(last, w)
		dst = binary.AppendUvarint(dst, uint64(n))
		dst = binary.AppendUvarint(dst, uint64(len(w)-n))
		dst = append(dst, w[n:]...)
		last = w
		if len(dst) >= limit {
			return dst, i + 1
		}
	}
	return dst, len(list)
}

// shared is how many bytes two words have in common at their beginnings.
func shared(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// decodeWords reads a block.
func decodeWords(b []byte) ([]string, error) {
	var list []string
	var last []byte
	for len(b) > 0 {
		keep, n := binary.Uvarint(b)
		if n <= 0 || keep > uint64(len(last)) {
			return nil, ErrDamaged
		}
		size, m := binary.Uvarint(b[n:])
		if b = b[n+max(m, 0):]; m <= 0 || size > uint64(len(b)) {
			return nil, ErrDamaged
		}
		last = append(last[:keep], b[:size]...)
		list = append(list, string(last))
		b = b[size:]
	}
	return list, nil
}

// flushWords adds the gathered words to the blocks, and forgets them.
func (w *writer) flushWords() error {
	put, err := w.tx.PrepareContext(w.ctx, "INSERT OR REPLACE INTO word VALUES (?, ?)")
	if err != nil {
		return err
	}
	around, err := w.tx.PrepareContext(w.ctx, `SELECT first, rest,
		coalesce((SELECT min(first) FROM word WHERE first > ?1), x'')
		FROM word WHERE first <= ?1 ORDER BY first DESC LIMIT 1`)
	if err != nil {
		return err
	}
	slices.Sort(w.words)
	fresh := w.words
	for len(fresh) > 0 {
		if err := w.outer.Err(); err != nil {
			return err
		}
		n, err := w.mergeBlock(around, put, fresh)
		if err != nil {
			return err
		}
		fresh = fresh[n:]
	}
	clear(w.words)
	w.words = w.words[:0]
	w.listed.empty()
	return nil
}

// mergeBlock adds the first of some sorted words, and those after it that belong
// to the same block. It returns how many these were.
func (w *writer) mergeBlock(around, put *sql.Stmt, fresh []string) (int, error) {
	var first, rest, end []byte
	err := around.QueryRowContext(w.ctx, []byte(fresh[0])).Scan(&first, &rest, &end)
	if err == sql.ErrNoRows { // before the first block, or there is none
		err = w.tx.QueryRowContext(w.ctx, "SELECT coalesce(min(first), x'') FROM word").Scan(&end)
	}
	if err != nil {
		return 0, err
	}
	n := len(fresh)
	if len(end) > 0 {
		n, _ = slices.BinarySearch(fresh, string(end))
	}
	there, err := decodeWords(rest)
	if err != nil {
		return 0, err
	}
	list := slices.Concat(there, fresh[:n])
	slices.Sort(list)
	if list = slices.Compact(list); len(list) == len(there) {
		return n, nil
	}
	block, took := encodeWords(nil, list, maxBlock)
	if took < len(list) {
		block, took = encodeWords(block[:0], list, splitBlock)
	}
	for {
		if _, err := put.ExecContext(w.ctx, []byte(list[0]), block); err != nil {
			return 0, err
		}
		if list = list[took:]; len(list) == 0 {
			return n, nil
		}
		block, took = encodeWords(block[:0], list, splitBlock)
	}
}

// words calls f for the words of a field that begin with prefix, in order, until
// it returns false.
func (r *reader) words(field byte, prefix string, f func(word string) bool) error {
	stmt, err := r.stmt(&r.getWords, `SELECT rest FROM word
		WHERE first >= coalesce((SELECT max(first) FROM word WHERE first <= ?1), x'') AND first < ?2 ORDER BY first`)
	if err != nil {
		return err
	}
	from, to := string(field)+prefix, string(field)+prefix+"\U0010FFFF"
	rows, err := stmt.QueryContext(r.ctx, []byte(from), []byte(to))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var b sql.RawBytes
		if err := rows.Scan(&b); err != nil {
			return err
		}
		list, err := decodeWords(b)
		if err != nil {
			return err
		}
		at, _ := slices.BinarySearch(list, from)
		for _, word := range list[at:] {
			if word >= to {
				return nil
			}
			if !f(word[1:]) {
				return nil
			}
		}
	}
	return rows.Err()
}
