package scan

// set32 puts the top of the stack into the memo.
func (m *machine) set32(index uint32) error {
	v, err := m.top()
	if err != nil {
		return err
	}
	if index >= maxMemo>>m.shift {
		return m.limit("the memo is too large")
	}
	// Indexes are dense in what picklers write. Others are not worth the memory.
	if m.forked || int(index) > len(m.memo)*pageLen+maxFar {
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
