// Package verify takes a program through a plugin's whole life, in a private host, and
// returns how each step went, with advice to the author. It prints nothing.
package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/host"
	"dormouse/shell"
	"dormouse/shell/process"
)

// callsign is the callsign of the plugin in the private host.
const callsign = "Verify"

// Options says which program is verified, and how.
type Options struct {
	Program       string
	Arguments     []string
	Configuration map[string]any
	// Method is called with Params before and after the sleep; if it is empty, an
	// unknown method is called.
	Method string
	Params json.RawMessage
	// Flow is given a message with the body Message; if it is empty, an unknown flow is.
	Flow    string
	Message []byte
	// Timeout is how long the plugin may take for each answer.
	Timeout time.Duration
	// Subsystems are the names of subsystems besides Thunder's.
	Subsystems []string
	CRIU       string // path of CRIU's executable, "" for the default one
	Keep       bool   // leave the host's directory
	Version    string
	Log        zerolog.Logger
	// Report is called after each step, with the step before; it may be nil.
	Report func(s, before Step)
}

// Verification is the outcome of all steps.
type Verification struct {
	Program string `json:"program"`
	OK      bool   `json:"ok"`
	Steps   []Step `json:"steps"`
}

// Step is the outcome of one step.
type Step struct {
	Name    string  `json:"step"`
	Result  Result  `json:"result"`
	Found   string  `json:"found,omitempty"` // the outcome in words, the error, or why the step was skipped
	Mend    string  `json:"mend,omitempty"`  // what the author must do
	Seconds float64 `json:"seconds"`
}

// Result says how a step ended.
type Result string

// The results of a step.
const (
	OK      Result = "ok"
	Failed  Result = "failed"
	Skipped Result = "skipped"
)

// Run verifies a program. It returns the directory of the private host, which it has
// removed unless Options.Keep is true. An error means that the program could not be
// tried; it is not the program's fault. After the end of ctx Run ends the plugin, clears
// all away, and returns an error that wraps that of ctx.
func Run(ctx context.Context, o Options) (_ Verification, dir string, err error) {
	if dir, err = os.MkdirTemp("", "dormouse-verify-"); err != nil {
		return Verification{}, "", err
	}
	if !o.Keep {
		defer func() { err = errors.Join(err, ownedtree.Remove(dir)) }()
	}
	r := &run{Options: o, dir: dir, Verification: Verification{Program: o.Program}}
	r.interruption = ctx.Err
	err = errors.Join(r.runSteps(ctx), ctx.Err())
	return r.Verification, dir, err
}

// run is a verification under way.
type run struct {
	Options
	Verification
	dir      string
	host     *host.Host
	backend  *observedBackend
	services []string // names of the gRPC services that the plugin serves
	shell    *shell.Shell
	pids     []int // of all processes that the plugin has had
	// interruption returns why no further step is to be tried but those that end the
	// plugin, nil before.
	interruption func() error
}

// runSteps does every step. It returns an error only if the private host cannot be opened.
func (r *run) runSteps(ctx context.Context) (err error) {
	config := r.pluginConfig()
	found := r.tryAndRecordStep(Executable, "", func() (string, error) {
		path, err := findProgram(r.Options.Program)
		config.Executable = path
		return path, err
	})
	if err := r.openHost(config); err != nil {
		return err
	}
	r.host.Supervisor.Start(ctx)
	r.shell, _ = r.host.Supervisor.Shell(callsign)
	var activated error
	if found && ctx.Err() == nil {
		activated = r.shell.Activate(ctx, shell.Requested)
		r.recordProcesses()
	}
	r.recordSkippedStepsBefore(Methods, "it does not run")
	r.tryCallStep(ctx, Methods)
	r.tryFlowStep(ctx)
	r.trySleepSteps(ctx)
	r.backend.ending = true
	_ = r.shell.Deactivate(context.WithoutCancel(ctx), shell.Requested) // the backend makes it steps
	r.recordSkippedStepsBefore(NothingLeft, "it does not run")
	stopped := r.host.StopPluginsAndCommunicator(context.WithoutCancel(ctx))
	r.tryAndRecordStep(NothingLeft, "", func() (string, error) {
		return "", errors.Join(stopped, r.checkProcessesGone(), r.closeImagesAndCheckNoFiles(), r.host.CleanUpAndClose(false))
	})
	r.OK = activated == nil && !r.hasFailedStep()
	return nil
}

// openHost opens a private host with the plugin as its one instance, whose backend records
// steps.
func (r *run) openHost(config configs.Plugin) (err error) {
	o := host.PrivateOptions(r.dir, r.Log, config)
	o.Version = r.Version
	o.Config.Hibernate.Criu = r.CRIU
	o.Config.Hibernate.Timeout = configs.Duration(max(r.Timeout, 30*time.Second))
	o.Config.Host.Subsystems = r.Subsystems
	o.WrapBackend = func(b *process.Backend) shell.Backend {
		known := o.Config.Host.AllSubsystems()
		r.backend = &observedBackend{Backend: b, run: r, subsystems: known, grace: time.Duration(config.StopTimeout) / 2}
		return r.backend
	}
	r.host, err = host.Open(o)
	return err
}

// pluginConfig returns the configuration of the plugin's instance.
func (r *run) pluginConfig() configs.Plugin {
	c := configs.DefaultPlugin()
	c.Callsign = callsign
	c.Arguments, c.Configuration = r.Arguments, r.Configuration
	c.StartTimeout, c.CallTimeout = configs.Duration(r.Timeout), configs.Duration(r.Timeout)
	c.StopTimeout = min(c.StopTimeout, c.CallTimeout)
	c.Probe = false                               // Information has a step of its own
	c.OnFailedWake = configs.FailedWakeDeactivate // so that a failed wake does not pass for a good one
	c.Sleep = configs.SleepCheckpoint             // it demands more of a plugin than to be paged out
	return c
}

// closeImagesAndCheckNoFiles returns an error that names the files that the plugin left
// behind.
func (r *run) closeImagesAndCheckNoFiles() error {
	r.host.Processes.Images.Close() // returns when the images that were used are deleted
	var found []error
	for _, dir := range []string{r.host.Processes.RunDir, filepath.Join(r.dir, "images", callsign)} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				found = append(found, fmt.Errorf("the file %s", path))
			}
			return err
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			found = append(found, err)
		}
	}
	return errors.Join(found...)
}

// hasFailedStep reports whether a step so far has failed.
func (r *run) hasFailedStep() bool {
	return slices.ContainsFunc(r.Steps, func(s Step) bool { return s.Result == Failed })
}
