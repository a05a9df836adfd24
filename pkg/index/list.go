package index

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// Repositories lists the repositories that have versions in the index and whose
// name begins with prefix, sorted.
func (ix *Index) Repositories(ctx context.Context, prefix string) ([]string, error) {
	var list []string
	err := ix.read(ctx, func(r *reader) error {
		live, err := r.term(fieldLive, "")
		if err != nil {
			return err
		}
		var names []string
		if err := r.words(fieldRepo, prefix, func(w string) bool { names = append(names, w); return true }); err != nil {
			return err
		}
		for _, name := range names {
			numbers, err := r.living(live, name)
			if err != nil {
				return err
			}
			if len(numbers) > 0 {
				list = append(list, name)
			}
		}
		return r.outer.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list index: %w", err)
	}
	return list, nil
}

// living returns the numbers of a repository's versions.
func (r *reader) living(live postings, repository string) ([]int64, error) {
	var of postings
	if err := r.load(r.state.repoHash(repository), 0, &of); err != nil {
		return nil, err
	}
	var list []int64
	for chunk := range of {
		var set bitset
		live.at(chunk).addTo(&set)
		of[chunk].intersect(&set)
		for _, i := range (posting{bits: &set}).members() {
			list = append(list, int64(chunk)*chunkSize+int64(i))
		}
	}
	return list, nil
}

// Versions returns what the index has of a repository, sorted by digest.
func (ix *Index) Versions(ctx context.Context, repository string) ([]Record, error) {
	var list []Record
	err := ix.read(ctx, func(r *reader) error {
		live, err := r.term(fieldLive, "")
		if err != nil {
			return err
		}
		numbers, err := r.living(live, repository)
		if err != nil {
			return err
		}
		for _, id := range numbers {
			record, err := r.record(id)
			if err != nil {
				return err
			}
			list = append(list, record)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	slices.SortFunc(list, func(a, b Record) int { return strings.Compare(a.Digest, b.Digest) })
	return list, nil
}

// Stats is what an index holds.
type Stats struct {
	Versions int64 // that are found
	Replaced int64 // that take room until the index is built again
}

// Stats counts what is in the index.
func (ix *Index) Stats(ctx context.Context) (s Stats, err error) {
	err = ix.read(ctx, func(r *reader) error {
		s = Stats{Versions: r.state.next - r.state.dead, Replaced: r.state.dead}
		return nil
	})
	if err != nil {
		return s, fmt.Errorf("read index: %w", err)
	}
	return s, nil
}

// notePrefix keeps notes apart from what the index keeps of itself.
const notePrefix = "note."

// Note returns a text that somebody left in the index, such as where its records
// are from; empty if there is none.
func (ix *Index) Note(ctx context.Context, name string) (text string, err error) {
	err = ix.db.QueryRowContext(ctx, "SELECT value FROM meta WHERE key = ?", notePrefix+name).Scan(&text)
	if err != nil && err != sql.ErrNoRows {
		return "", fmt.Errorf("read index: %w", err)
	}
	return text, nil
}

// SetNote leaves a text in the index.
func (ix *Index) SetNote(ctx context.Context, name, text string) error {
	if _, err := ix.db.ExecContext(ctx, "INSERT OR REPLACE INTO meta VALUES (?, ?)", notePrefix+name, text); err != nil {
		return fmt.Errorf("write index: %w", err)
	}
	return nil
}

// Pack writes the file anew without the gaps that changes leave, which after a
// first build are about a quarter of it. It needs as much room again while it
// runs, and nobody else can write meanwhile.
func (ix *Index) Pack(ctx context.Context) error {
	if _, err := ix.db.ExecContext(ctx, "VACUUM"); err != nil {
		return fmt.Errorf("pack index: %w", err)
	}
	if _, err := ix.db.ExecContext(ctx, "PRAGMA wal_checkpoint(truncate)"); err != nil {
		return fmt.Errorf("pack index: %w", err)
	}
	return nil
}
