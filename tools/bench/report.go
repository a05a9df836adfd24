package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"text/tabwriter"
	"time"
)

// isPeer tells the tools that modelreg is compared with.
func isPeer(name string) bool { return name != ours && !strings.HasPrefix(name, "floor-") }

// report prints tables of medians: one for each scene, model and link.
func report(w io.Writer, s *suite) {
	fmt.Fprintf(w, "%s, %d CPUs, load %s; %d MiB of weights, %d files of %d KiB; %d rounds; link: %.0f MB/s a connection, %s\n",
		runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), load(), s.cfg.mib, s.cfg.files, s.cfg.kib, s.rounds, s.cfg.rate/1e6, s.cfg.latency)
	all := cells(s.samples)
	defer summarise(w, all)
	for _, table := range tables(all) {
		fmt.Fprintf(w, "\n%s, %s, %s: %s MB\n", table[0].Scene, table[0].Model, table[0].Link, megabytes(table[0].Size))
		switch table[0].Scene {
		case "push", "pull":
			printTimes(w, table)
		default:
			printBytes(w, table)
		}
	}
}

// tables splits cells by scene, model and link.
func tables(all []cell) [][]cell {
	var out [][]cell
	at := make(map[cellKey]int)
	for _, c := range all {
		k := cellKey{scene: c.Scene, model: c.Model, link: c.Link}
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], c)
	}
	return out
}

func printTimes(w io.Writer, table []cell) {
	peer, ok := best(table)
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	counted := table[0].Link != "raw" // else nothing was in between that could count
	head := "tool\twall s\tmin-max\tto best peer\tCPU s\tCPU s/GB\tRSS MB\truns\t"
	if counted {
		head += "down MB\tup MB\trequests\t"
	}
	fmt.Fprintln(t, head)
	for _, c := range table {
		ratio := "-"
		if ok && c.Runs > 0 {
			ratio = fmt.Sprintf("%.2f", c.Wall.Seconds()/peer.Wall.Seconds())
		}
		fmt.Fprintf(t, "%s\t%s\t%s-%s\t%s\t%s\t%.2f\t%s\t%s\t", c.Tool, seconds(c.Wall), seconds(c.Least), seconds(c.Most), ratio,
			seconds(c.CPU), c.perGB(), megabytes(c.RSS), runs(c))
		if counted {
			fmt.Fprintf(t, "%s\t%s\t%d\t", megabytes(c.Down), megabytes(c.Up), c.Requests)
		}
		fmt.Fprintln(t)
	}
	_ = t.Flush()
}

// printBytes is for scenes in which what moves counts.
func printBytes(w io.Writer, table []cell) {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "tool\twall s\tCPU s\tRSS MB\tdown MB\tof the model\tup MB\trequests\t"+noteName(table[0].Scene)+"\tratio\truns\t")
	for _, c := range table {
		note, ratio := "-", "-"
		if c.Note > 0 {
			note = megabytes(c.Note)
			ratio = fmt.Sprintf("%.3f", against(c))
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%.2f %%\t%s\t%d\t%s\t%s\t%s\t\n", c.Tool, seconds(c.Wall), seconds(c.CPU), megabytes(c.RSS), megabytes(c.Down),
			100*float64(c.Down)/float64(c.Size), megabytes(c.Up), c.Requests, note, ratio, runs(c))
	}
	_ = t.Flush()
}

func noteName(scene string) string {
	switch scene {
	case "pull-changed":
		return "changed MB"
	case "resume":
		return "before MB"
	}
	return "-"
}

// against returns what was fetched for what had to be: of a changed version its
// new bytes, of a pull that was killed what it had not got.
func against(c cell) float64 {
	if c.Scene == "resume" {
		return float64(c.Down) / float64(max(c.Size-c.Note, 1))
	}
	return float64(c.Down) / float64(c.Note)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }

func megabytes(n int64) string {
	if n < 10e6 {
		return fmt.Sprintf("%.2f", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f", float64(n)/1e6)
}

func runs(c cell) string {
	if c.Failed > 0 {
		return fmt.Sprintf("%d, %d failed", c.Runs, c.Failed)
	}
	return fmt.Sprint(c.Runs)
}

// load is what else the machine is doing, as far as the system tells.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
