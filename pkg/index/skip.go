package index

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// MaxSkipped bounds what [Index.SetSkipped] keeps of one repository.
const MaxSkipped = 1 << 15

// skippedTable is made when something is first kept: indexes without it are read,
// and neither searches nor snapshots know of it.
const skippedTable = `CREATE TABLE IF NOT EXISTS skipped (repository TEXT PRIMARY KEY, rules TEXT NOT NULL, digests TEXT NOT NULL) WITHOUT ROWID`

// A Skipped is what a repository has that is nothing for an index, so that a crawl
// need not look at it again.
type Skipped struct {
	Repository string

	// Rules names those by which it was decided. Others decide again.
	Rules string

	// Digests are the manifests. None forgets the repository.
	Digests []string
}

// SetSkipped remembers what was left out of repositories, in the place of what was
// remembered of them. Of each at most [MaxSkipped] digests are kept.
func (ix *Index) SetSkipped(ctx context.Context, list []Skipped) (err error) {
	if len(list) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write index: %w", err)
		}
	}()
	tx, err := ix.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, skippedTable); err != nil {
		return err
	}
	for _, s := range list {
		if len(s.Digests) == 0 {
			_, err = tx.ExecContext(ctx, "DELETE FROM skipped WHERE repository = ?", s.Repository)
		} else {
			kept := slices.Compact(slices.Sorted(slices.Values(s.Digests)))
			_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?)",
				s.Repository, s.Rules, strings.Join(kept[:min(len(kept), MaxSkipped)], "\n"))
		}
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Skipped returns the manifests of a repository that were left out by these rules,
// sorted.
func (ix *Index) Skipped(ctx context.Context, repository, rules string) ([]string, error) {
	if known, err := ix.keepsSkipped(ctx); !known {
		return nil, err
	}
	var text string
	err := ix.db.QueryRowContext(ctx, "SELECT digests FROM skipped WHERE repository = ? AND rules = ?", repository, rules).Scan(&text)
	if err == sql.ErrNoRows {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read index: %w", err)
	}
	return strings.Split(text, "\n"), nil
}

// SkippedRepositories lists the repositories of which something was left out and
// whose name begins with prefix, sorted.
func (ix *Index) SkippedRepositories(ctx context.Context, prefix string) (list []string, err error) {
	if known, err := ix.keepsSkipped(ctx); !known {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("read index: %w", err)
		}
	}()
	rows, err := ix.db.QueryContext(ctx, "SELECT repository FROM skipped WHERE repository >= ? ORDER BY repository", prefix)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if !strings.HasPrefix(name, prefix) {
			break
		}
		list = append(list, name)
	}
	return list, rows.Err()
}

// keepsSkipped tells whether anything was ever left out.
func (ix *Index) keepsSkipped(ctx context.Context) (bool, error) {
	var n int
	err := ix.db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'skipped'").Scan(&n)
	if err != nil {
		return false, fmt.Errorf("read index: %w", err)
	}
	return n > 0, nil
}
