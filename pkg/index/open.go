package index

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"

	"modernc.org/sqlite" // the driver registers itself; nothing runs until Open
)

// layout is the version of what is in the file. Another one is not read: an
// index is built again.
const layout = "5"

const schema = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE doc (id INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE ident (hash INTEGER PRIMARY KEY, id INTEGER NOT NULL);
CREATE TABLE word (first BLOB PRIMARY KEY, rest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE post (id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE long (id INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE col (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE metric (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE facet (id INTEGER PRIMARY KEY, field INTEGER NOT NULL, value TEXT NOT NULL, UNIQUE (field, value));
INSERT INTO meta VALUES ('layout', '` + layout + `'), ('next', '0'), ('epoch', '0'), ('generation', '0');
`

// ErrLayout is wrapped by errors about a file that is not an index of this
// version.
var ErrLayout = errors.New("not an index that this version reads: build it again")

// An Index is an open index. Its methods may be called from several goroutines,
// and several processes may have the same file open: searches see what was
// there when they began, and one process writes at a time.
type Index struct {
	db    *sql.DB
	cache *cache
	dir   string // of the file
	bulk  int    // terms that a writer gathers in memory
}

// DefaultCache is how much an [Index] keeps in memory of what it read.
const DefaultCache = 96 << 20

// OpenOptions adjusts [Open]. The zero value opens an index for reading and
// writing, and makes it if it is not there.
type OpenOptions struct {
	// ReadOnly opens a file that is there and never changes it. It may lie
	// where nothing can be written.
	ReadOnly bool

	// Cache bounds the memory for what was read, in bytes. Zero means
	// [DefaultCache].
	Cache int64
}

// Open opens the index in a file. Who opens it closes it.
func Open(ctx context.Context, path string, opts OpenOptions) (*Index, error) {
	return open(ctx, path, opts, "normal")
}

// open opens an index that waits for the disk as sync says.
func open(ctx context.Context, path string, opts OpenOptions, sync string) (*Index, error) {
	query := url.Values{"_pragma": {"busy_timeout(15000)", "cache_size(-8192)"}}
	if opts.ReadOnly {
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("open index: %w", err)
		}
		query.Set("mode", "ro")
		if !writable(path) {
			query.Set("immutable", "1")
		}
	} else {
		if err := create(ctx, path); err != nil {
			return nil, fmt.Errorf("make index: %w", err)
		}
		query.Add("_pragma", "journal_mode(wal)")
		query.Add("_pragma", "synchronous("+sync+")")
		query.Set("_txlock", "immediate")
	}
	db, err := sql.Open("sqlite", source(path, query))
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	db.SetMaxIdleConns(4)
	ix := &Index{db: db, cache: newCache(opts.Cache), dir: filepath.Dir(path), bulk: 2 << 20}
	if err := ix.check(ctx); err != nil {
		return nil, fmt.Errorf("open index: %w", errors.Join(err, db.Close()))
	}
	return ix, nil
}

// errOther marks indexes of other versions.
var errOther = fmt.Errorf("%w: it has another layout", ErrLayout)

// writable tells whether the files can be made that several processes need for
// reading at once. Where they cannot, nobody writes the index either.
func writable(path string) bool {
	if _, err := os.Stat(path + "-wal"); err == nil {
		return true
	}
	f, err := os.OpenFile(path+"-shm", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

func source(path string, query url.Values) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}).String()
}

// create makes the tables, if the file is not there or empty. The size of pages
// cannot be changed once others than this connection know the file.
func create(ctx context.Context, path string) (err error) {
	if info, err := os.Stat(path); err == nil && info.Size() > 0 {
		return nil
	}
	db, err := sql.Open("sqlite", source(path, url.Values{"_pragma": {"busy_timeout(15000)"}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "PRAGMA page_size = 8192; BEGIN IMMEDIATE"); err != nil {
		return err
	}
	var tables int
	if err := conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&tables); err != nil || tables > 0 {
		return err // closing ends the transaction
	}
	var key [8]byte
	if _, err := rand.Read(key[:]); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, schema+"INSERT INTO meta VALUES ('key', ?); COMMIT", strconv.FormatUint(binary.BigEndian.Uint64(key[:])>>1, 10))
	return err
}

// Close closes the index. Searches that run are waited for.
func (ix *Index) Close() error { return ix.db.Close() }

// check looks whether the tables are ours.
func (ix *Index) check(ctx context.Context) error {
	var found string
	err := ix.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = 'layout'").Scan(&found)
	switch {
	case err != nil:
		return foreign(err)
	case found != layout:
		return fmt.Errorf("%w: %.20q", errOther, found)
	}
	return nil
}

// foreign marks the errors of files that are something else.
func foreign(err error) error {
	const generic, notADatabase = 1, 26
	if e, ok := errors.AsType[*sqlite.Error](err); ok && (e.Code() == notADatabase || e.Code() == generic) {
		return fmt.Errorf("%w (%w)", ErrLayout, err)
	}
	return err
}

// A state is what the index says of itself.
type state struct {
	next       int64 // number of the next version
	epoch      int64 // changes when versions were numbered again
	generation int64 // changes with every change
	dead       int64 // numbers that no version has any more
	key        int64 // of the hashes of repositories; a secret of this file
}

type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func readState(ctx context.Context, q querier) (state, error) {
	var s state
	rows, err := q.QueryContext(ctx, "SELECT key, value FROM meta")
	if err != nil {
		return s, err
	}
	defer rows.Close()
	fields := map[string]*int64{"next": &s.next, "epoch": &s.epoch, "generation": &s.generation, "dead": &s.dead, "key": &s.key}
	for rows.Next() {
		var key, value string
		if err := rows.Scan(&key, &value); err != nil {
			return s, err
		}
		if f := fields[key]; f != nil {
			if *f, err = strconv.ParseInt(value, 10, 64); err != nil || *f < 0 {
				return s, ErrDamaged
			}
		}
	}
	return s, rows.Err()
}
