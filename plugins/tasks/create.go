package tasks

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// newID returns a text that can't be guessed and was never returned before.
func newID() string { return strings.ToLower(rand.Text()) }

// making is a task that is to be made.
type making struct {
	callsign, title  string
	parameters, data []byte
	links            []*taskspb.Link
	quiet            time.Duration
	resumes          uint32
	waits            bool
	// begun says that the plugin works on it already.
	begun         bool
	subscriptions []Subscription
}

// create makes a task of the calling plugin, which works on it.
func (t *Tasks) create(ctx context.Context, owner string, r *taskspb.CreateRequest) (*taskspb.Task, error) {
	return t.make(ctx, making{
		callsign: owner, title: r.GetTitle(), parameters: r.GetParameters(), data: r.GetData(), links: r.GetLinks(),
		quiet: r.GetQuiet().AsDuration(), resumes: r.GetResumes(), waits: r.GetWaits(), begun: true,
	})
}

// workerService is the name of the service that a plugin serves which runs tasks of others.
var workerService = taskspb.Worker_ServiceDesc.ServiceName

// Start makes a task of the instance, with parameters that are a JSON object or empty, and those
// subscriptions, and returns it once it is on disk. Its plugin is then asked to run it. The error
// wraps ErrUnknown or shell.ErrUnavailable if there is no such instance or it takes no calls now,
// ErrNoWorker if it runs no tasks, ErrInvalid for parameters that do not fit, ErrFull if it has
// too many tasks.
func (t *Tasks) Start(ctx context.Context, callsign, title string, parameters json.RawMessage, subscriptions ...Subscription) (*taskspb.Task, error) {
	if err := t.checkRuns(callsign); err != nil {
		return nil, err
	}
	if err := checkObject("the parameters", parameters); err != nil {
		return nil, err
	}
	if profile, known := t.supervised().Profile(callsign); known && profile.Entry != nil {
		if err := checkBySchema("the parameters", parameters, profile.Entry.Schema); err != nil {
			return nil, err
		}
	}
	made, err := t.make(ctx, making{callsign: callsign, title: title, parameters: parameters, subscriptions: subscriptions})
	if err == nil {
		failpoint.Hit("task.made")
		t.attend(callsign)
	}
	return made, err
}

// checkRuns returns an error unless the plugin of that instance runs tasks and takes calls now.
func (t *Tasks) checkRuns(callsign string) error {
	sh := t.shellOf(callsign)
	if sh == nil {
		return fmt.Errorf("%w: %.64q", ErrNoInstance, callsign)
	}
	switch {
	case sh.IsBuiltIn():
		return fmt.Errorf("%w: %s is a part of the host", ErrNoWorker, callsign)
	case !sh.DeliversCalls():
		return fmt.Errorf("cannot start a task of %s: %w: it is %s", callsign, shell.ErrUnavailable, sh.State())
	case sh.State().IsInitialized() && !sh.Serves(workerService):
		return fmt.Errorf("%w: the plugin of %s does not serve %s", ErrNoWorker, callsign, workerService)
	}
	return nil
}

// make makes a task and returns it once it is on disk.
func (t *Tasks) make(ctx context.Context, m making) (*taskspb.Task, error) {
	err := errors.Join(
		checkName("the title", m.title, false), checkObject("the parameters", m.parameters),
		checkJSON("the data", m.data, MaxData), checkLinks(m.links))
	for _, s := range m.subscriptions {
		err = errors.Join(err, t.Subscriptions.Check(s))
	}
	if err != nil {
		return nil, err
	}
	id, life := newID(), uint64(0)
	now, done, err := t.owners.beginMaking(m.callsign, t.Config.MaxPending)
	if err != nil {
		return nil, err
	}
	defer done()
	if m.begun {
		life = now
	}
	var made *taskspb.Task
	err = t.change(ctx, func(tx *store.Tx) (changed, error) {
		if err := t.insert(tx, id, life, m); err != nil {
			return changed{}, err
		}
		made, err = readWhole(tx, id, true)
		return changed{Change: changeOf(made, StatusEvent|DetailsEvent), waits: m.waits, quiet: m.quiet, life: life}, err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make a task of %s: %w", m.callsign, err)
	}
	if m.begun && t.owners.endLifeAgain(m.callsign, life) {
		t.attend(m.callsign)
	}
	return made, nil
}

// changeOf returns the change that has made a task what it is.
func changeOf(t *taskspb.Task, events Events) Change {
	return Change{Task: t.GetId(), Callsign: t.GetCallsign(), Status: t.GetStatus(), Revision: t.GetRevision(), Events: events}
}

// insert writes a new task with its parts and subscriptions.
func (t *Tasks) insert(tx *store.Tx, id string, life uint64, m making) error {
	now, started, lives := time.Now().UnixMilli(), int64(0), 0
	if m.begun {
		started, lives = now, 1
	}
	result, err := tx.Exec(`INSERT INTO tasks (id, callsign, title, status, reason, revision, created, started, changed, finished, ended,
		life, lives, resumes, quiet, waits, cancelled, log_bytes, log_head, log_left)
		VALUES (?, ?, ?, 0, '', 1, ?, ?, ?, 0, 0, ?, ?, ?, ?, ?, 0, 0, 0, 0)`,
		id, m.callsign, m.title, now, started, now, life, lives, m.resumes, m.quiet.Milliseconds(), m.waits)
	if err != nil {
		return err
	}
	n, err := result.LastInsertId()
	if err != nil {
		return err
	}
	if err := putGivenPart(tx, n, parametersPart, m.parameters); err != nil {
		return err
	}
	if err := putGivenPart(tx, n, dataPart, m.data); err != nil {
		return err
	}
	if len(m.links) > 0 {
		if err := mergeLinks(tx, n, m.links); err != nil {
			return err
		}
	}
	for _, s := range m.subscriptions {
		if err := t.Subscriptions.Subscribe(tx, id, s); err != nil {
			return err
		}
	}
	return nil
}

// putGivenPart writes a part of a new task if there is one.
func putGivenPart(tx *store.Tx, n int64, part int, value []byte) error {
	if len(value) == 0 {
		return nil
	}
	return putPart(tx, n, part, value)
}

// mergeLinks writes links over those of the same types. One without an address removes.
func mergeLinks(tx *store.Tx, n int64, links []*taskspb.Link) error {
	has := &taskspb.Task{}
	if err := readParts(tx, n, has, false); err != nil {
		return err
	}
	all := &taskspb.Task{Links: has.GetLinks()}
	for _, l := range links {
		all.Links = withLink(all.Links, l)
	}
	if len(all.Links) > maxLinks {
		return fmt.Errorf("%w: it has %d links, at most %d may be", ErrTooLarge, len(all.Links), maxLinks)
	}
	raw, err := proto.Marshal(all)
	if err != nil {
		return err
	}
	return putPart(tx, n, linksPart, raw)
}

// withLink returns the links with l in the place of one of the same type, or at the end.
func withLink(links []*taskspb.Link, l *taskspb.Link) (with []*taskspb.Link) {
	replaced := l.GetHref() == ""
	for _, has := range links {
		switch {
		case has.GetType() != l.GetType():
			with = append(with, has)
		case !replaced:
			with, replaced = append(with, l), true
		}
	}
	if !replaced {
		with = append(with, l)
	}
	return with
}
