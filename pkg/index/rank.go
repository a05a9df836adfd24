package index

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"

	"github.com/zeebo/xxh3"
)

// What a word of the query counts, by where it stands. The name's part that is
// covered by the query's words counts up to nameCovered besides.
const (
	inName      = 12
	inTags      = 5
	inTitle     = 3
	inText      = 1
	nameCovered = 12
	deprecation = -20
)

// ErrSort is wrapped by errors about an order that does not exist, ErrCursor by
// those about a cursor that is none, or belongs to another search.
var (
	ErrSort   = errors.New("cannot sort")
	ErrCursor = errors.New("bad cursor")
)

// A place is where a version stands in the results: nothing in it depends on when
// the version came into the index.
type place struct {
	primary   float64 // what is sorted by; more is better
	updated   uint64
	high, low uint64 // the name's beginning
	identity  uint64
	id        int64 // of the version; does not count
}

// compare is negative if p comes before q.
func (p place) compare(q place) int {
	return cmp.Or(
		cmp.Compare(q.primary, p.primary), cmp.Compare(q.updated, p.updated),
		cmp.Compare(p.high, q.high), cmp.Compare(p.low, q.low), cmp.Compare(p.identity, q.identity),
	)
}

// An order is what to sort by.
type order struct {
	name    string
	reverse bool
	metric  string
	col     int
}

func parseOrder(s string, text bool) (order, error) {
	o := order{}
	o.name, o.reverse = strings.CutPrefix(strings.ToLower(s), "-")
	if o.name == "" {
		o.name = "updated"
		if text {
			o.name = "relevance"
		}
	}
	if name, ok := strings.CutPrefix(o.name, "metric:"); ok && name != "" {
		o.metric = name
		return o, nil
	}
	switch o.name {
	case "relevance":
	case "updated":
		o.col = colUpdated
	case "params":
		o.col = colParams
	case "size":
		o.col = colSize
	default:
		return o, fmt.Errorf("%w by %q: it can be relevance, updated, params, size or metric:NAME", ErrSort, s)
	}
	return o, nil
}

// A ranking gathers the best places of a search.
type ranking struct {
	r      *reader
	plan   *plan
	order  order
	limit  int
	after  *place
	places []place // the best, sorted, at most limit+1
}

// add ranks the versions of a chunk.
func (k *ranking) add(chunk int, in *bitset) error {
	score, err := k.primary(chunk)
	if err != nil {
		return err
	}
	tie := &tieBreak{r: k.r, chunk: chunk}
	for i, w := range in {
		for ; w != 0; w &= w - 1 {
			doc := uint16(i<<6 | bits.TrailingZeros64(w))
			p := place{primary: score(doc), id: int64(chunk)*chunkSize + int64(doc)}
			if k.full() && p.primary < k.places[k.limit].primary || k.after != nil && p.primary > k.after.primary {
				continue
			}
			if err := tie.fill(doc, &p, k.worst()); err != nil {
				return err
			}
			k.insert(p)
		}
	}
	return nil
}

func (k *ranking) full() bool { return len(k.places) > k.limit }

// worst returns the last place, if no more are needed.
func (k *ranking) worst() *place {
	if !k.full() {
		return nil
	}
	return &k.places[k.limit]
}

func (k *ranking) insert(p place) {
	if k.after != nil && p.compare(*k.after) <= 0 || k.full() && p.compare(k.places[k.limit]) >= 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(k.places, p, place.compare)
	k.places = slices.Insert(k.places, i, p)
	if len(k.places) > k.limit+1 {
		k.places = k.places[:k.limit+1]
	}
}

// A tieBreak reads the columns that decide between equals, when they are needed.
type tieBreak struct {
	r                        *reader
	chunk                    int
	updated, high, low, iden *view
}

func (t *tieBreak) get(v **view, col int, doc uint16) (uint64, error) {
	if *v == nil {
		var err error
		if *v, err = t.r.view(col, t.chunk); err != nil {
			return 0, err
		}
	}
	return (*v).at(doc), nil
}

// fill completes a place, unless it is behind worst already.
func (t *tieBreak) fill(doc uint16, p, worst *place) (err error) {
	if p.updated, err = t.get(&t.updated, colUpdated, doc); err != nil {
		return err
	}
	if worst != nil && p.primary == worst.primary && p.updated < worst.updated {
		return nil
	}
	if p.high, err = t.get(&t.high, colNameHigh, doc); err != nil {
		return err
	}
	if p.low, err = t.get(&t.low, colNameLow, doc); err != nil {
		return err
	}
	p.identity, err = t.get(&t.iden, colIdentity, doc)
	return err
}

// primary returns the function that tells what a version of a chunk is sorted by.
func (k *ranking) primary(chunk int) (func(doc uint16) float64, error) {
	sign := 1.0
	if k.order.reverse {
		sign = -1
	}
	switch {
	case k.order.metric != "":
		return k.byMetric(chunk, sign)
	case k.order.name == "relevance":
		score, err := k.relevance(chunk)
		return func(doc uint16) float64 { return sign * float64(score(doc)) }, err
	}
	v, err := k.r.view(k.order.col, chunk)
	return func(doc uint16) float64 {
		if n := v.at(doc); n != 0 {
			return sign * float64(n)
		}
		return math.Inf(-1) // unknown comes last, whatever the direction
	}, err
}

// byMetric sorts by the best number of each version among those that are believed
// most: what a card claims never comes before what somebody trusted has measured.
func (k *ranking) byMetric(chunk int, sign float64) (func(doc uint16) float64, error) {
	list, err := k.r.measures(k.order.metric, chunk)
	best := map[uint16]float64{}
	for _, m := range list {
		p := believedFirst(m.belief, sign*m.value)
		if old, ok := best[m.doc]; !ok || p > old {
			best[m.doc] = p
		}
	}
	return func(doc uint16) float64 {
		if v, ok := best[doc]; ok {
			return v
		}
		return math.Inf(-1)
	}, err
}

// believedFirst returns a number that sorts by how much a value is believed and then
// by the value, but for its last two bits. Absurd values are equal to each other.
func believedFirst(belief uint8, value float64) float64 {
	const absurd, sign = 1e300, 1 << 63
	b := math.Float64bits(min(max(value, -absurd), absurd))
	if b&sign != 0 {
		b = ^b // bits of floats are sorted as integers are, those below zero the other way
	} else {
		b |= sign
	}
	b = uint64(beliefs-belief)<<62 | b>>2
	if b&sign != 0 {
		return math.Float64frombits(b &^ sign)
	}
	return math.Float64frombits(^b)
}

// relevance returns the function that scores the versions of a chunk.
func (k *ranking) relevance(chunk int) (func(doc uint16) int, error) {
	type fields struct{ name, tag, title bitset }
	words := make([]fields, len(k.plan.words))
	for i, w := range k.plan.words {
		w.name.at(chunk).addTo(&words[i].name)
		w.tag.at(chunk).addTo(&words[i].tag)
		w.title.at(chunk).addTo(&words[i].title)
	}
	lengths, err := k.r.view(colWords, chunk)
	if err != nil {
		return nil, err
	}
	var deprecated bitset
	status, err := k.r.term(fieldFact, "status="+Deprecated)
	if err != nil {
		return nil, err
	}
	status.at(chunk).addTo(&deprecated)
	return func(doc uint16) int {
		score, named := 0, 0
		for i := range words {
			w := &words[i]
			switch {
			case w.name.has(doc):
				score += inName
				named++
			case w.tag.has(doc):
				score += inTags
			case w.title.has(doc):
				score += inTitle
			default:
				score += inText
			}
		}
		if named > 0 {
			n := int(lengths.at(doc))
			score += nameCovered * min(named, n) / max(n, 1)
		}
		if deprecated.has(doc) {
			score += deprecation
		}
		return score
	}, nil
}

// cursor writes a place as text, which only the same search reads.
func (p place) cursor(search string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(xxh3.HashString(search)))
	for _, n := range []uint64{math.Float64bits(p.primary), p.updated, p.high, p.low, p.identity} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s, search string) (*place, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != 4+5*8 {
		return nil, fmt.Errorf("%w: it is not one that a search gave", ErrCursor)
	}
	if binary.BigEndian.Uint32(b) != uint32(xxh3.HashString(search)) {
		return nil, fmt.Errorf("%w: it belongs to another query or order", ErrCursor)
	}
	var n [5]uint64
	for i := range n {
		n[i] = binary.BigEndian.Uint64(b[4+8*i:])
	}
	return &place{primary: math.Float64frombits(n[0]), updated: n[1], high: n[2], low: n[3], identity: n[4]}, nil
}
