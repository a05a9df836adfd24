package chunk

// A cutter finds the ends of chunks by their content. Its hash forgets a byte
// after 64 more, so that after a change the same cuts are found again; the bits
// that decide are the topmost, which all 64 have reached.
type cutter struct {
	table *[256]uint64
	hash  uint64
	n     int // bytes of the current chunk so far
}

const (
	gearWindow = 64
	// gearMask has 18 bits: a cut every 256 KiB, on average, past MinLength.
	gearMask = uint64(1<<18-1) << 46
	gearSeed = 0x6d6f64656c726567 // "modelreg"
)

// gearTable returns the numbers that bytes stand for, made by splitmix64. They
// are part of the format.
func gearTable() *[256]uint64 {
	var t [256]uint64
	state := uint64(gearSeed)
	for i := range t {
		state += 0x9e3779b97f4a7c15
		z := state
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		t[i] = z ^ z>>31
	}
	return &t
}

func (c *cutter) reset() { c.hash, c.n = 0, 0 }

// next returns how many of the bytes p are of the current chunk, and whether it
// ends with them. The bytes before the last 64 ahead of MinLength decide nothing
// and are skipped.
func (c *cutter) next(p []byte) (n int, end bool) {
	if skip := MinLength - gearWindow - c.n; skip > 0 {
		n = min(skip, len(p))
	}
	most := min(len(p), MaxLength-c.n)
	h, table := c.hash, c.table
	warm := min(max(MinLength-c.n, n), most)
	for _, b := range p[n:warm] {
		h = h<<1 + table[b]
	}
	for i, b := range p[warm:most] {
		if h = h<<1 + table[b]; h&gearMask == 0 {
			c.hash, c.n = h, c.n+warm+i+1
			return warm + i + 1, true
		}
	}
	c.hash = h
	c.n += most
	return most, c.n == MaxLength
}
