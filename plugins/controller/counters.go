package controller

import "sync"

// counters counts the calls to each instance.
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
