package store

import (
	"os"
	"path"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// KeptIn returns what [OpenPartial] would find of a blob: stretches of it, as
// offset and length, sorted and not overlapping. It believes the journal, reads
// none of the bytes, and changes and locks nothing.
func KeptIn(root *os.Root, name string, desc ocispec.Descriptor) [][2]int64 {
	return kept(&Partial{root: root, disk: osDisk{}, desc: desc, paths: partialPaths{
		data: name + ".partial", log: name + ".journal",
	}})
}

// Kept returns what [Store.Partial] would find of a blob, as [KeptIn] does.
func (s *Store) Kept(desc ocispec.Descriptor) [][2]int64 {
	entries, err := s.list(ingestDir)
	if err != nil {
		return nil
	}
	var most [][2]int64
	bytes := int64(0)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), desc.Digest.Encoded()+".") {
			continue
		}
		found, n := kept(s.ingestAt(desc, "", path.Join(ingestDir, e.Name()))), int64(0)
		for _, s := range found {
			n += s[1]
		}
		if n > bytes {
			most, bytes = found, n
		}
	}
	return most
}

// kept reads the journal of a partial that is not open.
func kept(p *Partial) (list [][2]int64) {
	log, err := p.root.Open(p.paths.log)
	if err != nil {
		return nil
	}
	defer log.Close()
	p.log = log
	if p.openSingle(os.O_RDONLY, 0) != nil {
		return nil
	}
	defer p.data.Close()
	j, err := p.readJournal()
	if err != nil || j.fits(p.desc) != nil {
		return nil
	}
	written, err := p.data.size()
	if err != nil {
		return nil
	}
	end := int64(0)
	if j.To.Length <= written {
		end = j.To.Length
	}
	if end > 0 {
		list = append(list, [2]int64{0, end})
	}
	parts, err := p.readParts()
	if err != nil {
		return list
	}
	for _, q := range parts {
		if from := max(q.offset, end); q.end() > from {
			list = append(list, [2]int64{from, q.end() - from})
		}
	}
	return list
}
