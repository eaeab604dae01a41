// Package supervisor holds the instances of a host: which exist, in what order they
// start and stop, and which listeners learn of their transitions and events. It does not
// know how a plugin runs, nor that there is a network.
package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// Errors of the methods of Supervisor.
var (
	// ErrUnknown means that no instance has that callsign.
	ErrUnknown = errors.New("there is no such callsign")
	// ErrExists means that an instance has that callsign, in upper or lower case.
	ErrExists = errors.New("the callsign is taken")
	// ErrNotCloneable means that the instance is part of the host, or a virtual plugin.
	ErrNotCloneable = errors.New("it cannot be cloned")
	// ErrTooManyClones means that there are as many clones as Options.MaxClones allows.
	ErrTooManyClones = errors.New("there are too many clones")
	// ErrNotAnObject means that a configuration is not a JSON object.
	ErrNotAnObject = errors.New("the configuration is not a JSON object")
	// ErrNotControlled means that an instance does not control a subsystem.
	ErrNotControlled = errors.New("the instance does not control the subsystem")
)

// Supervisor holds the instances of one host, from New to Stop.
type Supervisor struct {
	options     Options
	log         zerolog.Logger
	roster      roster
	definitions *definitions
	virtuals    *virtuals
	events      events
	conditions  conditions
	changes     subsystemChanges
	departures  departures
	rechecks    rechecks
	restarts    *restarts
	// A change of the roster guards these two.
	provisions  map[string]int  // by source, how often Provide was called
	replacing   map[string]bool // callsigns of the instances that are being replaced
	losses      *losses
	autoSleep   *autoSleep
	postMortems postMortems

	ctx        context.Context // ends when the host stops
	stop       context.CancelFunc
	adopting   atomic.Bool // not all instances that an earlier host left are back yet
	expecting  sync.Once   // marks the instances that Start is to start
	leftOut    atomic.Pointer[configs.LeftOutFiles]
	mu         sync.Mutex // guards the end of ctx against startBackground
	background sync.WaitGroup
}

// Builtin is an instance that is part of the host: always active, first to start and
// last to stop.
type Builtin struct {
	Callsign string
	Backend  func(*Supervisor, shell.Sink) shell.Backend
}

// Class makes the backend of a configured instance that is a built-in.
type Class func(s *Supervisor, config func() configs.Plugin, sink shell.Sink) shell.Backend

// Options configures New.
type Options struct {
	// Plugins are those of the files, Provided those of each other source.
	Plugins  []configs.Plugin
	Provided map[string][]configs.Plugin
	// LeftOut are the files that Plugins lacks: what is kept for their plugins stays.
	LeftOut          configs.LeftOutFiles
	HibernateTimeout time.Duration
	Log              zerolog.Logger
	Builtins         []Builtin
	// Subsystems are the site's own, beside configs.Subsystems.
	Subsystems []string
	// Classes are the built-ins that configured instances may be, by the name that
	// their key builtin has.
	Classes map[string]Class
	// Backend makes the backend of a configured plugin.
	Backend func(config func() configs.Plugin, sink shell.Sink) shell.Backend
	// Probe starts the program of a plugin that is no instance, for its description.
	Probe func(ctx context.Context, plugin configs.Plugin) (shell.Information, error)
	// Store keeps changes that are made at run time. With nil they are lost when the
	// host ends.
	Store *store.Store
	// CheckCallsign returns why this host has no place for an instance of that
	// callsign; nil accepts every callsign.
	CheckCallsign func(callsign string) error
	// Refusal returns why the instances of a source are not activated, and take no call while
	// they are not active, nil if they may. It must not block, and is not asked about the files.
	Refusal func(source string) error
	// BeforeStart returns the work that must be done before an instance of the source, or a clone,
	// is started as plugin says, nil for none; if the work fails, it is not started. BeforeStart
	// must not block, and is not asked about the files. Nil: no start needs work.
	BeforeStart func(source string, plugin configs.Plugin) (work func(context.Context) error)
	// Profile returns what a source says of its instances, for others to find them by. It must
	// not block for long, and is not asked about the files. Nil: no source says anything.
	Profile func(source string) shell.Profile
	// RemoveKept removes all that is kept of an instance that is destroyed, or of a virtual
	// plugin that is removed, such as files; nil when nothing is kept.
	RemoveKept func(callsign string) error
	// KeptPaths returns what is kept of an instance of that callsign: directories, and other
	// things as they are called in a sentence; nil when nothing is kept.
	KeptPaths func(callsign string) []string
	// Untold returns the losses that an earlier host was killed before it could record, and
	// MarkTold notes that all losses of an instance are recorded; nil when backends keep no
	// images.
	Untold   func() ([]Loss, error)
	MarkTold func(callsign string) error
	// PostMortem says which ends of plugins are documented; the zero value documents
	// none.
	PostMortem PostMortem
	AutoSleep  AutoSleep
	// MaxClones is how many clones there may be; 0 stands for any number.
	MaxClones int
}

// New returns a Supervisor whose instances exist but do not run yet. The error may wrap a
// *ClashError. After an error nothing of the Supervisor is left.
func New(o Options) (*Supervisor, error) {
	accept := func(string) error { return nil }
	if o.CheckCallsign == nil {
		o.CheckCallsign = accept
	}
	if o.RemoveKept == nil {
		o.RemoveKept = accept
	}
	if o.Untold == nil {
		o.Untold = func() ([]Loss, error) { return nil, nil }
	}
	if o.MarkTold == nil {
		o.MarkTold = accept
	}
	if o.KeptPaths == nil {
		o.KeptPaths = func(string) []string { return nil }
	}
	s := &Supervisor{
		options: o,
		log:     o.Log,
		roster:  roster{shells: make(map[string]*shell.Shell)},
		conditions: conditions{
			subsystems: configs.Host{Subsystems: o.Subsystems}.AllSubsystems(),
			active:     make(map[string]string), present: make(map[string]bool),
		},
		provisions:  make(map[string]int),
		replacing:   make(map[string]bool),
		departures:  departures{waitsFor: make(map[string][]string)},
		rechecks:    rechecks{running: make(map[*shell.Shell]bool)},
		postMortems: postMortems{PostMortem: o.PostMortem},
	}
	s.leftOut.Store(&o.LeftOut)
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.loadStateAndMakeInstances(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

// loadStateAndMakeInstances reads what an earlier host has kept, and fills the roster:
// the built-ins, then the configured instances, then the clones.
func (s *Supervisor) loadStateAndMakeInstances() (err error) {
	o := s.options
	bySource := maps.Clone(o.Provided)
	if bySource == nil {
		bySource = make(map[string][]configs.Plugin)
	}
	bySource[FilesSource] = o.Plugins
	if err := CheckClashes(bySource, o.LeftOut); err != nil {
		return err
	}
	if s.definitions, err = loadDefinitions(o.Store, bySource); err == nil {
		s.virtuals, err = loadVirtuals(o.Store)
	}
	if err == nil {
		s.restarts, err = loadRestarts(s)
	}
	if err == nil {
		s.losses, err = loadLosses(s)
	}
	if err != nil {
		return fmt.Errorf("cannot read what was changed at run time: %w", err)
	}
	s.autoSleep = newAutoSleep(s)
	s.changes.activators = s.newActivatorNotes()
	for _, b := range o.Builtins {
		config := configs.DefaultPlugin()
		config.Callsign = b.Callsign
		config.StartMode = configs.StartActivated
		s.roster.addHostBuiltin(s.newShellAndNotePresence(config, nil, func(_ func() configs.Plugin, sink shell.Sink) shell.Backend { return b.Backend(s, sink) }))
	}
	s.definitions.dropTakenClones(o.Builtins, s.log)
	s.followAndKeepSources()
	for _, callsign := range s.definitions.callsigns() {
		config, _ := s.definitions.config(callsign)
		sh, err := s.newUnlistedInstance(config)
		if err != nil {
			return err
		}
		s.roster.addOrReplace(sh)
	}
	for _, sh := range s.roster.allExceptHostBuiltins() {
		s.bringBackVirtualsOf(sh)
	}
	if err := s.autoSleep.restoreIdleSuspendedMarks(); err != nil {
		return fmt.Errorf("cannot read what was suspended: %w", err)
	}
	if err := s.losses.noteUntold(); err != nil {
		s.log.Error().Err(err).Msg("could not look for losses that an earlier host did not record")
	}
	return nil
}

// newUnlistedInstance makes a plugin or a configured built-in from its configuration, and
// does not add it to the roster. An instance whose callsign is not valid is never activated.
// An unknown built-in is an error.
func (s *Supervisor) newUnlistedInstance(config configs.Plugin) (*shell.Shell, error) {
	unstartable := cmp.Or(misnamedError(config.Callsign), s.keptVirtualError(config.Callsign))
	if unstartable != nil {
		s.log.Warn().Err(unstartable).Str("callsign", config.Callsign).Msg("this instance stays deactivated")
	}
	if config.Builtin == "" {
		return s.newShellAndNotePresence(config, unstartable, s.options.Backend), nil
	}
	if err := s.checkBuiltinExists(config); err != nil {
		return nil, err
	}
	class := s.options.Classes[config.Builtin]
	return s.newShellAndNotePresence(config, unstartable, func(config func() configs.Plugin, sink shell.Sink) shell.Backend { return class(s, config, sink) }), nil
}

// misnamedError returns why an instance of that callsign is never activated, nil if its
// callsign is valid. An earlier host may have made a clone with a callsign that is not.
func misnamedError(callsign string) error {
	if err := configs.CheckCallsign(callsign); err != nil {
		return fmt.Errorf("%w; an earlier host allowed it: make another clone by a valid name, and destroy this one", err)
	}
	return nil
}

// checkBuiltinExists returns an error if the configuration names a built-in that this
// host does not have.
func (s *Supervisor) checkBuiltinExists(config configs.Plugin) error {
	if _, ok := s.options.Classes[config.Builtin]; ok || config.Builtin == "" {
		return nil
	}
	known := strings.Join(slices.Sorted(maps.Keys(s.options.Classes)), ", ")
	return fmt.Errorf("cannot make %s: there is no builtin %q, only: %s", config.Callsign, config.Builtin, known)
}

// newShellAndNotePresence makes an instance whose backend the function backend makes, and
// records whether it is present: hibernated, or left running by an earlier host. unstartable is
// why the instance is never activated, nil for no cause.
func (s *Supervisor) newShellAndNotePresence(config configs.Plugin, unstartable error, backend func(func() configs.Plugin, shell.Sink) shell.Backend) *shell.Shell {
	sh := shell.New(shell.Options{
		Config:           config,
		HibernateTimeout: s.options.HibernateTimeout,
		Log:              s.log,
		Observer:         observer{&s.events, s},
		Requirements:     requirements{s, config.Callsign},
		Unstartable:      unstartable,
		Refusal:          func() error { return s.refusalOf(config.Callsign) },
		BeforeStart:      s.workBeforeStart,
		Declared:         s.declaredOrNil(config.Callsign),
		Dismissed:        func() { s.restarts.cancelPlannedRestart(config.Callsign) },
		Described:        func() { s.tellDescribed(config.Callsign) },
		Lost:             s.losses.noteOfShell,
		PostMortem: func(why shell.Reason, err error, evidence func() shell.Evidence) {
			s.writePostMortemIfWanted(config.Callsign, why, err, evidence)
		},
		Backend: backend,
	})
	s.conditions.setInstancePresent(config.Callsign, sh.State() == shell.Hibernated || sh.NeedsAdoption())
	return sh
}

// declaredOrNil returns what the source of an instance says of it, nil for a host without sources
// that do. A virtual plugin speaks for itself.
func (s *Supervisor) declaredOrNil(callsign string) func() shell.Profile {
	if s.options.Profile == nil {
		return nil
	}
	return func() shell.Profile {
		source, _ := s.SourceOf(callsign)
		if source == FilesSource || s.ParentOf(callsign) != "" {
			return shell.Profile{}
		}
		return s.options.Profile(source)
	}
}

// refusalOf returns why the source of an instance has it not activated, nil if it may be.
func (s *Supervisor) refusalOf(callsign string) error {
	source, _ := s.SourceOf(callsign)
	if source == FilesSource || s.options.Refusal == nil {
		return nil
	}
	return s.options.Refusal(source)
}

// workBeforeStart returns the work that the source of an instance has to be done before it is
// started as plugin says, nil for none.
func (s *Supervisor) workBeforeStart(plugin configs.Plugin) (work func(context.Context) error) {
	source, _ := s.SourceOf(plugin.Callsign)
	if source == FilesSource || s.options.BeforeStart == nil {
		return nil
	}
	return s.options.BeforeStart(source, plugin)
}

// Shell returns the instance of that callsign, or false. Case matters, as in Thunder.
func (s *Supervisor) Shell(callsign string) (*shell.Shell, bool) {
	return s.roster.find(callsign)
}

// Shells returns every instance, sorted by callsign.
func (s *Supervisor) Shells() []*shell.Shell {
	return s.roster.allSorted()
}

// Probe starts the program of a plugin once, which need not be that of an instance, and returns
// what it says of itself. The plugin is not initialized, touches no instance of its callsign,
// and leaves nothing behind. The error wraps shell.ErrInstantiation.
func (s *Supervisor) Probe(ctx context.Context, plugin configs.Plugin) (shell.Information, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(plugin.StartTimeout))
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)() //nolint:contextcheck // it ends with the host, too
	return s.options.Probe(ctx, plugin)
}

// startBackground runs work in a goroutine that Stop waits for. It returns false, and
// runs nothing, once the host stops.
func (s *Supervisor) startBackground(work func()) (started bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isStopping() {
		return false
	}
	s.background.Go(work)
	return true
}

// isStopping reports whether Stop or Leave has begun.
func (s *Supervisor) isStopping() bool { return s.ctx.Err() != nil }
