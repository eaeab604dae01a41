package packager

import (
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
)

// byCentral is what the history says of operations that the central repository wished for.
const byCentral = "central"

// How long the Packager waits between two looks at least, before it looks again at a registry
// that was not there, for an operation that a user has begun, and before a failed wish is tried
// again.
const (
	looksApart   = time.Second
	firstPause   = 10 * time.Second
	busyPause    = 5 * time.Second
	firstBackOff = time.Minute
	lastBackOff  = 6 * time.Hour
)

// wishState is how far a wish is.
type wishState string

const (
	wishWaiting  wishState = "waiting"  // it is tried when Next has come
	wishApplying wishState = "applying" // Operation is under way
	wishDone     wishState = "done"
	wishGivenUp  wishState = "failed" // it is not tried again by itself
)

// wishNote is what is kept of the last wish for a package. It is done once: what a user does
// later stays until a later wish is published.
type wishNote struct {
	Reference string    `json:"reference"`
	Published time.Time `json:"published"`
	Grant     bool      `json:"grant,omitempty"`
	State     wishState `json:"state"`
	Tries     int       `json:"tries,omitempty"`
	Next      time.Time `json:"next"`
	Reason    string    `json:"reason,omitempty"`
	Operation string    `json:"operation,omitempty"`
}

// central is the repository with the wishes for many machines, and what became of them.
type central struct {
	look chan struct{} // asks for a look at once

	mu       sync.Mutex // guards the notes in the store and the fields below
	failures int        // in turn, to read the repository
	lastLook time.Time  // that has brought the wishes
	lastErr  error
}

// wishNotes returns the bucket of the notes.
func (p *Packager) wishNotes() store.Bucket[wishNote] {
	return store.BucketOf[wishNote](p.options.Store, "package-wishes")
}

// lookSoon asks for a look at the central repository. It does not wait.
func (p *Packager) lookSoon() {
	select {
	case p.central.look <- struct{}{}:
	default: // one is asked for already
	}
}

// followCentral looks at the central repository at the start, when it is asked to, and every
// central-every, until the host stops.
func (p *Packager) followCentral() {
	for {
		pause := p.lookAtCentral()
		timer := time.NewTimer(pause)
		if pause == 0 {
			timer.Stop() // without a repository there is nothing to look at
		}
		select {
		case <-p.ctx.Done():
		case <-p.central.look:
		case <-timer.C:
		}
		timer.Stop()
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(looksApart):
		}
	}
}

// lookAtCentral reads the wishes, tries those that are due, and returns after how long to look
// again, 0 for not by itself.
func (p *Packager) lookAtCentral() time.Duration {
	settings := p.settings()
	if settings.Central == "" {
		return 0
	}
	wishes, err := p.readWishes(settings.Central)
	if p.ctx.Err() != nil {
		return 0
	}
	pause := min(p.noteLook(wishes, err), time.Duration(settings.CentralEvery))
	for name, wish := range wishes {
		if err := p.noteWish(name, wish); err != nil {
			p.log.Error().Err(err).Str("package", name).Msg("cannot keep the wish for the package")
		}
	}
	return min(pause, p.tryWishes())
}

// noteLook notes how a look has ended, and returns when the next one has to be at the latest.
func (p *Packager) noteLook(wishes map[string]oci.Wish, err error) (pause time.Duration) {
	c := &p.central
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && (c.lastErr == nil || c.lastErr.Error() != err.Error()) {
		p.log.Warn().Err(err).Msg("cannot read all wishes of the central repository; what is installed stays")
	}
	c.lastErr = err
	if wishes == nil && err != nil {
		c.failures++
		return firstPause << min(c.failures-1, 10)
	}
	c.failures, c.lastLook = 0, p.options.Clock()
	return lastBackOff
}

// readWishes reads the wishes in the central repository.
func (p *Packager) readWishes(repository string) (map[string]oci.Wish, error) {
	if p.options.Wishes != nil {
		return p.options.Wishes(p.ctx)
	}
	at, err := oci.ParseReference(repository)
	if err != nil {
		return nil, err
	}
	remote, err := p.remote()
	if err != nil {
		return nil, err
	}
	defer remote.close()
	return remote.client.Wishes(p.ctx, at)
}

// noteWish keeps a wish that is later than the last one for its package. An earlier one, of a
// registry that was put back to what it was, changes nothing.
func (p *Packager) noteWish(name string, w oci.Wish) error {
	if err := configs.CheckPackageName(name); err != nil {
		return err
	}
	p.central.mu.Lock()
	defer p.central.mu.Unlock()
	before, _, err := p.wishNotes().Get(name)
	if err != nil || !w.Published.After(before.Published) {
		return err
	}
	p.log.Info().Str("package", name).Str("reference", w.Reference.String()).Msg("the central repository wishes for this package")
	return p.wishNotes().Put(name, wishNote{Reference: w.Reference.String(), Published: w.Published, Grant: w.Grant, State: wishWaiting})
}

// tryWishes begins with the wishes that are due, and returns after how long the next one is.
func (p *Packager) tryWishes() (pause time.Duration) {
	pause = lastBackOff
	notes, err := p.wishNotes().All()
	if err != nil {
		p.log.Error().Err(err).Msg("cannot read what the central repository wishes")
	}
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		next, err := p.tryWish(name)
		if err != nil {
			p.log.Error().Err(err).Str("package", name).Msg("cannot try the wish for the package")
			next = firstPause
		}
		pause = min(pause, next)
	}
	return pause
}

// tryWish begins with the wish for a package if it is due, and returns after how long to try it
// again.
func (p *Packager) tryWish(name string) (pause time.Duration, err error) {
	n, begins, err := p.beginWish(name)
	if err != nil || !begins {
		return n.pause(p.options.Clock()), err
	}
	err = p.Install(records.Request{
		ID: n.Operation, Source: n.Reference, Named: name, Origin: records.Official, By: byCentral,
		Replace: true, Downgrade: true, Grant: n.Grant,
	})
	if err == nil {
		return lastBackOff, nil
	}
	if _, inProgress := errors.AsType[*InProgressError](err); inProgress {
		n.State, n.Next, n.Reason = wishWaiting, p.options.Clock().Add(busyPause), err.Error()
	} else {
		n = n.failedOnce(p.options.Clock(), err.Error())
	}
	p.central.mu.Lock()
	defer p.central.mu.Unlock()
	return n.pause(p.options.Clock()), p.wishNotes().Put(name, n)
}

// beginWish notes that the wish for a package is applied, if it is due.
func (p *Packager) beginWish(name string) (n wishNote, begins bool, err error) {
	p.central.mu.Lock()
	defer p.central.mu.Unlock()
	n, _, err = p.wishNotes().Get(name)
	if err != nil || n.State == wishDone {
		return n, false, err
	}
	record, _ := p.records.Get(name)
	p.mu.Lock()
	busy := p.running[name] != nil
	p.mu.Unlock()
	before := n
	switch {
	case n.State == wishApplying && busy:
	case !busy && record.State == records.Installed && record.Serving.Source == n.Reference:
		n.State, n.Reason = wishDone, ""
	case n.State == wishGivenUp, n.State == wishWaiting && p.options.Clock().Before(n.Next):
	default:
		n.State, n.Operation, begins = wishApplying, rand.Text(), true
	}
	if n != before {
		err = p.wishNotes().Put(name, n)
	}
	return n, begins, err
}

// pause returns after how long the wish is due.
func (n wishNote) pause(now time.Time) time.Duration {
	if n.State != wishWaiting {
		return lastBackOff
	}
	return max(n.Next.Sub(now), looksApart)
}

// failedOnce returns the note of a wish that is tried again later.
func (n wishNote) failedOnce(now time.Time, reason string) wishNote {
	n.State, n.Reason, n.Next = wishWaiting, reason, now.Add(min(firstBackOff<<min(n.Tries, 10), lastBackOff))
	n.Tries++
	return n
}

// wishEnded notes how an operation ended that a wish has begun. One that failed before its switch
// is tried again later; one whose new version did not work is not, as that would end the
// instances again and again.
func (p *Packager) wishEnded(e records.Ended) {
	if e.Request.By != byCentral {
		return
	}
	p.central.mu.Lock()
	defer p.central.mu.Unlock()
	n, found, err := p.wishNotes().Get(e.Package)
	if err != nil || !found || n.Operation != e.Request.ID {
		return // a later wish has come
	}
	record, _ := p.records.Get(e.Package)
	switch {
	case e.Result == "done":
		n.State, n.Reason = wishDone, ""
	case e.Result == "failed" && record.Failure != nil && record.Failure.Phase.CanCancel():
		n = n.failedOnce(p.options.Clock(), e.Reason)
	default:
		n.State, n.Reason = wishGivenUp, e.Reason
		if n.Reason == "" {
			n.Reason = e.Result
		}
	}
	if err := p.wishNotes().Put(e.Package, n); err != nil {
		p.log.Error().Err(err).Str("package", e.Package).Msg("cannot keep what became of the wish for the package")
	}
	if n.State == wishWaiting {
		p.log.Warn().Str("package", e.Package).Time("next", n.Next).Str("reason", n.Reason).Msg("the wish of the central repository is tried again later")
	}
	p.lookSoon()
}

// tryAgainNow makes every wish that waits due at once: the configuration was read again.
func (p *Packager) tryAgainNow() {
	p.central.mu.Lock()
	defer p.central.mu.Unlock()
	notes, _ := p.wishNotes().All() // else they are tried in their time
	for name, n := range notes {
		if n.State == wishWaiting {
			n.Next, n.Tries = time.Time{}, 0
			_ = p.wishNotes().Put(name, n)
		}
	}
	p.lookSoon()
}

// wishView is a wish as clients see it.
type wishView struct {
	Package   string    `json:"package"`
	Reference string    `json:"reference"`
	Published time.Time `json:"published"`
	State     string    `json:"state"`
	Tries     int       `json:"tries,omitempty"`
	Reason    string    `json:"reason,omitempty"`
}

// centralView is the central repository as clients see it.
type centralView struct {
	Repository string     `json:"repository"`
	LastLook   *time.Time `json:"lastlook,omitempty"`
	Error      string     `json:"error,omitempty"`
	Wishes     []wishView `json:"wishes"`
}

// viewOfCentral returns what is known of the wishes.
func (p *Packager) viewOfCentral() (v centralView, err error) {
	v = centralView{Repository: p.settings().Central, Wishes: []wishView{}}
	p.central.mu.Lock()
	defer p.central.mu.Unlock()
	if at := p.central.lastLook; !at.IsZero() {
		v.LastLook = &at
	}
	if p.central.lastErr != nil {
		v.Error = p.central.lastErr.Error()
	}
	notes, err := p.wishNotes().All()
	for _, name := range slices.Sorted(maps.Keys(notes)) {
		n := notes[name]
		v.Wishes = append(v.Wishes, wishView{name, n.Reference, n.Published, string(n.State), n.Tries, n.Reason})
	}
	return v, err
}

// unfulfilledWish returns why the wish for a package is not fulfilled, "" if it is or there is
// none.
func (p *Packager) unfulfilledWish(name string) string {
	n, found, err := p.wishNotes().Get(name)
	if err != nil || !found || n.State == wishDone || n.Reason == "" {
		return ""
	}
	return string(n.State) + ": " + n.Reason
}

// writeCentralMetrics writes how many wishes are in each state, and when they were last read.
func (p *Packager) writeCentralMetrics(w MetricsWriter) {
	v, err := p.viewOfCentral()
	if err != nil || v.Repository == "" {
		return
	}
	byState := make(map[string]int64)
	for _, wish := range v.Wishes {
		byState[wish.State]++
	}
	w.BeginMetric("dormouse_package_wishes", "gauge", "Wishes of the central repository in each state.")
	for _, state := range []wishState{wishWaiting, wishApplying, wishDone, wishGivenUp} {
		w.WriteSample(byState[string(state)], "state", string(state))
	}
	if v.LastLook != nil {
		w.BeginMetric("dormouse_package_central_read_seconds", "gauge", "When the wishes of the central repository were last read, in Unix time.")
		w.WriteSample(v.LastLook.Unix())
	}
}
