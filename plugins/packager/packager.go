// Package packager is the built-in Packager: it installs, upgrades, rolls back, disables and
// removes plugin packages, and brings their database and their files into agreement. It does
// not know how an instance runs, what flows carry, nor how a registry is reached.
package packager

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/internal/store"
	"dormouse/plugins/packager/database"
	"dormouse/plugins/packager/disk"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
	"dormouse/plugins/packager/trust"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Callsign is the name of the built-in.
const Callsign = configs.PackagerCallsign

// DirName is the directory of packages in the root of a host.
const DirName = "packages"

// Options configures Open.
type Options struct {
	// Root is the directory of all that belongs to packages, see DirName.
	Root   string
	Store  *store.Store
	Config configs.Packages
	// Overlays are the operator's tables [[plugin]] with the key package.
	Overlays []configs.Overlay
	Version  string // of Dormouse
	Log      zerolog.Logger
	Flows    Flows
	State    State
	// Subsystems are those that the site has.
	Subsystems []string

	// PersistentDir returns the directory in which the data of an instance lies, and
	// RemoveInstanceFiles removes all that is kept of an instance.
	PersistentDir       func(callsign string) string
	RemoveInstanceFiles func(callsign string) error
	// ImagesUse reports whether an image of a hibernated plugin needs a file below dir; nil: none
	// does.
	ImagesUse func(dir string) (bool, error)
	// Clock replaces the time; nil stands for the real one.
	Clock func() time.Time
	// Wishes replaces the central repository; nil stands for the one that Config names.
	Wishes func(context.Context) (map[string]oci.Wish, error)
}

// Flows is what the flows of packages have to be told, and are asked. A function that is nil
// stands for a host without flows.
type Flows struct {
	// Declare makes the flows of a package known, Withdraw takes them away; their states stay.
	Declare  func(name string, flows []configs.Flow)
	Withdraw func(name string)
	// Holding returns the flows of a package that hold messages.
	Holding func(name string) []string
	// Drain returns when no flow of the package holds a message; Discard removes them.
	Drain   func(ctx context.Context, name string) error
	Discard func(name string) error
	// Changed says that the package may have become ready, or not ready.
	Changed func(name string)
}

// State is how the state that instances keep with the host is kept for a rollback. A function
// that is nil stands for a host that keeps none.
type State struct {
	// Keep writes the state of an instance into an empty directory, which lies in Root.
	Keep func(ctx context.Context, callsign, dir string) error
	// PutBack makes what Keep has written the state of the instance again. It does nothing if
	// the directory is not there, and can be repeated.
	PutBack func(ctx context.Context, callsign, dir string) error
}

// Instances is what operations need of the supervisor.
type Instances interface {
	Provide(ctx context.Context, source string, plugins []configs.Plugin) (changeLines []string, err error)
	Probe(ctx context.Context, plugin configs.Plugin) (shell.Information, error)
	ReplaceForTrial(ctx context.Context, source string, plugin configs.Plugin, between func(ctx context.Context, callsign string) error) error
	Shell(callsign string) (*shell.Shell, bool)
	Shells() []*shell.Shell
	SourceOf(callsign string) (source string, found bool)
	CloneSource(callsign string) (supervisor.CloneSource, bool)
	Listen(l supervisor.Listener) (stop func())
}

var _ Instances = (*supervisor.Supervisor)(nil)

// Packager holds the packages of one host, from Open to Close.
type Packager struct {
	options  Options
	log      zerolog.Logger
	dirs     *disk.Dirs
	database *database.Database
	records  *records.Records

	ctx    context.Context // ends when the host stops
	stop   context.CancelFunc
	active sync.WaitGroup // operations

	instances Instances // nil until the supervisor exists
	sink      shell.Sink

	mu       sync.Mutex // guards the fields below
	overlays []configs.Overlay
	config   configs.Packages
	keys     []trust.Key
	running  map[string]*operation    // by package
	claims   map[string]claim         // by package: what is about to be installed
	reading  bool                     // the catalogue is being read
	profiles map[string]shell.Profile // by digest, of the packages that were asked for theirs
	closed   bool
	opened   bool // the directories exist

	noting sync.Mutex // held while the startNote is changed

	// What the synchronization at the start leaves for Start.
	laterRequests []records.Request
	withBundled   bool
	databaseLost  error // why the database looks lost, nil if it does not
	progress      progressEvents

	central   central
	catalogue catalogue
	ended     endCounts
}

// Open reads the records and the directories, and brings them into agreement as o.Config says.
// The supervisor does not exist yet: see Provided and Start. After an error nothing is open.
func Open(o Options) (*Packager, error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	p := &Packager{
		options: o, log: o.Log.With().Str("callsign", Callsign).Logger(), overlays: o.Overlays, config: o.Config,
		running: make(map[string]*operation), claims: make(map[string]claim), central: central{look: make(chan struct{}, 1)},
	}
	p.ctx, p.stop = context.WithCancel(context.Background())
	err := p.open()
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("cannot open the packages: %w", err)
	}
	return p, nil
}

func (p *Packager) open() (err error) {
	if p.keys, err = trust.ReadKeys(p.options.Config.Keys); err != nil {
		return err
	}
	if p.records, err = records.Open(p.options.Store, p.recordChanged); err != nil {
		return err
	}
	p.dirs = disk.At(p.options.Root)
	p.database = database.At(p.dirs.DatabaseDir())
	if err = p.openDirs(); err == nil {
		err = errors.Join(p.removeOldUploads(), p.synchronizeAtStart())
	}
	if err != nil { // a host with a full disk starts all the same
		p.log.Error().Err(err).Msg("cannot synchronize the packages")
	}
	p.declareAllFlows() // before any client can publish
	return nil
}

// openDirs makes the directories, as far as they are missing. A database that is missing
// although there are packages looks lost.
func (p *Packager) openDirs() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.opened {
		return nil
	}
	makeDatabase := p.database.Claim
	if !p.database.IsThere() && len(p.records.All()) > 0 {
		p.databaseLost = fmt.Errorf("the directory %s, or the mark %s in it, is missing", p.dirs.DatabaseDir(), ownedtree.MarkName)
		makeDatabase = p.database.Make
	}
	if err := errors.Join(p.dirs.Make(), makeDatabase()); err != nil {
		return err
	}
	p.opened = true
	return nil
}

// Close ends all operations, which the next host goes on with, and returns when none runs any
// more.
func (p *Packager) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.stop()
	p.active.Wait()
}

// Builtin returns the Packager as a part of a host.
func (p *Packager) Builtin() supervisor.Builtin {
	return supervisor.Builtin{
		Callsign: Callsign,
		Backend: func(s *supervisor.Supervisor, sink shell.Sink) shell.Backend {
			p.instances, p.sink = s, sink
			return backend{p}
		},
	}
}

// Provided returns the instances of each package, as the supervisor is to know them from the
// start: so what an earlier host left of them is taken over.
func (p *Packager) Provided() map[string][]configs.Plugin {
	all := make(map[string][]configs.Plugin)
	for _, record := range p.records.All() {
		plugins, err := p.pluginsOf(record)
		if err != nil {
			p.log.Error().Err(err).Str("package", record.Name).Msg("the instances of the package are missing")
			continue
		}
		if len(plugins) > 0 {
			all[record.Name] = plugins
		}
	}
	return all
}

// versionDir returns the directory of an unpacked version.
func (p *Packager) versionDir(name, digest string) string { return p.dirs.VersionDir(name, digest) }

// whyRefused returns why the instances of a package are not started and take no call, nil if
// they may.
func whyRefused(r records.Record) error {
	switch {
	case r.Disabled:
		return fmt.Errorf("the package %s is disabled; enable it with: dormouse plugin enable %s", r.Name, r.Name)
	case r.State == records.Failed && r.CanRollback:
		return fmt.Errorf("the package %s has failed; see dormouse plugin show %s, then retry or roll back", r.Name, r.Name)
	case r.State == records.Failed:
		return fmt.Errorf("the package %s has failed; see dormouse plugin show %s, then retry", r.Name, r.Name)
	case r.State == records.Installing && r.Operation != nil && r.Operation.IsCold():
		return fmt.Errorf("the package %s changes its version (%s)", r.Name, r.Operation.Phase)
	case r.State == records.Removing:
		return fmt.Errorf("the package %s is being removed", r.Name)
	}
	return nil
}

// Profile returns what a package says of its instances, for others to find them by; the zero
// profile for what is no package or says nothing.
func (p *Packager) Profile(source string) shell.Profile {
	record, found := p.records.Get(source)
	if !found || record.Serving == nil {
		return shell.Profile{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known, ok := p.profiles[record.Serving.Digest]; ok {
		return known
	}
	m, err := manifest.Read(p.versionDir(source, record.Serving.Digest))
	if err != nil {
		return shell.Profile{} // the instances do not start either
	}
	if p.profiles == nil || len(p.profiles) >= maxProfiles {
		p.profiles = make(map[string]shell.Profile)
	}
	p.profiles[record.Serving.Digest] = m.Profile
	return m.Profile
}

// maxProfiles is how many profiles of packages are kept in memory.
const maxProfiles = 256

// Refusal returns why the instances of a source are not started and take no call, nil if they
// may. It is the supervisor's Options.Refusal.
func (p *Packager) Refusal(source string) error {
	record, found := p.records.Get(source)
	if !found {
		return nil
	}
	return whyRefused(record)
}

// Readiness says whether the instances of a package can take data, and if not why.
type Readiness struct {
	Ready, Disabled bool
	Why             string
}

// Readiness returns whether the package is ready for the data of its flows.
func (p *Packager) Readiness(name string) Readiness {
	record, found := p.records.Get(name)
	switch {
	case !found:
		return Readiness{Why: "package " + name + " is not installed"}
	case record.Disabled:
		return Readiness{Disabled: true, Why: whyRefused(record).Error()}
	case record.State != records.Installed:
		return Readiness{Why: "package " + name + " is " + record.Status()}
	}
	return Readiness{Ready: true}
}

var errClosed = errors.New("the host is shutting down")
