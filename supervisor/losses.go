package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/store"
	"dormouse/shell"
)

// Loss says that the state of a hibernated plugin was given up. The host tells it, and the
// next hosts do, until an operator has acknowledged it.
type Loss struct {
	Callsign string    `json:"callsign"`
	At       time.Time `json:"at"`
	Cause    string    `json:"cause,omitempty"`
	// Class is the class of the failed wake, empty for an image that was evicted.
	Class hibernate.FailureClass `json:"class,omitempty"`
	// Generation is the number of the image, 0 if it had none.
	Generation uint64 `json:"generation,omitempty"`
	// Path is where the image lies until the time Until, "" if it is gone.
	Path  string    `json:"path,omitempty"`
	Until time.Time `json:"until,omitzero"`
	// Restorable reports whether the image can be put back.
	Restorable bool `json:"restorable,omitempty"`
}

// LossEvent is the event by which the Controller tells a loss.
const LossEvent = "lost"

// Bounds of what is told of one instance: the latest maxLosses losses, each with at most
// maxLossCause bytes of its cause, which may quote a plugin.
const (
	maxLosses    = 16
	maxLossCause = 2 << 10
)

// losses holds the losses that were not acknowledged yet.
type losses struct {
	s     *Supervisor
	notes durableNotes[lossRecord]

	mu         sync.Mutex
	byCallsign map[string][]Loss // oldest first
}

// lossRecord is the losses of one instance on disk.
type lossRecord struct {
	Version int    `json:"version"`
	Losses  []Loss `json:"losses"`
}

// loadLosses returns the losses of a host, with those that earlier hosts have kept.
func loadLosses(s *Supervisor) (*losses, error) {
	l := &losses{s: s, byCallsign: make(map[string][]Loss)}
	l.notes = durableNotes[lossRecord]{
		Bucket:  store.BucketOf[lossRecord](s.options.Store, "losses"),
		current: l.currentRecord,
		log:     s.log, key: "callsign", failure: "could not keep the loss of a plugin's state for the next host",
	}
	records, err := l.notes.All()
	for callsign, record := range records {
		l.byCallsign[callsign] = record.Losses
	}
	return l, err
}

// currentRecord returns the losses of an instance as they are to be on disk, false if there
// are none.
func (l *losses) currentRecord(callsign string) (record lossRecord, hasLosses bool) {
	all := l.of(callsign)
	return lossRecord{recordVersion, all}, len(all) > 0
}

// of returns the losses of an instance, oldest first.
func (l *losses) of(callsign string) []Loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.byCallsign[callsign])
}

// noteOfShell notes a loss that a shell reports.
func (l *losses) noteOfShell(lost shell.Loss) {
	one := Loss{
		Callsign: lost.Callsign, At: lost.At.Round(0).UTC(), Class: lost.Class, Generation: lost.Generation,
		Path: lost.Kept.Path, Until: lost.Kept.Until.Round(0).UTC(), Restorable: lost.Kept.Restorable,
	}
	if lost.Cause != nil {
		one.Cause = cutText(lost.Cause.Error(), maxLossCause)
	}
	l.note(one)
}

// cutText returns at most limit bytes of the text, and an ellipsis if it was longer.
func cutText(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// note adds a loss, has it written to disk in the background, and tells it as an event. It
// does not block, unless the host stops.
func (l *losses) note(one Loss) {
	l.mu.Lock()
	all := append(slices.Clone(l.byCallsign[one.Callsign]), one)
	l.byCallsign[one.Callsign] = all[max(0, len(all)-maxLosses):]
	l.mu.Unlock()
	save := func() { l.saveAndMarkTold(one.Callsign) }
	if !l.s.startBackground(save) {
		save()
	}
	l.s.events.Notification(configs.ControllerCallsign, shell.Notification{Event: LossEvent, Params: one.eventParams()})
}

// saveAndMarkTold writes the losses of an instance to disk, and then beside the images that
// they are recorded. It logs failures.
func (l *losses) saveAndMarkTold(callsign string) {
	if !l.notes.saveOrDeleteNote(callsign) {
		return // the next host finds the images untold
	}
	if err := l.s.options.MarkTold(callsign); err != nil {
		l.s.log.Error().Err(err).Str("callsign", callsign).Msg("the next host will tell this loss again")
	}
}

// noteUntold adds the losses that an earlier host could not record, since it was killed.
func (l *losses) noteUntold() error {
	untold, err := l.s.options.Untold()
	for _, one := range untold {
		isRecorded := func(other Loss) bool { return other.Path == one.Path }
		if !slices.ContainsFunc(l.of(one.Callsign), isRecorded) {
			l.note(one)
			continue
		}
		l.s.startBackground(func() { l.saveAndMarkTold(one.Callsign) })
	}
	return err
}

// eventParams returns the parameters of the event, without the cause and the path, which not
// every subscriber may see.
func (l Loss) eventParams() json.RawMessage {
	l.Cause, l.Path = "", ""
	params, _ := json.Marshal(l) // it holds only what JSON can hold
	return params
}

// forget removes the losses of an instance for which isWanted is true, on disk too, and
// returns how many there were. After an error all losses are still there.
func (l *losses) forget(callsign string, isWanted func(Loss) bool) (count int, err error) {
	l.mu.Lock()
	before := l.byCallsign[callsign]
	left := slices.DeleteFunc(slices.Clone(before), isWanted)
	l.set(callsign, left)
	l.mu.Unlock()
	if len(left) == len(before) {
		return 0, nil
	}
	if len(left) > 0 {
		l.notes.saveOrDeleteNote(callsign)
	} else if err = l.notes.deleteNote(callsign); err != nil {
		l.mu.Lock()
		l.set(callsign, append(slices.Clone(before), l.byCallsign[callsign]...))
		l.mu.Unlock()
		return 0, err
	}
	return len(before) - len(left), nil
}

// restored removes the loss of the image of that generation, which was put back. A failure to
// write that to disk is logged.
func (l *losses) restored(callsign string, generation uint64) {
	isRestored := func(one Loss) bool { return one.Restorable && one.Generation == generation }
	if _, err := l.forget(callsign, isRestored); err != nil {
		l.s.log.Error().Err(err).Str("callsign", callsign).Msg("the next host will tell a loss that was made good")
	}
}

// forgetAll removes all losses of an instance, on disk too.
func (l *losses) forgetAll(callsign string) error {
	_, err := l.forget(callsign, func(Loss) bool { return true })
	return err
}

// set replaces the losses of an instance. The caller holds mu.
func (l *losses) set(callsign string, all []Loss) {
	if len(all) == 0 {
		delete(l.byCallsign, callsign)
		return
	}
	l.byCallsign[callsign] = all
}

// NoteLoss records and tells the loss of an instance that need not exist any more.
func (s *Supervisor) NoteLoss(l Loss) { s.losses.note(l) }

// Losses returns all losses that were not acknowledged yet, by callsign and then by time. The
// instances of some may not exist any more.
func (s *Supervisor) Losses() (all []Loss) {
	s.losses.mu.Lock()
	defer s.losses.mu.Unlock()
	for _, callsign := range slices.Sorted(maps.Keys(s.losses.byCallsign)) {
		all = append(all, s.losses.byCallsign[callsign]...)
	}
	return all
}

// LossesOf returns the losses of an instance that were not acknowledged yet, oldest first.
func (s *Supervisor) LossesOf(callsign string) []Loss { return s.losses.of(callsign) }

// AcknowledgeLosses ends the telling of all losses of an instance, on disk too, and returns how
// many there were. It leaves what is kept of the instance as it is. The error wraps ErrUnknown
// if there is neither a loss nor an instance of that callsign.
func (s *Supervisor) AcknowledgeLosses(callsign string) (count int, err error) {
	_, exists := s.Shell(callsign)
	if !exists && len(s.LossesOf(callsign)) == 0 {
		return 0, fmt.Errorf("cannot acknowledge: %w", s.UnknownError(callsign))
	}
	count, err = s.losses.forget(callsign, func(Loss) bool { return true })
	if err != nil {
		return 0, fmt.Errorf("cannot acknowledge: %w", err)
	}
	return count, nil
}

// RestoreImage lets a plugin sleep again in the image of that generation, which was put aside;
// 0 stands for the newest. The loss of that image is told no more. The error wraps ErrUnknown
// or is one of shell.Shell.PutImageBack.
func (s *Supervisor) RestoreImage(ctx context.Context, callsign string, generation uint64) error {
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot put an image back: %w", s.UnknownError(callsign))
	}
	putBack, err := sh.PutImageBack(ctx, shell.Requested, generation)
	if err == nil {
		s.losses.restored(callsign, putBack)
	}
	return err
}
