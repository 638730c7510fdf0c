package usage

// Remember bounds how many keys a Counter remembers.
func Remember(c *Counter, most int) { c.owners.most = most }

// Remembered is how many keys a Counter remembers.
func Remembered(c *Counter) (known, absent int) {
	c.owners.mu.Lock()
	defer c.owners.mu.Unlock()
	return len(c.owners.known), len(c.owners.absent)
}
