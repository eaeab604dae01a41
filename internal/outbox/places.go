package outbox

import "time"

// How many tries may be under way. Those that have not been answered within slowAfter are slow;
// a line is unproven unless its last try was quick. So a line that is quick always finds a place
// beside any number of others that hang, also at the same target.
const (
	maxTries    = 64
	maxUnproven = 48 // slow ones among them

	maxTriesOfTarget    = 4
	maxUnprovenOfTarget = 3
	maxSlowOfTarget     = 1

	slowAfter = time.Second
)

// target is a host and port, with the lines that can be tried there now.
type target struct {
	name  string
	ready [paces][]*line

	running, unproven, slow int // tries under way

	isQueued, isHeld bool
}

// places are the tries that may be under way, and the lines that want one.
type places struct {
	targets           map[string]*target
	queue             []*target // that may have a line to start, in turn
	held              []*target // whose lines wait until fewer unproven ones are under way
	running, unproven int
}

func newPlaces() places { return places{targets: make(map[string]*target)} }

// target returns the target of that name.
func (p *places) target(name string) *target {
	t := p.targets[name]
	if t == nil {
		t = &target{name: name}
		p.targets[name] = t
	}
	return t
}

// want has the line start when its turn comes.
func (p *places) want(l *line) {
	l.target = p.target(l.target.name) // it may have been forgotten meanwhile
	l.target.ready[l.pace] = append(l.target.ready[l.pace], l)
	p.enqueue(l.target)
}

// enqueue has the target looked at in its turn.
func (p *places) enqueue(t *target) {
	if !t.isQueued {
		t.isQueued = true
		p.queue = append(p.queue, t)
	}
}

// next returns a try of the line that is to start next, with its place taken; nil if there is
// none. The targets take turns.
func (p *places) next() *try {
	for p.running < maxTries && len(p.queue) > 0 {
		t := p.queue[0]
		p.queue[0], t.isQueued = nil, false
		p.queue = p.queue[1:]
		if l := p.choose(t); l != nil {
			p.enqueue(t)
			one := &try{line: l, isSlow: l.pace == slow, isUnproven: l.pace != quick}
			p.take(one)
			return one
		}
		p.forgetIdle(t)
	}
	return nil
}

// choose returns the next line of the target that may start, or nil.
func (p *places) choose(t *target) *line {
	if t.running >= maxTriesOfTarget {
		return nil
	}
	mayUnproven := t.unproven < maxUnprovenOfTarget && p.unproven < maxUnproven
	switch {
	case mayUnproven && t.slow < maxSlowOfTarget && len(t.ready[slow]) > 0:
		return t.takeFirst(slow)
	case mayUnproven && len(t.ready[unknown]) > 0:
		return t.takeFirst(unknown)
	case len(t.ready[quick]) > 0:
		return t.takeFirst(quick)
	}
	if p.unproven >= maxUnproven && !t.isHeld && len(t.ready[slow])+len(t.ready[unknown]) > 0 {
		t.isHeld = true
		p.held = append(p.held, t)
	}
	return nil
}

// takeFirst takes the first of the lines with that pace.
func (t *target) takeFirst(of pace) *line {
	l := t.ready[of][0]
	t.ready[of][0] = nil
	t.ready[of] = t.ready[of][1:]
	return l
}

// take takes the place of a try.
func (p *places) take(one *try) {
	t := one.line.target
	t.running++
	p.running++
	if one.isUnproven {
		t.unproven++
		p.unproven++
	}
	if one.isSlow {
		t.slow++
	}
}

// release gives the place of a try to others.
func (p *places) release(one *try) {
	t := one.line.target
	t.running--
	p.running--
	if one.isSlow {
		t.slow--
	}
	if one.isUnproven {
		t.unproven--
		p.unproven--
		for _, held := range p.held {
			held.isHeld = false
			p.enqueue(held)
		}
		p.held = nil
	}
	p.enqueue(t)
}

// becomeSlow counts a try as slow, and reports whether its place allows that.
func (p *places) becomeSlow(one *try) bool {
	t := one.line.target
	if t.slow >= maxSlowOfTarget || !one.isUnproven && p.unproven >= maxUnproven {
		return false
	}
	one.isSlow = true
	t.slow++
	if !one.isUnproven {
		one.isUnproven = true
		t.unproven++
		p.unproven++
	}
	return true
}

// forgetIdle forgets a target that has nothing under way and no line.
func (p *places) forgetIdle(t *target) {
	if t.running == 0 && !t.isHeld && len(t.ready[slow])+len(t.ready[unknown])+len(t.ready[quick]) == 0 {
		delete(p.targets, t.name)
	}
}
