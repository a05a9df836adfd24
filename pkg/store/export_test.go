package store

import (
	"errors"
	"os"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Disk is what tests can make fail.
type Disk = disk

// OSDisk is the disk that works.
type OSDisk = osDisk

// SetDisk has everything written from now on go through d.
func (s *Store) SetDisk(d Disk) { s.disk = d }

// SetDisk has everything written from now on go through d.
func (p *Partial) SetDisk(d Disk) { p.disk = d }

// SetNow changes the clock of a cache.
func (c *StatCache) SetNow(now func() time.Time) { c.now = now }

// SetNow changes the clock of results.
func (r *Results) SetNow(now func() time.Time) { r.now = now }

// SwapByNames is SwapDir on systems that cannot exchange names.
func SwapByNames(parent *os.Root, staged, final string, d Disk) error {
	return swap{parent, staged, final, d}.run(func(*os.Root, string, string) error { return errors.ErrUnsupported })
}

// ParseJournal reads a journal and tells how far it goes.
func ParseJournal(raw []byte, desc ocispec.Descriptor) (from, to int64, err error) {
	j, err := parseJournal(raw)
	if err == nil {
		err = j.fits(desc)
	}
	return j.From.Length, j.To.Length, err
}

// SyncDirOn is SyncDir on a disk whose fsync is that.
func SyncDirOn(fsync func(*os.File) error, root *os.Root, name string) error {
	return syncDir(syncer{fsync: fsync}, root, name)
}

type syncer struct {
	osDisk
	fsync func(*os.File) error
}

func (s syncer) Sync(f *os.File) error { return s.fsync(f) }

// ParseIndex reads an index.json.
func ParseIndex(raw []byte) (ocispec.Index, error) { return parseIndex(raw) }

// ParseStat reads a digest cache and tells how many entries it has.
func ParseStat(raw []byte) int { return len(parseStat(raw)) }

// ParseResults reads a file of results of "maker" and tells how many it has.
func ParseResults(raw []byte) int { return len(parseResults(raw, "maker")) }

// ResultsOf is a file that says it is of body.
func ResultsOf(body []byte) []byte { return append([]byte(resultsSum(body)+"\n"), body...) }

// ParseSwapNote reads the note of an interrupted swap.
func ParseSwapNote(raw []byte, final string) (string, error) { return parseSwapNote(raw, final) }

// BlobName returns the path of a blob below the store.
func BlobName(desc ocispec.Descriptor) (string, error) { return blobName(desc) }

// ParseParts reads the parts in a journal, as offset and length.
func ParseParts(raw []byte, desc ocispec.Descriptor, written int64) [][2]int64 {
	var all [][2]int64
	for _, p := range parseParts(raw, desc, written) {
		all = append(all, [2]int64{p.offset, p.length})
	}
	return all
}

// Record returns a part as it is in a journal.
func Record(desc ocispec.Descriptor, offset, length int64, sum uint32) []byte {
	return part{offset, length, sum}.record(desc.Digest)
}
