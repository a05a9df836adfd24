package index

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"
)

// usable is the part of the memory of a device that a model may fill.
const usable = 0.85

// about is how far a plain number may be off: "params:7b" is from 6.3 to 7.7.
const about = 0.1

// An interval holds the numbers from low to high; without low or high if these
// are open.
type interval struct {
	low, high         float64
	lowOpen, highOpen bool
}

func (in interval) has(x float64) bool {
	return (x > in.low || x == in.low && !in.lowOpen) && (x < in.high || x == in.high && !in.highOpen)
}

// intervalOf returns what a value of a key asks for.
func intervalOf(key string, v Value, now time.Time) interval {
	if key == "updated" {
		return timeInterval(v, now)
	}
	low, high := v.Low.amount(key), v.High.amount(key)
	if key == "fits" {
		low, high = low*usable, high*usable
	}
	in := interval{low: math.Inf(-1), high: math.Inf(1)}
	switch v.Op {
	case "<", "<=":
		in.high, in.highOpen = low, v.Op == "<"
	case ">", ">=":
		in.low, in.lowOpen = low, v.Op == ">"
	case "..":
		if !v.Low.IsZero() {
			in.low = low
		}
		if !v.High.IsZero() {
			in.high = high
		}
	default:
		switch key {
		case "fits":
			in.high = low
		case "metric":
			in.low, in.high = low, low
		default:
			in.low, in.high = low*(1-about), low*(1+about)
		}
	}
	return in
}

// timeInterval returns the seconds that a value of "updated" asks for. An age
// grows as time goes back: "<30d" is later than 30 days ago.
func timeInterval(v Value, now time.Time) interval {
	in := interval{low: math.Inf(-1), high: math.Inf(1)}
	from, to := v.Low.span(now)
	later, earlier := ">", "<"
	if v.Low.Date == "" {
		later, earlier = "<", ">"
	}
	switch v.Op {
	case later:
		in.low, in.lowOpen = float64(to), true
	case later + "=":
		in.low = float64(from)
	case earlier:
		in.high, in.highOpen = float64(from), true
	case earlier + "=":
		in.high = float64(to)
	case "..":
		return timeRange(v, now)
	default: // a day that is meant, or a time ago, give or take
		in.low, in.high = float64(from), float64(to)
		if v.Low.Date == "" {
			slack := float64(now.Unix()-from) * about
			in.low, in.high = in.low-slack, in.high+slack
		}
	}
	return in
}

func timeRange(v Value, now time.Time) interval {
	in := interval{low: math.Inf(-1), high: math.Inf(1)}
	ends := []Quantity{v.Low, v.High}
	if ages := v.Low.Date == "" && v.High.Date == ""; ages {
		ends = []Quantity{v.High, v.Low} // the greater age is the earlier time
	}
	if !ends[0].IsZero() {
		from, _ := ends[0].span(now)
		in.low = float64(from)
	}
	if !ends[1].IsZero() {
		_, to := ends[1].span(now)
		in.high = float64(to)
	}
	return in
}

// scanNumbers tells versions by a column. Those without a number never fit.
func scanNumbers(t Term, now time.Time) func(*reader, int, *bitset, *bitset) error {
	col := map[string]int{
		"params": colParams, "size": colSize, "fits": colMemory, "context": colContext, "updated": colUpdated,
	}[t.Key]
	var ins []interval
	for _, v := range t.Values {
		ins = append(ins, intervalOf(t.Key, v, now))
	}
	return func(r *reader, chunk int, in, out *bitset) error {
		v, err := r.view(col, chunk)
		if err != nil {
			return err
		}
		for i, w := range in {
			for ; w != 0; w &= w - 1 {
				doc := uint16(i<<6 | bits.TrailingZeros64(w))
				x := v.at(doc)
				if x == 0 {
					continue
				}
				for _, in := range ins {
					if in.has(float64(x)) {
						out.set(doc)
						break
					}
				}
			}
		}
		return nil
	}
}

// A measured is one number of one version of a chunk.
type measured struct {
	doc    uint16
	belief uint8
	value  float64
}

const measuredBytes = 11

// measures returns the numbers of a metric in a chunk.
func (r *reader) measures(name string, chunk int) ([]measured, error) {
	key := cacheKey{'m', metricKey(name, int64(chunk))}
	if c := r.cache.get(key); c != nil && c.epoch == r.state.epoch && c.generation == r.state.generation {
		return c.value.([]measured), nil
	}
	stmt, err := r.stmt(&r.getMetric, "SELECT data FROM metric WHERE id BETWEEN ? AND ?")
	if err != nil {
		return nil, err
	}
	rows, err := stmt.QueryContext(r.ctx, key.id, key.id)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []measured
	for rows.Next() {
		var b []byte
		if err := rows.Scan(&b); err != nil {
			return nil, err
		}
		for ; len(b) >= measuredBytes; b = b[measuredBytes:] {
			list = append(list, measured{
				binary.LittleEndian.Uint16(b), min(b[10], said), math.Float64frombits(binary.LittleEndian.Uint64(b[2:])),
			})
		}
	}
	r.keep(key, list, int64(16*len(list))+100)
	return list, rows.Err()
}

// scanMetrics tells versions by what was measured of them: "metric" by whoever says
// so, "measured" by those alone who are trusted.
func scanMetrics(t Term) func(*reader, int, *bitset, *bitset) error {
	least := uint8(said)
	if t.Key == keyMeasured {
		least = believed
	}
	ins := make([]interval, len(t.Values))
	for i, v := range t.Values {
		ins[i] = intervalOf("metric", v, time.Time{})
	}
	return func(r *reader, chunk int, in, out *bitset) error {
		for i, v := range t.Values {
			list, err := r.measures(v.Text, chunk)
			if err != nil {
				return err
			}
			for _, m := range list {
				if m.belief <= least && in.has(m.doc) && (v.Op == "" || ins[i].has(m.value)) {
					out.set(m.doc)
				}
			}
		}
		return nil
	}
}
