package index

import (
	"bufio"
	"cmp"
	"context"
	"encoding/hex"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/klauspost/compress/zstd"
)

// Bounds on what is read of a snapshot.
const (
	// MaxSnapshotRecords bounds the records.
	MaxSnapshotRecords = 5_000_000

	// MaxSnapshotText bounds the lines together, in bytes.
	MaxSnapshotText = 16 << 30

	// maxLine bounds a record as JSON, in bytes: what an index keeps, too.
	maxLine = 1 << 20

	// maxSnapshotWindow bounds the memory that compression asks for, in bytes.
	maxSnapshotWindow = 8 << 20

	// snapshotBatch and snapshotBatchText bound the records that are held at
	// once, the latter in bytes of their lines.
	snapshotBatch     = 4096
	snapshotBatchText = 16 << 20

	// escapes is by how much a text grows at most when it is written anew.
	escapes = 6
)

// ErrSnapshot is wrapped by errors about a snapshot that is not what
// [Index.WriteSnapshot] writes.
var ErrSnapshot = errors.New("malformed snapshot")

// SnapshotStats counts what is in a snapshot.
type SnapshotStats struct {
	Repositories int
	Versions     int
}

// WriteSnapshot writes the records of all repositories that keep takes, which may
// be nil for all: a line of JSON each, sorted by repository and digest,
// compressed. What was measured of a version in a repository that keep does not take
// is left out of its record. The same records give the same bytes, in whatever order
// they came into the index.
func (ix *Index) WriteSnapshot(ctx context.Context, w io.Writer, keep func(repository string) bool) (s SnapshotStats, err error) {
	enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(maxSnapshotWindow), zstd.WithEncoderCRC(false))
	if err != nil {
		return s, fmt.Errorf("write snapshot: %w", err)
	}
	defer func() {
		if e := enc.Close(); e != nil && err == nil {
			err = fmt.Errorf("write snapshot: %w", e)
		}
	}()
	repositories, err := ix.Repositories(ctx, "")
	if err != nil {
		return s, err
	}
	for _, name := range repositories {
		if keep != nil && !keep(name) {
			continue
		}
		versions, err := ix.Versions(ctx, name)
		if err != nil {
			return s, err
		}
		for i := range versions {
			versions[i].leaveOut(keep)
			line, err := canonical(&versions[i])
			if err != nil {
				return s, fmt.Errorf("write snapshot: %s@%s: %w", name, versions[i].Digest, err)
			}
			if _, err := enc.Write(append(line, '\n')); err != nil {
				return s, fmt.Errorf("write snapshot: %w", err)
			}
		}
		s.Repositories, s.Versions = s.Repositories+1, s.Versions+len(versions)
	}
	return s, nil
}

// leaveOut takes from a record what was stated in repositories that keep does not
// take: who may not see them must not learn of them here.
func (r *Record) leaveOut(keep func(repository string) bool) {
	if keep == nil || len(r.Elsewhere) == 0 {
		return
	}
	n := len(r.Elsewhere)
	r.Elsewhere = slices.DeleteFunc(r.Elsewhere, func(at string) bool {
		name, _, _ := strings.Cut(at, "@")
		return !keep(name)
	})
	if len(r.Elsewhere) < n {
		r.Joined = "" // it is joined again by who builds upon it
	}
	r.Metrics = slices.DeleteFunc(r.Metrics, func(m Metric) bool { return m.Repository != "" && !keep(m.Repository) })
}

// canonical is the one form of a record: its fields in their order, without those
// that are zero. It is what an index keeps, too.
func canonical(r *Record) ([]byte, error) {
	r.Bound()
	line, err := stdjson.Marshal(r)
	if err == nil && len(line) > maxLine {
		err = fmt.Errorf("record of %d bytes: more than %d", len(line), maxLine)
	}
	return line, err
}

// ReadSnapshot reads what [Index.WriteSnapshot] wrote, and hands it to use in
// parts of a few thousand records, which use must not keep. An error of use ends
// it. What is read is held against the bounds of snapshots and records, must be
// sorted, and has no version twice; memory is bounded whatever it is.
//
// Errors about the snapshot wrap [ErrSnapshot]. The parts before the fault have
// been used then: read into something that is thrown away.
func ReadSnapshot(ctx context.Context, r io.Reader, use func([]Record) error) (s SnapshotStats, err error) {
	dec, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxSnapshotWindow))
	if err != nil {
		return s, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	defer dec.Close()
	text := &io.LimitedReader{R: dec, N: MaxSnapshotText}
	lines := bufio.NewScanner(text)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine+1)
	lines.Split(wholeLines)
	var batch []Record
	var held int
	var last Key
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		err := use(batch)
		clear(batch)
		batch, held = batch[:0], 0
		return cmp.Or(err, ctx.Err())
	}
	for lines.Scan() {
		rec, err := parseRecord(lines.Bytes())
		if err == nil {
			err = follows(last, rec.Key())
		}
		if err == nil && s.Versions == MaxSnapshotRecords {
			err = fmt.Errorf("more than %d records", MaxSnapshotRecords)
		}
		if err != nil {
			return s, fmt.Errorf("%w: line %d: %w", ErrSnapshot, s.Versions+1, err)
		}
		if rec.Repository != last.Repository {
			s.Repositories++
		}
		s.Versions, last = s.Versions+1, rec.Key()
		batch, held = append(batch, rec), held+len(lines.Bytes())
		if len(batch) == snapshotBatch || held >= snapshotBatchText {
			if err := flush(); err != nil {
				return s, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return s, fmt.Errorf("%w: line %d: %w", ErrSnapshot, s.Versions+1, err)
	}
	if text.N == 0 {
		return s, fmt.Errorf("%w: more than %d bytes", ErrSnapshot, int64(MaxSnapshotText))
	}
	return s, flush()
}

// wholeLines splits at line feeds, of which the last line has one too: one that
// was cut off is no record.
func wholeLines(data []byte, end bool) (int, []byte, error) {
	advance, line, err := bufio.ScanLines(data, false)
	if err == nil && advance == 0 && end && len(data) > 0 {
		return 0, nil, io.ErrUnexpectedEOF
	}
	return advance, line, err
}

// parseRecord reads one line. Names that it does not know are of a later version,
// and left out.
func parseRecord(line []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(line, &r); err != nil {
		return r, errors.New("no record")
	}
	if err := checkRecord(&r); err != nil {
		return r, err
	}
	r.Bound()
	if len(line) > maxLine/escapes {
		if _, err := canonical(&r); err != nil {
			return r, err
		}
	}
	return r, nil
}

// checkRecord refuses what no crawler writes.
func checkRecord(r *Record) error {
	if r.Repository == "" || len(r.Repository) > MaxText || strings.ContainsFunc(r.Repository, notInNames) {
		return errors.New("a repository that is none")
	}
	_, sum, _ := strings.Cut(r.Digest, ":")
	if raw, err := hex.DecodeString(sum); err != nil || len(raw) < 32 || len(r.Digest) > MaxText || strings.ToLower(sum) != sum {
		return errors.New("a digest that is none")
	}
	switch r.Status {
	case "", Active, Deprecated, Yanked:
	default:
		return errors.New("an unknown status")
	}
	if r.Parameters < 0 || r.Context < 0 || r.Size < 0 || r.Memory < 0 {
		return errors.New("a negative number")
	}
	if year := r.Updated.UTC().Year(); year < 1 || year > 9999 {
		return errors.New("a time that is none")
	}
	return nil
}

func notInNames(r rune) bool { return unicode.IsSpace(r) || !unicode.IsGraphic(r) }

// follows tells whether a version may come after another.
func follows(before, k Key) error {
	order := cmp.Or(strings.Compare(before.Repository, k.Repository), strings.Compare(before.Digest, k.Digest))
	if order >= 0 {
		return errors.New("versions are not sorted, or one is there twice")
	}
	return nil
}

// Distrust takes from a record what it says of trust: that a signature was
// verified, by whom, and that a measurement is more than a claim. What is
// attached to the version will be read again by who builds upon the record.
func (r *Record) Distrust() {
	r.Verified, r.Signers, r.Attached = false, nil, unread
	r.Elsewhere, r.Joined = nil, ""
	for i := range r.Metrics {
		r.Metrics[i].Class, r.Metrics[i].By = "claimed", ""
	}
}

// unread stands for the digest of a list of attachments and is that of none.
const unread = "unread"
