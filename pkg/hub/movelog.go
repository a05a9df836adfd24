package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"oras.land/oras-go/v2/errdef"

	"github.com/modelreg/modelreg/pkg/record"
	"github.com/modelreg/modelreg/pkg/remote"
	"github.com/modelreg/modelreg/pkg/signing"
)

const (
	// logWorkers bounds the entries of a log that are read at once.
	logWorkers = 16

	// maxLogTags and maxLogEntries bound what is looked at for a log: tags of the
	// repository, and entries.
	maxLogTags    = 100_000
	maxLogEntries = 4096

	// maxLogGap bounds the numbers that may be missing between two entries, and
	// before the first. Numbers beyond such a gap were not counted by anybody:
	// they would use up all there are.
	maxLogGap = 10_000

	// takeBackTime bounds what is done after a move that failed.
	takeBackTime = 15 * time.Second

	// maxLogHeads bounds the entries that one follows besides the end of its log.
	maxLogHeads = 8
)

// An entryTag is a tag that an entry of a log has for itself.
type entryTag struct {
	tag, hex string
	seq      int
}

// entryTags lists the entries of an alias's log by their tags, the newest first.
// Apart from these come tags of the same form with numbers that nobody can have
// counted to.
func entryTags(ctx context.Context, repo *remote.Repository, alias string) (found, strays []entryTag, err error) {
	n := 0
	for tag, err := range repo.Tags(ctx) {
		if errors.Is(err, errdef.ErrNotFound) {
			return nil, nil, nil // a repository without tags
		}
		if err != nil {
			return nil, nil, fmt.Errorf("read log of %s: %w", alias, err)
		}
		if n++; n > maxLogTags {
			return nil, nil, fmt.Errorf("read log of %s: more than %d tags: %w", alias, maxLogTags, errdef.ErrSizeExceedsLimit)
		}
		if of, seq, hex, ok := record.ParseEntryTag(tag); ok && of == alias {
			found = append(found, entryTag{tag, hex, seq})
		}
	}
	slices.SortFunc(found, func(a, b entryTag) int { return cmp.Or(cmp.Compare(b.seq, a.seq), strings.Compare(a.tag, b.tag)) })
	last := 0
	for i, k := range slices.Backward(found) {
		if k.seq-last > maxLogGap {
			return found[i+1:], found[:i+1], nil
		}
		last = k.seq
	}
	return found, nil, nil
}

// aboutStrays tells of tags that entryTags set apart.
func aboutStrays(strays []entryTag) []string {
	if len(strays) == 0 {
		return nil
	}
	tag, more := strays[len(strays)-1].tag, ""
	if n := len(strays) - 1; n > 0 {
		more = fmt.Sprintf(", and of %d more such tags", n)
	}
	return []string{fmt.Sprintf("tag %s is no entry of this log: the number of it%s is far beyond the others'; remove it", tag, more)}
}

// moveAlias points a protected alias at t and writes down that it does. The entry
// comes first, under a tag of its own: whoever moves the alias at the same moment
// has written one too, and at least one of both finds the other's when it looks
// again afterwards. No entry is ever written over.
func (h *Hub) moveAlias(ctx context.Context, t *target, m moving, done *Move) error {
	if err := h.hold(ctx, t); err != nil { // so that a rollback finds it
		return err
	}
	log := aliasLog{h: h, repo: t.repo, alias: done.Tag}
	if err := log.write(ctx, m, done); err != nil {
		return err
	}
	if _, err := replaceTag(ctx, t.repo, done.Tag, digest.Digest(done.From), t.desc); err != nil {
		return errors.Join(err, log.takeBack(ctx, m, done))
	}
	done.Changed = true
	return log.alone(ctx, done)
}

// An aliasLog is the log of one alias while an entry is added.
type aliasLog struct {
	h     *Hub
	repo  *remote.Repository
	alias string
	known []entryTag // before, whether they are entries or not
	own   string     // the tag of the new entry
}

// takeBack adds an entry that takes back the one for a move that failed, where the
// alias is still where it was: else the log would say that it had been elsewhere.
// If that cannot be told the log stays, and reads of it tell that it ends wrongly.
func (l *aliasLog) takeBack(ctx context.Context, m moving, failed *Move) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), takeBackTime)
	defer cancel()
	now, err := l.repo.Resolve(ctx, l.alias)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) || now.Digest.String() != failed.From {
		return nil
	}
	m.message, m.back = "the tag could not be set, and stays", true
	return l.write(ctx, m, &Move{Tag: failed.Tag, From: failed.To, To: failed.From})
}

// write adds an entry for a move, and makes it the newest.
func (l *aliasLog) write(ctx context.Context, m moving, done *Move) error {
	tags, strays, err := entryTags(ctx, l.repo, l.alias)
	if err != nil {
		return err
	}
	l.known = slices.Concat(tags, strays)
	done.Notes = append(done.Notes, aboutStrays(strays)...)
	e := record.Entry{
		Alias: l.alias, Time: cmp.Or(m.now, time.Now()).UTC().Truncate(time.Millisecond),
		From: digest.Digest(done.From), To: digest.Digest(done.To), Message: m.message, Author: m.author, Back: m.back,
	}
	if err := l.follow(ctx, tags, &e, done); err != nil {
		return err
	}
	raw, err := e.Manifest()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	desc, err := pushSmall(ctx, l.repo, raw, ocispec.Descriptor{}, nil)
	if err != nil {
		return fmt.Errorf("write log of %s: %w", l.alias, err)
	}
	if m.signer != nil {
		made, err := signing.Sign(ctx, l.repo, signing.Target{Repository: l.repo.Name(), Descriptor: desc}, m.signer, signing.SignOptions{})
		if err != nil {
			return fmt.Errorf("sign log of %s: %w", l.alias, err)
		}
		done.Signed = len(made)
	}
	l.own = record.EntryTag(l.alias, e.Seq, desc.Digest)
	if err := l.repo.PushManifest(ctx, desc, raw, l.own, record.TipTag(l.alias)); err != nil {
		return fmt.Errorf("write log of %s: %w", l.alias, err)
	}
	done.Logged = desc.Digest.String()
	return nil
}

// follow numbers a new entry, and names those that it follows: that which the log
// ends with, and those of writers of the same moment. Whoever may push can set tags
// like theirs. What is behind one that is no entry is told of, and not followed.
func (l *aliasLog) follow(ctx context.Context, tags []entryTag, next *record.Entry, done *Move) error {
	tip, err := l.tip(ctx, done)
	if err != nil {
		return err
	}
	newest, err := l.newest(ctx, tags, tip, done)
	if err != nil {
		return err
	}
	last := 0
	if len(newest) > 0 {
		last = newest[0].Seq
	}
	if tip.Seq-last > maxLogGap {
		done.Notes = append(done.Notes, fmt.Sprintf("the log of %s ends with an entry of number %d, far beyond the others: it is passed over", l.alias, tip.Seq))
	} else if tip.Seq > 0 {
		next.Previous = []digest.Digest{tip.Digest}
		last = max(last, tip.Seq)
	}
	for _, e := range newest[:min(len(newest), maxLogHeads)] {
		if !slices.Contains(next.Previous, e.Digest) {
			next.Previous = append(next.Previous, e.Digest)
		}
	}
	next.Seq = last + 1
	return nil
}

// tip is the entry that the log says it ends with, the zero entry if that is none.
func (l *aliasLog) tip(ctx context.Context, done *Move) (record.Entry, error) {
	_, raw, err := l.repo.Manifest(ctx, record.TipTag(l.alias))
	if errors.Is(err, errdef.ErrNotFound) {
		return record.Entry{}, nil
	}
	if err != nil {
		return record.Entry{}, fmt.Errorf("read log of %s: %w", l.alias, err)
	}
	e, err := record.ParseEntry(raw)
	switch {
	case err != nil:
		done.Notes = append(done.Notes, fmt.Sprintf("the log of %s ends with something else than an entry: %v", l.alias, err))
		return record.Entry{}, nil
	case e.Alias != l.alias:
		done.Notes = append(done.Notes, fmt.Sprintf("the log of %s ends with an entry of another one, %.128q", l.alias, e.Alias))
		return record.Entry{}, nil
	case e.To.String() != done.From:
		done.Notes = append(done.Notes, fmt.Sprintf("the log of %s ends at %s, and %s was at %s: it was moved without the log, or a move did not finish",
			l.alias, orNone(e.To.String()), l.alias, orNone(done.From)))
	}
	return e, nil
}

// newest reads the entries with the highest number. It costs no request where that
// is the tip alone.
func (l *aliasLog) newest(ctx context.Context, tags []entryTag, tip record.Entry, done *Move) ([]record.Entry, error) {
	for looked := 0; looked < len(tags); {
		if looked > maxLogEntries {
			return nil, fmt.Errorf("write log of %s: more than %d tags are no entries of it, such as %s: remove them: %w", l.alias, maxLogEntries, tags[0].tag, errdef.ErrSizeExceedsLimit)
		}
		group := newestTags(tags[looked:], looked > 0)
		looked += len(group)
		var found []record.Entry
		unread := slices.DeleteFunc(group, func(k entryTag) bool {
			return tip.Digest != "" && k.seq == tip.Seq && strings.HasPrefix(tip.Digest.Encoded(), k.hex)
		})
		if len(unread) < len(group) {
			found = append(found, tip)
		}
		read, gone, bad, err := readEntries(ctx, l.repo, l.alias, unread)
		if err != nil {
			return nil, fmt.Errorf("read log of %s: %w", l.alias, err)
		}
		if len(gone) > 0 { // a registry may list a tag before it can be read
			return nil, fmt.Errorf("tag %s: another writer is moving it at this moment: %w", l.alias, ErrConflict)
		}
		done.Notes = append(done.Notes, bad[:min(len(bad), maxLogHeads)]...)
		if found = append(found, read...); len(found) > 0 {
			highest := slices.MaxFunc(found, func(a, b record.Entry) int { return cmp.Compare(a.Seq, b.Seq) }).Seq
			return slices.DeleteFunc(found, func(e record.Entry) bool { return e.Seq != highest }), nil
		}
	}
	return nil, nil
}

// newestTags copies those with the highest number, and with more also the next, many
// at once.
func newestTags(tags []entryTag, more bool) []entryTag {
	n := 1
	if more {
		n = min(logWorkers, len(tags))
	}
	for n < len(tags) && n < 4*logWorkers && tags[n].seq == tags[n-1].seq {
		n++
	}
	return slices.Clone(tags[:n])
}

func orNone(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}

// alone looks whether somebody else wrote to the log meanwhile.
func (l *aliasLog) alone(ctx context.Context, done *Move) error {
	after, strays, err := entryTags(ctx, l.repo, l.alias)
	if err != nil {
		return err
	}
	for _, e := range slices.Concat(after, strays) {
		if e.tag != l.own && !slices.Contains(l.known, e) {
			return fmt.Errorf("tag %s: another writer moved it while it was set to %s; both moves are in its log: %w", l.alias, done.To, ErrConflict)
		}
	}
	return nil
}

// readLog reads the log of an alias from its newest entry back: until one is not
// newer than since, if that is not zero, and no more than limit entries, if that is
// not zero. It costs a request for every page of tags, and one for an entry.
func readLog(ctx context.Context, repo *remote.Repository, alias string, since time.Time, limit int) (record.Log, error) {
	tags, strays, err := entryTags(ctx, repo, alias)
	if err != nil {
		return record.Log{}, err
	}
	if limit <= 0 || limit > maxLogEntries {
		limit = maxLogEntries
	}
	var entries []record.Entry
	problems := aboutStrays(strays)
	first := 1
	for batch := range slices.Chunk(tags, logWorkers) {
		if len(entries) >= limit {
			first = batch[0].seq + 1
			break
		}
		more, gone, bad, err := readEntries(ctx, repo, alias, batch)
		if err != nil {
			return record.Log{}, fmt.Errorf("read log of %s: %w", alias, err)
		}
		entries, problems = append(entries, more...), append(problems, slices.Concat(gone, bad)...)
		if !since.IsZero() && slices.ContainsFunc(more, func(e record.Entry) bool { return !e.Time.After(since) }) {
			first = batch[len(batch)-1].seq
			break
		}
	}
	tip, err := repo.Resolve(ctx, record.TipTag(alias))
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return record.Log{}, fmt.Errorf("read log of %s: %w", alias, err)
	}
	now, err := repo.Resolve(ctx, alias)
	if err != nil && !errors.Is(err, errdef.ErrNotFound) {
		return record.Log{}, fmt.Errorf("look at tag %s: %w", alias, err)
	}
	log := record.Order(entries, tip.Digest, now.Digest)
	if len(log.Entries) > limit {
		log.Entries = log.Entries[:limit]
		first = log.Entries[limit-1].Seq
	}
	log.Problems = problems
	log.Check(now.Digest, first)
	return log, nil
}

// readEntries reads some entries at once. What is not there and what is no entry of
// that log are problems and no errors: anybody can set a tag.
func readEntries(ctx context.Context, repo *remote.Repository, alias string, tags []entryTag) (read []record.Entry, gone, bad []string, err error) {
	read, gone, bad = make([]record.Entry, len(tags)), make([]string, len(tags)), make([]string, len(tags))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(logWorkers)
	for i, tag := range tags {
		g.Go(func() error {
			desc, raw, err := repo.Manifest(ctx, tag.tag)
			if errors.Is(err, errdef.ErrNotFound) {
				gone[i] = fmt.Sprintf("entry %d is gone: it was removed just now", tag.seq)
				return nil
			}
			if err != nil {
				return err
			}
			e, err := record.ParseEntry(raw)
			if err != nil || e.Alias != alias || e.Seq != tag.seq || !strings.HasPrefix(desc.Digest.Encoded(), tag.hex) {
				bad[i] = fmt.Sprintf("tag %s is no entry of this log: remove it", tag.tag)
				return nil
			}
			e.Digest = desc.Digest
			read[i] = e
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, nil, nil, err
	}
	isEmpty := func(s string) bool { return s == "" }
	return slices.DeleteFunc(read, func(e record.Entry) bool { return e.Digest == "" }),
		slices.DeleteFunc(gone, isEmpty), slices.DeleteFunc(bad, isEmpty), nil
}

// protectedAt is aliasAt for the tag of t, if moves of it are logged.
func (h *Hub) protectedAt(ctx context.Context, t *target, at time.Time) (digest.Digest, bool, error) {
	r, err := h.record(ctx, t.repo)
	if err != nil || t.ref.Tag == "" || !r.IsProtected(t.ref.Tag) {
		return "", false, err
	}
	return h.aliasAt(ctx, t, at)
}

// aliasAt tells where the tag of t was at a time, by its log. False means that no log is
// kept of it. A time before the log begins, or at which the tag was not there,
// wraps errdef.ErrNotFound.
func (h *Hub) aliasAt(ctx context.Context, t *target, at time.Time) (digest.Digest, bool, error) {
	tag := t.ref.Tag
	log, err := readLog(ctx, t.repo, tag, at, 0)
	if err != nil {
		return "", false, err
	}
	if len(log.Entries) == 0 {
		return "", false, nil
	}
	for _, p := range log.Problems {
		h.warn("%s: log of %s: %s", t.repo.Name(), tag, p)
	}
	e, ok := log.At(at)
	switch {
	case !ok:
		oldest := log.Entries[len(log.Entries)-1]
		return "", true, missing(MissingPast, t.ref.WithTag(tag), fmt.Errorf("%s at %s: its log begins at %s: %w", tag, at.Format(time.RFC3339), oldest.Time.Format(time.RFC3339), errdef.ErrNotFound))
	case e.To == "":
		return "", true, missing(MissingPast, t.ref.WithTag(tag), fmt.Errorf("%s at %s: it had been deleted at %s: %w", tag, at.Format(time.RFC3339), e.Time.Format(time.RFC3339), errdef.ErrNotFound))
	}
	return e.To, true, nil
}
