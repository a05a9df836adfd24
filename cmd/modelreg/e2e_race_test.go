//go:build e2e

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Two people push to one branch of a stock registry, round after round, from what
// both have pulled. At most one of them is told that the branch is his, and then
// it is; the other is told to look (exit 4); and what he made is kept, and joined.
// It may be both who are told to look: a registry without compare-and-swap cannot
// decide more than that.
func TestE2ERace(t *testing.T) {
	const rounds = 12
	for name, start := range registries {
		t.Run(name, func(t *testing.T) {
			model := start(t) + "/acme/race"
			people := [2]*client{newClient(t), newClient(t)}
			first := people[0]
			write(t, first.dir+"/model", "notes.txt", "the first")
			first.modelreg("push", "model", model+":main", "-m", "the first")
			undecided := 0
			for round := range rounds {
				if !raced(t, people, model, round) {
					undecided++
				}
			}
			log := first.modelreg("log", model+":main", "--oneline")
			for round := range rounds {
				for who := range people {
					if said := racer(who, round); strings.Count(log, said+"\n") != 1 {
						t.Errorf("%s: not once in the history of main:\n%s", said, log)
					}
				}
			}
			t.Logf("%d rounds, %d that nobody was told to have won", rounds, undecided)
		})
	}
}

func racer(who, round int) string { return fmt.Sprintf("racer %d, round %d.", who, round) }

// raced lets both push once, checks what they were told, and joins what lost. It
// reports whether one of them was told that he had won.
func raced(t *testing.T, people [2]*client, model string, round int) bool {
	t.Helper()
	dirs := [2]string{}
	for who, c := range people {
		dirs[who] = fmt.Sprintf("%s/%d", c.dir, round)
		c.modelreg("pull", model+":main", dirs[who])
		write(t, dirs[who], "notes.txt", racer(who, round))
	}
	var all sync.WaitGroup
	var codes [2]int
	for who, c := range people {
		all.Go(func() {
			_, state, _ := c.try(os.Getenv("MODELREG_BIN"), "push", dirs[who], model+":main", "-m", racer(who, round))
			codes[who] = state.ExitCode()
		})
	}
	all.Wait()
	tip := people[0].modelreg("log", model+":main", "-n", "1", "--oneline")
	winner := slices.Index(codes[:], 0)
	switch {
	case winner < 0 && codes != [2]int{exitConflict, exitConflict}, winner >= 0 && codes[1-winner] != exitConflict:
		t.Fatalf("round %d: they ended with %v", round, codes)
	case winner >= 0 && !strings.Contains(tip, racer(winner, round)):
		t.Errorf("round %d: racer %d was told that all is well, and main is %s", round, winner, tip)
	}
	for who, c := range people {
		c.modelreg("merge", model+"@"+made(t, c, model, racer(who, round)), "--branch", "main", "-m", "joined")
	}
	return winner >= 0
}

// made is the digest of the version with a message, wherever it is.
func made(t *testing.T, c *client, model, message string) string {
	t.Helper()
	var all []struct{ Digest, Message string }
	if err := json.Unmarshal([]byte(c.modelreg("log", model, "--all", "--format", "json")), &all); err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if e.Message == message {
			return e.Digest
		}
	}
	t.Fatalf("%s: in no history", message)
	return ""
}
