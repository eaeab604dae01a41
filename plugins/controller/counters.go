package controller

import "sync"

// counters counts something of each instance, until it is destroyed. The zero
// value is ready.
type counters struct {
	mu         sync.Mutex
	byCallsign map[string]int64
}

func (c *counters) add(callsign string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byCallsign == nil {
		c.byCallsign = make(map[string]int64)
	}
	c.byCallsign[callsign]++
}

func (c *counters) of(callsign string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byCallsign[callsign]
}

func (c *counters) forget(callsign string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byCallsign, callsign)
}
