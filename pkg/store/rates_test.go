package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRates(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if n := s.Rate("example.org"); n != 0 {
		t.Errorf("rate of a host that nobody knows = %d", n)
	}
	s.NoteRate("example.org", 1<<20, time.Second)      // too little
	s.NoteRate("example.org", 1<<30, time.Millisecond) // too short
	if n := s.Rate("example.org"); n != 0 {
		t.Errorf("rate = %d, want none yet", n)
	}
	s.NoteRate("example.org", 100e6, time.Second)
	s.NoteRate("example.org:5000", 10e6, time.Second)
	s.NoteRate("example.org", 50e6, time.Second)
	if n := s.Rate("example.org"); n != 75e6 {
		t.Errorf("rate = %d, want the mean", n)
	}
	if n := s.Rate("example.org:5000"); n != 10e6 {
		t.Errorf("rate with a port = %d", n)
	}
	for i := range 600 {
		s.NoteRate(fmt.Sprintf("host-%d", i), 100e6, time.Second)
	}
	if n := s.Rate("host-599"); n != 100e6 {
		t.Errorf("rate of the last of many = %d", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "origins", "rates.json"), []byte(`{"example.org":{"bytesPerSecond":-1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := s.Rate("example.org"); n != 0 {
		t.Errorf("rate from a damaged file = %d", n)
	}
}
