package tasks

import (
	"sync"

	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// counts is how many tasks there are that have ended, by how, and how many ever have since the
// host began.
type counts struct {
	mu    sync.Mutex
	kept  map[taskspb.Status]int64
	total map[taskspb.Status]int64
}

// load counts the tasks in the store.
func (c *counts) load(tx *store.Tx) error {
	c.kept, c.total = make(map[taskspb.Status]int64), make(map[taskspb.Status]int64)
	rows, err := tx.Query("SELECT status, count(*) FROM tasks WHERE status <> 0 GROUP BY status")
	if err != nil {
		return err
	}
	for rows.Next() {
		var status taskspb.Status
		var n int64
		if err := rows.Scan(&status, &n); err != nil {
			return err
		}
		c.kept[status] = n
	}
	return rows.Err()
}

// end counts a task that has ended so.
func (c *counts) end(status taskspb.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[status]++
	c.total[status]++
}

// remove counts tasks that are no more.
func (c *counts) remove(status taskspb.Status, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept[status] -= n
}

// figures returns how many tasks are kept that have ended so, and how many have ended so since
// the host began.
func (c *counts) figures(status taskspb.Status) (kept, total int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kept[status], c.total[status]
}

// allKept returns how many tasks are kept that have ended.
func (c *counts) allKept() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, kept := range c.kept {
		n += kept
	}
	return n
}
