package index

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// metric reads NAME, or NAME with a comparison.
func (p *parser) metric(k keyword) (Value, error) {
	start := p.pos
	name := strings.ToLower(p.run(func(r rune) bool { return isValueLetter(r) && !strings.ContainsRune("<>=*", r) }))
	if name == "" {
		return Value{}, p.fail(start, p.pos, "metric: needs a name", "such as "+k.example)
	}
	if p.pos == len(p.text) || !strings.ContainsRune("<>=", rune(p.text[p.pos])) {
		return Value{Text: name}, nil
	}
	return p.comparison(k, name)
}

// comparison reads "<8b", "7b..13b", "7b" and the like.
func (p *parser) comparison(k keyword, name string) (Value, error) {
	v := Value{Text: name, Op: "="}
	for _, op := range []string{"<=", ">=", "<", ">", "="} {
		if p.take(op) {
			v.Op = op
			break
		}
	}
	start := p.pos
	text := strings.ToLower(p.run(isValueLetter))
	low, high, isRange := strings.Cut(text, "..")
	if isRange && v.Op != "=" {
		return v, p.fail(start, p.pos, fmt.Sprintf("a range cannot follow %q", v.Op), "write "+k.name+":"+name+strings.Repeat("=", min(len(name), 1))+text)
	}
	if low == "" && high == "" {
		return v, p.fail(start, p.pos, k.name+": needs a number", "such as "+k.example)
	}
	var err error
	if low != "" {
		if v.Low, err = p.quantity(k, start, low); err != nil {
			return v, err
		}
	}
	if isRange {
		v.Op = ".."
		if high != "" {
			v.High, err = p.quantity(k, start+len(low)+2, high)
		}
	}
	if err == nil && k.name != "updated" && low != "" && high != "" && v.Low.amount(k.name) > v.High.amount(k.name) {
		hint := "write " + k.name + ":" + name + strings.Repeat("=", min(len(name), 1)) + high + ".." + low
		return v, p.fail(start, p.pos, "nothing is in a range whose end is less than its beginning", hint)
	}
	return v, err
}

// maxNumber bounds numbers, so that with every unit they still are numbers.
const maxNumber = 1e15

// quantity reads a number with its unit that stands at start.
func (p *parser) quantity(k keyword, start int, s string) (Quantity, error) {
	if k.name == "updated" && isDate(s) {
		return Quantity{Date: s, set: true}, nil
	}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz%")
	unit := s[len(digits):]
	n, err := strconv.ParseFloat(digits, 64)
	plain := !strings.ContainsAny(digits, "_xpe")
	if err != nil || !plain || math.IsNaN(n) || math.Abs(n) > maxNumber || n < 0 && k.kind != metrics {
		hint := "such as " + k.example
		if k.name == "updated" {
			hint += " or updated:>=2026-01-31"
		}
		return Quantity{}, p.fail(start, start+len(s), fmt.Sprintf("%s: %q is not a number", k.name, s), hint)
	}
	if n == 0 {
		n = 0 // there is no minus zero
	}
	if k.kind == metrics && unit == "%" {
		return Quantity{Number: n, Unit: unit, set: true}, nil
	}
	if unit == "" && k.name != "updated" && k.name != "fits" || slices.Contains(k.units, unit) {
		return Quantity{Number: n, Unit: unit, set: true}, nil
	}
	hint := "numbers of " + k.name + ": have no unit"
	if len(k.units) > 0 {
		hint = "units are " + strings.Join(k.units, ", ")
	}
	if unit == "" {
		return Quantity{}, p.fail(start, start+len(s), k.name+": needs a unit", hint)
	}
	problem := fmt.Sprintf("%s: unknown unit %q", k.name, unit)
	return Quantity{}, p.fail(start+len(digits), start+len(s), problem, hint)
}

func isDate(s string) bool {
	if len(s) != len("2006") && len(s) != len("2006-01") && len(s) != len(time.DateOnly) {
		return false
	}
	_, err := time.Parse(time.DateOnly[:len(s)], s)
	return err == nil
}

// amount returns the number that the quantity stands for: of parameters, tokens
// or bytes.
func (q Quantity) amount(key string) float64 {
	factor := 1.0
	switch {
	case key == "context":
		factor = map[string]float64{"k": 1 << 10, "m": 1 << 20}[q.Unit]
	case key == "params":
		factor = map[string]float64{"k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}[q.Unit]
	case q.Unit == "%":
		return q.Number / 100
	default:
		factor = map[string]float64{
			"kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
			"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40,
		}[q.Unit]
	}
	if factor == 0 {
		factor = 1
	}
	return q.Number * factor
}

// span returns the first and the last second that the quantity stands for,
// seen from now.
func (q Quantity) span(now time.Time) (from, to int64) {
	if q.Date != "" {
		t, _ := time.Parse(time.DateOnly[:len(q.Date)], q.Date)
		end := map[int]time.Time{4: t.AddDate(1, 0, 0), 7: t.AddDate(0, 1, 0), 10: t.AddDate(0, 0, 1)}[len(q.Date)]
		return t.Unix(), end.Unix() - 1
	}
	hours := map[string]float64{"h": 1, "d": 24, "w": 7 * 24, "m": 30 * 24, "y": 365 * 24}[q.Unit]
	seconds := min(q.Number*hours*3600, maxNumber)
	at := now.Unix() - int64(seconds)
	return at, at
}
