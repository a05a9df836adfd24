package diff

// maxCost bounds the insertions and deletions that a script is looked for with:
// the work grows with its square. Sequences that differ in more are taken for
// wholly different, but for their common ends.
const maxCost = 1000

// An edit says that elements a0 to a1 of one sequence became b0 to b1 of another.
type edit struct{ a0, a1, b0, b1 int }

// script returns the shortest list of edits that make b of a, by the algorithm
// of Myers ("An O(ND) Difference Algorithm and Its Variations", 1986).
func script[T comparable](a, b []T) []edit {
	lead := 0
	for lead < len(a) && lead < len(b) && a[lead] == b[lead] {
		lead++
	}
	tail := 0
	for tail < len(a)-lead && tail < len(b)-lead && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	a, b = a[lead:len(a)-tail], b[lead:len(b)-tail]
	var edits []edit
	switch {
	case len(a) == 0 && len(b) == 0:
		return nil
	case len(a) == 0 || len(b) == 0:
		edits = []edit{{0, len(a), 0, len(b)}}
	default:
		edits = shortest(a, b)
	}
	for i := range edits {
		e := &edits[i]
		e.a0, e.a1, e.b0, e.b1 = e.a0+lead, e.a1+lead, e.b0+lead, e.b1+lead
	}
	return edits
}

// shortest is script without common ends. The furthest points that are reached
// with d edits lie at [max+k], k being the diagonal from -d to d.
func shortest[T comparable](a, b []T) []edit {
	limit := min(len(a)+len(b), maxCost)
	reach := make([]int, 2*limit+2)
	var trace [][]int
	for d := 0; d <= limit; d++ {
		trace = append(trace, append([]int(nil), reach[limit-d:limit+d+1]...))
		for k := -d; k <= d; k += 2 {
			x := 0
			switch {
			case d == 0:
			case k == -d || k != d && reach[limit+k-1] < reach[limit+k+1]:
				x = reach[limit+k+1]
			default:
				x = reach[limit+k-1] + 1
			}
			y := x - k
			for x < len(a) && y >= 0 && y < len(b) && a[x] == b[y] {
				x, y = x+1, y+1
			}
			reach[limit+k] = x
			if x >= len(a) && y >= len(b) {
				return backtrack(trace, d, len(a), len(b))
			}
		}
	}
	return []edit{{0, len(a), 0, len(b)}}
}

// backtrack reads the script off the points that were reached.
func backtrack(trace [][]int, d, x, y int) []edit {
	var edits []edit
	for ; d > 0; d-- {
		before := trace[d] // what was reached with d-1 edits, k from -d to d
		k := x - y
		at := func(k int) int { return before[d+k] }
		from := k - 1
		if k == -d || k != d && at(k-1) < at(k+1) {
			from = k + 1
		}
		px := at(from)
		py := px - from
		if from == k+1 {
			edits = join(edits, edit{px, px, py, py + 1})
		} else {
			edits = join(edits, edit{px, px + 1, py, py})
		}
		x, y = px, py
	}
	for i, j := 0, len(edits)-1; i < j; i, j = i+1, j-1 {
		edits[i], edits[j] = edits[j], edits[i]
	}
	return edits
}

// join adds an edit that lies before the others, to the last of them if the two
// touch.
func join(edits []edit, e edit) []edit {
	if n := len(edits); n > 0 && edits[n-1].a0 == e.a1 && edits[n-1].b0 == e.b1 {
		edits[n-1].a0, edits[n-1].b0 = e.a0, e.b0
		return edits
	}
	return append(edits, e)
}
