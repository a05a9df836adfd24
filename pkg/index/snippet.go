package index

import "strings"

// snippetWords is how many words a snippet has.
const snippetWords = 30

// snippet returns the piece of a record's card with most of the words that were
// looked for, the earliest of the best.
func snippet(r *Record, marks []phrase) Snippet {
	text := r.Card
	words := tokens(text)
	if len(words) == 0 {
		text = r.Summary
		words = tokens(text)
	}
	if len(words) == 0 {
		return Snippet{}
	}
	marked := markWords(words, marks)
	start := bestWindow(marked)
	end := min(start+snippetWords, len(words))
	from, to := words[start].start, words[end-1].end
	if start == 0 {
		from = 0
	}
	s := Snippet{Text: text[from:to]}
	for i := start; i < end; i++ {
		if marked[i] >= 0 {
			s.Marks = append(s.Marks, [2]int{words[i].start - from, words[i].end - from})
		}
	}
	return trimLeft(s)
}

// trimLeft takes spaces off the beginning.
func trimLeft(s Snippet) Snippet {
	trimmed := strings.TrimLeft(s.Text, " \n\t\r#")
	n := len(s.Text) - len(trimmed)
	for i := range s.Marks {
		s.Marks[i][0] -= n
		s.Marks[i][1] -= n
	}
	s.Text = trimmed
	return s
}

// markWords tells for each word which of the phrases it belongs to, or -1.
func markWords(words []token, marks []phrase) []int {
	marked := make([]int, len(words))
	for i := range marked {
		marked[i] = -1
	}
	for i := range words {
		for m, ph := range marks {
			if i+len(ph.words) <= len(words) && ph.at(words[i:]) {
				for j := range ph.words {
					marked[i+j] = m
				}
			}
		}
	}
	return marked
}

// bestWindow returns where the window begins that has most different marks, and
// most marks. It begins a little before its first one.
func bestWindow(marked []int) int {
	best, bestScore := 0, 0
	for i, m := range marked {
		if m < 0 {
			continue
		}
		seen, n := map[int]bool{}, 0
		for _, m := range marked[i:min(i+snippetWords*3/4, len(marked))] {
			if m >= 0 {
				seen[m] = true
				n++
			}
		}
		if score := len(seen)*snippetWords + n; score > bestScore {
			best, bestScore = max(i-snippetWords/4, 0), score
		}
	}
	return best
}
