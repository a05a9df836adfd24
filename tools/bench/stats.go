package main

import (
	"cmp"
	"encoding/csv"
	"os"
	"slices"
	"strconv"
	"time"
)

// median returns the one in the middle, of an even number the mean of both, and
// the zero value of none.
func median[T ~int64 | ~float64](list []T) T {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	if half := len(sorted) / 2; len(sorted)%2 == 0 {
		return (sorted[half-1] + sorted[half]) / 2
	} else {
		return sorted[half]
	}
}

// A cell is the median of the samples of one tool in one scene.
type cell struct {
	Scene, Model, Link, Tool string
	Size, Note               int64
	Runs                     int
	Wall, Least, Most        time.Duration
	CPU                      time.Duration
	RSS                      int64 // the most
	Down, Up, Requests       int64
	Failed                   int // runs that are in none of the numbers
}

// perGB returns seconds of CPU for each 10^9 bytes of the model.
func (c cell) perGB() float64 { return c.CPU.Seconds() / (float64(c.Size) / 1e9) }

type cellKey struct{ scene, model, link, tool string }

// cells puts the samples together, in the order of their first appearance.
func cells(samples []sample) []cell {
	var order []cellKey
	by := make(map[cellKey][]sample)
	for _, sm := range samples {
		k := cellKey{sm.Scene, sm.Model, sm.Link, sm.Tool}
		if by[k] == nil {
			order = append(order, k)
		}
		by[k] = append(by[k], sm)
	}
	out := make([]cell, len(order))
	for i, k := range order {
		out[i] = cellOf(by[k])
	}
	return out
}

func cellOf(list []sample) cell {
	c := cell{Scene: list[0].Scene, Model: list[0].Model, Link: list[0].Link, Tool: list[0].Tool, Size: list[0].Size, Note: list[0].Note}
	good := slices.DeleteFunc(slices.Clone(list), func(sm sample) bool { return sm.Err != "" })
	c.Runs, c.Failed = len(good), len(list)-len(good)
	if c.Runs == 0 {
		return c
	}
	of := func(f func(sample) int64) []int64 {
		all := make([]int64, len(good))
		for i, sm := range good {
			all[i] = f(sm)
		}
		return all
	}
	walls := of(func(sm sample) int64 { return int64(sm.Wall) })
	c.Wall, c.Least, c.Most = time.Duration(median(walls)), time.Duration(slices.Min(walls)), time.Duration(slices.Max(walls))
	c.CPU = time.Duration(median(of(func(sm sample) int64 { return int64(sm.cpu()) })))
	c.RSS = slices.Max(of(func(sm sample) int64 { return sm.MaxRSS }))
	c.Down = median(of(func(sm sample) int64 { return sm.Down }))
	c.Up = median(of(func(sm sample) int64 { return sm.Up }))
	c.Requests = median(of(func(sm sample) int64 { return sm.Requests }))
	c.Note = median(of(func(sm sample) int64 { return sm.Note }))
	return c
}

// best returns the fastest of the peers in a table, false if there is none.
func best(table []cell) (cell, bool) {
	peers := slices.DeleteFunc(slices.Clone(table), func(c cell) bool { return c.Runs == 0 || !isPeer(c.Tool) })
	if len(peers) == 0 {
		return cell{}, false
	}
	return slices.MinFunc(peers, func(a, b cell) int { return cmp.Compare(a.Wall, b.Wall) }), true
}

// writeTSV writes all samples, one a line.
func writeTSV(file string, samples []sample) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}()
	w := csv.NewWriter(f)
	w.Comma = '\t'
	_ = w.Write([]string{ // Error tells
		"scene", "model", "link", "tool", "round", "size", "wall_s", "user_s", "sys_s", "maxrss", "down", "up", "requests", "connections", "note", "error",
	})
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	sec := func(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 4, 64) }
	for _, s := range samples {
		_ = w.Write([]string{
			s.Scene, s.Model, s.Link, s.Tool, n(int64(s.Round)), n(s.Size), sec(s.Wall), sec(s.User), sec(s.Sys), n(s.MaxRSS),
			n(s.Down), n(s.Up), n(s.Requests), n(s.Conns), n(s.Note), s.Err,
		})
	}
	w.Flush()
	return w.Error()
}
