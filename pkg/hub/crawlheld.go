package hub

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/modelreg/modelreg/pkg/ref"
)

// maxNamedEvaluations bounds the repositories that a crawl looks into because records
// name them.
const maxNamedEvaluations = 1000

// maxSilent bounds the versions that repositories are asked about one by one, because
// they do not list what they have attachments of.
const maxSilent = 100_000

// A held says that a repository has a version, or a list of what is attached to one.
// Crawls of millions keep them in memory, so that they are small.
type held struct {
	subject [12]byte // the beginning of the version's digest
	repo    uint32   // its place among the names
}

func (a held) compare(b held) int {
	return cmp.Or(bytes.Compare(a.subject[:], b.subject[:]), cmp.Compare(a.repo, b.repo))
}

// beginningOf is the beginning of a digest in hexadecimal digits.
func beginningOf(sum string) (s [12]byte, ok bool) {
	if len(sum) != 64 {
		return s, false
	}
	_, err := hex.Decode(s[:], []byte(sum[:2*len(s)]))
	return s, err == nil
}

// An elsewhere is what a crawl has seen of attachments that may be about versions of
// other repositories.
type elsewhere struct {
	mu       sync.Mutex
	names    []string            // of repositories
	number   map[string]uint32   // their places in names
	listed   map[string]bool     // those whose tags are known
	lists    []held              // lists of attachments
	versions []held              // that were crawled
	again    [][12]byte          // versions that had something elsewhere
	only     map[string]bool     // those whose tags were listed alone
	named    map[string][]string // repositories by whose records a repository is named
	silent   map[string]bool     // those without any list of attachments among their tags
	down     map[string]error    // those that did not answer
	keep     bool                // what this crawl did not come by may be as it was
}

// repo returns the number of a repository.
func (e *elsewhere) repo(name string) uint32 {
	n, ok := e.number[name]
	if !ok {
		if e.number == nil {
			e.number, e.named = map[string]uint32{}, map[string][]string{}
			e.listed, e.only, e.down = map[string]bool{}, map[string]bool{}, map[string]error{}
			e.silent = map[string]bool{}
		}
		n = uint32(len(e.names))
		e.number[name], e.names = n, append(e.names, name)
	}
	return n
}

// takeTags notes the lists of attachments that a repository has.
func (e *elsewhere) takeTags(name string, tags []string) {
	repo, before := e.repo(name), len(e.lists)
	e.listed[name] = true
	for _, tag := range tags {
		if sum, ok := strings.CutPrefix(tag, "sha256-"); ok {
			if s, ok := beginningOf(sum); ok {
				e.lists = append(e.lists, held{s, repo})
			}
		}
	}
	e.silent[name] = len(e.lists) == before
}

// askSilent has repositories that somebody has named, and whose registry may leave
// lists of attachments out of the list of tags, be asked about each version.
func (e *elsewhere) askSilent(configured []ref.Reference) (left bool) {
	told := map[string]map[string]bool{} // of which repositories; nil for all
	for name, by := range e.named {
		told[name] = map[string]bool{}
		for _, of := range by {
			told[name][of] = true
		}
	}
	for _, r := range configured {
		told[r.Name()] = nil
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(told)) {
		if !e.silent[name] {
			continue
		}
		for _, v := range e.versions {
			if of := told[name]; of != nil && !of[e.names[v.repo]] {
				continue
			}
			if n++; n > maxSilent {
				return true
			}
			e.lists = append(e.lists, held{v.subject, e.number[name]})
		}
	}
	return false
}

// candidates are the versions about which a repository may say something that does not
// have them, with the repositories that have lists about them.
func (e *elsewhere) candidates() map[[12]byte][]string {
	slices.SortFunc(e.lists, held.compare)
	slices.SortFunc(e.versions, held.compare)
	out := map[[12]byte][]string{}
	for _, s := range e.again {
		out[s] = nil
	}
	for len(e.lists) > 0 {
		s := e.lists[0].subject
		holders := cutSubject(&e.lists, s)
		for len(e.versions) > 0 && bytes.Compare(e.versions[0].subject[:], s[:]) < 0 {
			e.versions = e.versions[1:]
		}
		here := cutSubject(&e.versions, s)
		_, again := out[s]
		if again || len(holders) != 1 || len(here) != 1 || holders[0].repo != here[0].repo {
			names := make([]string, len(holders))
			for i, h := range holders {
				names[i] = e.names[h.repo]
			}
			out[s] = names
		}
	}
	return out
}

// cutSubject takes those of one subject from the beginning of a sorted list.
func cutSubject(list *[]held, s [12]byte) []held {
	n := 0
	for n < len(*list) && (*list)[n].subject == s {
		n++
	}
	out := (*list)[:n]
	*list = (*list)[n:]
	return out
}
