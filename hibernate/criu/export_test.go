package criu

import "time"

// Hold has the engine bring no memory in that nobody waits for, until it is told
// to hurry.
func (e *Engine) Hold() { e.manners = manners{time.Hour, time.Hour} }
