package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// A goal is a number that modelreg is built for, and how to find it.
type goal struct {
	what    string
	aim     string // "-" for what is told for comparison only
	measure func(f figures) (string, bool)
}

// goals are those of docs/benchmarks.md. What is measured of them is printed;
// nothing depends on it.
var goals = []goal{
	{"cold pull of one file over the limited link, best peer / modelreg", ">= 5", func(f figures) (string, bool) {
		r, ok := f.wall("pull", "one", "limited", false)
		return fmt.Sprintf("%.2f", 1/r), ok
	}},
	{"cold pull of shards, modelreg / best peer", "<= 0.75", func(f figures) (string, bool) {
		r, ok := f.wall("pull", "shards", "raw", false)
		return fmt.Sprintf("%.2f", r), ok
	}},
	{"CPU of that, modelreg / best peer", "<= 0.65", func(f figures) (string, bool) { return f.cpu("pull", "shards", "raw") }},
	{"cold push of shards, modelreg / best peer that starts from files", "<= 0.75", func(f figures) (string, bool) {
		r, ok := f.wall("push", "shards", "raw", true)
		return fmt.Sprintf("%.2f", r), ok
	}},
	{"cold push of many small files, best peer / modelreg", ">= 5", func(f figures) (string, bool) {
		r, ok := f.wall("push", "small", "raw", true)
		return fmt.Sprintf("%.2f", 1/r), ok
	}},
	{"cold pull of many small files, best peer / modelreg", ">= 5", func(f figures) (string, bool) {
		r, ok := f.wall("pull", "small", "raw", true)
		return fmt.Sprintf("%.2f", 1/r), ok
	}},
	{"cold push of many small files, modelreg / one tar of them", "<= 1.5", tarGoal("push", "raw")},
	{"cold pull of many small files, modelreg / one tar of them", "<= 1.5", tarGoal("pull", "raw")},
	{"that push over the limited link", "<= 1.5", tarGoal("push", "limited")},
	{"that pull over the limited link", "<= 1.5", tarGoal("pull", "limited")},
	{"push of nothing new, seconds", "< 0.1", func(f figures) (string, bool) { return f.seconds("push-again", "counted") }},
	{"pull of nothing new, seconds", "< 0.1", func(f figures) (string, bool) { return f.seconds("pull-again", "counted") }},
	{"push of nothing new, limited link, seconds", "< 0.1 + 2 round trips", func(f figures) (string, bool) { return f.seconds("push-again", "limited") }},
	{"pull of nothing new, limited link, seconds", "< 0.1 + 2 round trips", func(f figures) (string, bool) { return f.seconds("pull-again", "limited") }},
	{"q, v changed: fetched / (changed + index)", "<= 1.1", changeGoal("q-v")},
	{"header edited: fetched / (changed + index)", "<= 1.1", changeGoal("header")},
	{"other shards: fetched / (changed + index)", "<= 1.1", changeGoal("reshard")},
	{"tensors in another order: fetched / (changed + index)", "-", changeGoal("reorder")},
	{"embedding resized: fetched / (changed + index)", "<= 1.1", changeGoal("resize")},
	{"resumed after kill -9 at half, fetched of the model", "<= 52 %", func(f figures) (string, bool) {
		c, ok := f.find("resume", "shards", "limited", ours)
		return fmt.Sprintf("%.1f %%", 100*float64(c.Down)/float64(max(c.Size, 1))), ok
	}},
	{"largest memory of a push or pull, MB", "< 100", func(f figures) (string, bool) {
		most := int64(0)
		for _, c := range f {
			if c.Tool == ours {
				most = max(most, c.RSS)
			}
		}
		return megabytes(most), most > 0
	}},
	{"cold pull of shards, modelreg / hashing the files", "-", floorGoal("floor-sha256")},
	{"cold pull of shards, modelreg / copying the files", "-", floorGoal("floor-cp")},
	{"cold pull of shards, modelreg / curl of each file", "-", floorGoal("floor-curl")},
	{"CPU seconds per GB of a pull, modelreg / oras", "<= 1", func(f figures) (string, bool) {
		us, ok1 := f.find("pull", "shards", "raw", ours)
		oras, ok2 := f.find("pull", "shards", "raw", "oras")
		return fmt.Sprintf("%.2f (%.2f against %.2f)", us.perGB()/max(oras.perGB(), 1e-9), us.perGB(), oras.perGB()), ok1 && ok2
	}},
}

// figures are all medians of a run.
type figures []cell

func (f figures) find(scene, model, link, tool string) (cell, bool) {
	i := slices.IndexFunc(f, func(c cell) bool {
		return c.Scene == scene && c.Model == model && c.Link == link && c.Tool == tool && c.Runs > 0
	})
	if i < 0 {
		return cell{}, false
	}
	return f[i], true
}

// wall returns modelreg's time by that of the best peer, of those that start
// from files if layouts do not count.
func (f figures) wall(scene, model, link string, files bool) (float64, bool) {
	us, ok := f.find(scene, model, link, ours)
	peer, found := f.peer(scene, model, link, files)
	if !ok || !found {
		return 0, false
	}
	return us.Wall.Seconds() / peer.Wall.Seconds(), true
}

func (f figures) cpu(scene, model, link string) (string, bool) {
	us, ok := f.find(scene, model, link, ours)
	peer, found := f.peer(scene, model, link, false)
	if !ok || !found {
		return "", false
	}
	return fmt.Sprintf("%.2f", us.CPU.Seconds()/peer.CPU.Seconds()), true
}

func (f figures) peer(scene, model, link string, files bool) (cell, bool) {
	var table []cell
	for _, c := range f {
		if c.Scene == scene && c.Model == model && c.Link == link && (!files || c.Tool != "crane") {
			table = append(table, c)
		}
	}
	return best(table)
}

func (f figures) seconds(scene, link string) (string, bool) {
	c, ok := f.find(scene, "one", link, ours)
	return fmt.Sprintf("%.3f, %d requests", c.Wall.Seconds(), c.Requests), ok
}

func floorGoal(name string) func(f figures) (string, bool) {
	return func(f figures) (string, bool) {
		us, ok1 := f.find("pull", "shards", "raw", ours)
		floor, ok2 := f.find("pull", "shards", "raw", name)
		return fmt.Sprintf("%.2f", us.Wall.Seconds()/max(floor.Wall.Seconds(), 1e-9)), ok1 && ok2
	}
}

func tarGoal(scene, link string) func(f figures) (string, bool) {
	return func(f figures) (string, bool) {
		us, ok1 := f.find(scene, "small", link, ours)
		tar, ok2 := f.find(scene, "small", link, "floor-tar")
		return fmt.Sprintf("%.2f (%s s of %s)", us.Wall.Seconds()/max(tar.Wall.Seconds(), 1e-9), seconds(us.Wall), seconds(tar.Wall)), ok1 && ok2
	}
}

// indexShare is how much of a file the index of its chunks is, about: a digest
// of 32 bytes for 256 KiB.
const indexShare = 256 << 10 / 32

func changeGoal(name string) func(f figures) (string, bool) {
	return func(f figures) (string, bool) {
		c, ok := f.find("pull-changed", "change-"+name, "counted", ours)
		return fmt.Sprintf("%.2f (%s MB of %s)", float64(c.Down)/float64(c.Note+c.Size/indexShare+1), megabytes(c.Down), megabytes(c.Size)), ok
	}
}

// summarise prints what was measured of each goal.
func summarise(w io.Writer, f figures) {
	fmt.Fprintln(w, "\nin short")
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, g := range goals {
		if got, ok := g.measure(f); ok {
			fmt.Fprintf(t, "  %s\t%s\taim %s\n", g.what, got, g.aim)
		}
	}
	_ = t.Flush()
}
