package store

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	habitsFile    = "habits.json"
	habitsVersion = 1
	habitAge      = 7 * 24 * time.Hour
	maxHabits     = 256
	maxHabitText  = 256
	maxHabitsSize = 1 << 20
)

// A habit is how a registry wants uploads, in words that are the caller's.
type habit struct {
	Text string `json:"text"`
	Time int64  `json:"time"` // s
}

type habits struct {
	Version int              `json:"version"`
	Hosts   map[string]habit `json:"hosts"`
}

// UploadHabit returns what was noted of a registry's way to take uploads in the
// last week, or "".
func (s *Store) UploadHabit(host string) string {
	h := s.readHabits().Hosts[host]
	if age := time.Since(time.Unix(h.Time, 0)); age < -time.Hour || age > habitAge {
		return ""
	}
	return h.Text
}

// SetUploadHabit notes how a registry takes uploads. Of more registries than
// are worth it, those noted first are forgotten.
func (s *Store) SetUploadHabit(host, text string) error {
	if len(host) > maxHabitText || len(text) > maxHabitText {
		return fmt.Errorf("note habit of %.64q: longer than %d bytes", host, maxHabitText)
	}
	if err := s.makeUploadsDir(); err != nil {
		return fmt.Errorf("note habit: %w", err)
	}
	unlock, err := s.lockFile("habits")
	if err != nil {
		return fmt.Errorf("note habit: %w", err)
	}
	defer unlock()
	all := s.readHabits()
	delete(all.Hosts, host)
	for len(all.Hosts) >= maxHabits {
		delete(all.Hosts, slices.MinFunc(slices.Sorted(maps.Keys(all.Hosts)), func(a, b string) int {
			return int(all.Hosts[a].Time - all.Hosts[b].Time)
		}))
	}
	all.Hosts[host] = habit{Text: text, Time: time.Now().Unix()}
	raw, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("note habit: %w", err)
	}
	if err := s.replaceFile(path.Join(uploadsDir, habitsFile), raw, 0o600); err != nil {
		return fmt.Errorf("note habit: %w", err)
	}
	return nil
}

// readHabits reads the file, or nothing of one that is not whole or not ours.
func (s *Store) readHabits() habits {
	none := habits{Version: habitsVersion, Hosts: make(map[string]habit)}
	name := path.Join(uploadsDir, habitsFile)
	fi, err := s.root.Lstat(name)
	if err != nil || CheckPrivate(fi) != nil {
		return none
	}
	raw, err := readFile(s.root, name, maxHabitsSize)
	if err != nil {
		return none
	}
	var all habits
	if err := json.Unmarshal(raw, &all, json.RejectUnknownMembers(true)); err != nil || all.Version != habitsVersion || all.Hosts == nil {
		return none
	}
	return all
}
