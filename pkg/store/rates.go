package store

import (
	"time"

	"github.com/go-json-experiment/json"
)

const (
	ratesName     = originsDir + "/rates.json"
	maxRatesBytes = 64 << 10
	maxRates      = 500
	maxHostName   = 256

	// What moves less, or for a shorter time, says nothing about a rate.
	minRateBytes = 8 << 20
	minRateTime  = 100 * time.Millisecond
)

// A rate is how fast bytes came from a host.
type rate struct {
	BytesPerSecond float64   `json:"bytesPerSecond"`
	Seen           time.Time `json:"seen"`
}

// NoteRate remembers how fast bytes came from a host ("name" or "name:port").
// It is a hint for forecasts: amounts too small to tell are left out, and a
// failure to write it down is no failure.
func (s *Store) NoteRate(host string, bytes int64, took time.Duration) {
	if bytes < minRateBytes || took < minRateTime || host == "" || len(host) > maxHostName {
		return
	}
	rates := s.rates()
	now := float64(bytes) / took.Seconds()
	if old, ok := rates[host]; ok {
		now = (old.BytesPerSecond + now) / 2 // one slow evening does not count for all
	}
	rates[host] = rate{now, time.Now().UTC().Truncate(time.Second)}
	for len(rates) > maxRates {
		forgetOldest(rates, host)
	}
	raw, err := json.Marshal(rates, json.Deterministic(true))
	if err == nil {
		_ = s.replaceFile(ratesName, raw, 0o600)
	}
}

// Rate returns how many bytes per second came from a host of late; zero when
// nobody knows.
func (s *Store) Rate(host string) int64 {
	return int64(s.rates()[host].BytesPerSecond)
}

// rates reads the file. One that cannot be read says nothing.
func (s *Store) rates() map[string]rate {
	rates := make(map[string]rate)
	raw, err := readFile(s.root, ratesName, maxRatesBytes)
	if err == nil {
		err = json.Unmarshal(raw, &rates)
	}
	if err != nil {
		return make(map[string]rate)
	}
	for host, r := range rates {
		if r.BytesPerSecond <= 0 || r.BytesPerSecond > 1e15 {
			delete(rates, host)
		}
	}
	return rates
}

// forgetOldest forgets a host, but not the one of now.
func forgetOldest(rates map[string]rate, now string) {
	oldest := ""
	for host, r := range rates {
		if host != now && (oldest == "" || r.Seen.Before(rates[oldest].Seen)) {
			oldest = host
		}
	}
	delete(rates, oldest)
}
