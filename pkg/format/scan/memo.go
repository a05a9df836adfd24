package scan

import (
	"strconv"
	"strings"
)

// set32 puts the top of the stack into the memo.
func (m *machine) set32(index uint32) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	isFar := index >= maxMemo>>m.shift
	if isFar {
		m.find("limit-steps", "has a memo that is too large")
	}
	// Indexes are dense in what picklers write. Others are not worth the memory.
	if m.forked || isFar || int(index) > len(m.memo)*pageLen+maxFar {
		if len(m.overlay) >= maxFar {
			return m.limit("the memo has too many gaps")
		}
		if _, there := m.overlay[index]; !there && !m.inMemo(index) {
			m.put++
		}
		if m.overlay == nil {
			m.overlay = make(map[uint32]value)
		}
		m.overlay[index] = v
		return nil
	}
	if _, there := m.overlay[index]; there {
		delete(m.overlay, index)
		m.put--
	}
	page := m.page(index)
	if i := index % pageLen; !page.has[i] {
		page.has[i] = true
		m.put++
	}
	page.values[index%pageLen] = v
	return nil
}

// A page is a piece of the memo.
type page struct {
	values [pageLen]value
	has    [pageLen]bool
}

// page returns the page of an index, which lies at most maxFar behind the last.
func (m *machine) page(index uint32) *page {
	for int(index/pageLen) >= len(m.memo) {
		m.memo = append(m.memo, &page{})
	}
	return m.memo[index/pageLen]
}

// memoText follows GET and PUT, whose index is written in digits as Python's int
// has them. In C they end at a zero.
func (m *machine) memoText(code byte, line string) error {
	line, _, _ = strings.Cut(line, "\x00")
	digits := strings.TrimPrefix(strings.Trim(line, " \t\n\r\v\f"), "+")
	for part := range strings.SplitSeq(digits, "_") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			return m.fault("the index %.40q of the memo is none", line)
		}
	}
	n, err := strconv.ParseUint(strings.ReplaceAll(digits, "_", ""), 10, 32)
	switch {
	case err != nil && code == opGet:
		return m.fault("takes what is not in the memo")
	case err != nil:
		return m.limit("the memo is too large")
	case code == opGet:
		return m.get(uint32(n))
	}
	return m.set32(uint32(n))
}

func (m *machine) get(index uint32) error {
	if v, ok := m.overlay[index]; ok {
		return m.push(v)
	}
	if !m.inMemo(index) {
		return m.fault("takes what is not in the memo")
	}
	return m.push(m.memo[index/pageLen].values[index%pageLen])
}

// inMemo tells whether an index of the dense memo is set.
func (m *machine) inMemo(index uint32) bool {
	return int(index/pageLen) < len(m.memo) && m.memo[index/pageLen].has[index%pageLen]
}
