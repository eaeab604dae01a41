package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/bytesize"
	"dormouse/internal/procfs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// Names of the steps.
const (
	Executable   = "executable"
	Handshake    = "handshake"
	Information  = "information"
	Health       = "health"
	Initialize   = "initialize"
	Methods      = "methods"
	Flows        = "flows"
	Suspend      = "suspend"
	Preflight    = "preflight"
	Checkpoint   = "checkpoint"
	ProcessGone  = "process gone"
	Restore      = "restore"
	CallAgain    = "call again"
	Resume       = "resume"
	Deinitialize = "deinitialize"
	End          = "end"
	NothingLeft  = "nothing left"
)

// adviceForStep is, for each step, the advice to the author if the step fails, with the
// chapter that explains it.
var adviceForStep = map[string]string{
	Executable:   "name a file that can be executed; a script needs its #! line",
	Handshake:    "serve gRPC on a socket in $PLUGIN_UNIX_SOCKET_DIR, write 1|1|unix|SOCKET|grpc as the first line to stdout, and answer Information (docs/plugins.md, Handshake)",
	Information:  "answer Information always the same, with a name and with subsystems that exist; --subsystem names those of the site (docs/plugins.md, Services)",
	Health:       `serve grpc.health.v1.Health and answer SERVING for "plugin" (docs/plugins.md, Services)`,
	Initialize:   "answer Initialize with no error text; --config gives it a configuration (docs/plugins.md, Services)",
	Methods:      "answer an unknown method with UNIMPLEMENTED, and the others with JSON (docs/plugins.md, Errors)",
	Flows:        "answer Process in time, with results that a flow may have, or with an error; INVALID_ARGUMENT says that it will never do (docs/plugins.md, Flows)",
	Suspend:      "answer Request when the state is reached, and a second one with FAILED_PRECONDITION (docs/plugins.md, Services)",
	Preflight:    "do without what is named (docs/plugins.md, What sleep means)",
	Checkpoint:   "do without what is named, or close it in BeforeCheckpoint (docs/plugins.md, What sleep means)",
	ProcessGone:  "this is the host's fault and not the plugin's",
	Restore:      "put back in AfterRestore what is named, or close it in BeforeCheckpoint (docs/plugins.md, What sleep means)",
	CallAgain:    "go on after the sleep where the plugin was before (docs/plugins.md, What sleep means)",
	Resume:       "answer Request when the state is reached (docs/plugins.md, Services)",
	Deinitialize: "answer Deinitialize in time (docs/plugins.md, Services)",
	End:          "end the process on Shutdown or SIGTERM (docs/plugins.md, Services)",
	NothingLeft:  "end the processes and remove the files named",
}

// unknownMethod is the name of a method that no plugin has.
const unknownMethod = "dormouse-verify-no-such-method"

// tryAndRecordStep does one step by work, records and reports its outcome, and reports
// whether the step was ok. If skipReason is not empty, it records the step as skipped for
// that reason; after an interruption it skips all steps but those that end the plugin.
func (r *run) tryAndRecordStep(step, skipReason string, work func() (found string, err error)) (ok bool) {
	if r.interruption() != nil && slices.Index(Order, step) < slices.Index(Order, Deinitialize) {
		skipReason = cmp.Or(skipReason, "it was interrupted")
	}
	s := Step{Name: step, Result: Skipped, Found: skipReason}
	if skipReason == "" {
		begun := time.Now()
		found, err := work()
		s.Result, s.Found, s.Seconds = OK, found, time.Since(begun).Seconds()
		if err != nil {
			s.Result, s.Found, s.Mend = Failed, err.Error(), adviceForStep[step]
		}
	}
	var before Step
	if n := len(r.Steps); n > 0 {
		before = r.Steps[n-1]
	}
	r.Steps = append(r.Steps, s)
	if r.Report != nil {
		r.Report(s, before)
	}
	return s.Result == OK
}

// Order is the names of all steps in the order in which they are done.
var Order = []string{
	Executable, Handshake, Information, Health, Initialize, Methods, Flows, Suspend, Preflight,
	Checkpoint, ProcessGone, Restore, CallAgain, Resume, Deinitialize, End, NothingLeft,
}

// recordSkippedStepsBefore records the steps between the last one and the given one as
// skipped.
func (r *run) recordSkippedStepsBefore(step, reason string) {
	for _, s := range Order[len(r.Steps):slices.Index(Order, step)] {
		r.tryAndRecordStep(s, reason, nil)
	}
}

// skipReasonIfNotRunning returns why steps that need the plugin are skipped, "" if it runs. A
// plugin that ended while no step failed also gives "": the next step fails then.
func (r *run) skipReasonIfNotRunning() string {
	state := r.shell.State()
	if state == shell.Activated || state == shell.Hibernated || !r.hasFailedStep() {
		return ""
	}
	return "it does not run"
}

// withCauseOfEnd returns err with the cause of the plugin's end, if the plugin has
// ended; nil stays nil.
func (r *run) withCauseOfEnd(err error) error {
	if end := r.shell.Status().Err; err != nil && end != nil && r.shell.State() != shell.Activated {
		return fmt.Errorf("%w: %w", err, end)
	}
	return err
}

// tryCallStep does a step that calls a method: that of Options, else an unknown one.
func (r *run) tryCallStep(ctx context.Context, step string) {
	skip := r.skipReasonIfNotRunning()
	if skip == "" && !slices.Contains(r.services, shellpb.DispatcherService) {
		skip = "it serves no Dispatcher"
	}
	r.tryAndRecordStep(step, skip, func() (found string, err error) {
		if r.Method == "" {
			found, err = r.callUnknownMethod(ctx)
		} else {
			found, err = r.callExistingMethod(ctx, shell.Call{Method: r.Method, Params: r.Params})
		}
		return found, r.withCauseOfEnd(err)
	})
}

// callExistingMethod calls a method, and returns its answer in one line. It returns an
// error if the plugin says that the method does not exist.
func (r *run) callExistingMethod(ctx context.Context, c shell.Call) (answer string, _ error) {
	exists, err := r.shell.Exists(ctx, c.Method)
	if err == nil && !exists {
		err = errors.New("no")
	}
	if err != nil {
		return "", fmt.Errorf("asked whether %s exists, it answered: %w", c.Method, err)
	}
	result, err := r.shell.Invoke(ctx, c)
	return fmt.Sprintf("%s answered %s", c.Method, shorten(string(result), 60)), err
}

// callUnknownMethod calls a method that does not exist, and returns an error unless the
// plugin refuses the call as the contract says.
func (r *run) callUnknownMethod(ctx context.Context) (found string, _ error) {
	exists, err := r.shell.Exists(ctx, unknownMethod)
	if err == nil && exists {
		err = errors.New("yes")
	}
	if err != nil {
		return "", fmt.Errorf("asked whether an unknown method exists, it answered: %w", err)
	}
	result, err := r.shell.Invoke(ctx, shell.Call{Method: unknownMethod})
	refusal, refused := errors.AsType[*shell.PluginError](err)
	switch {
	case errors.Is(err, shell.ErrUnknownMethod), refused && isUnknownMethodCode(refusal.Code):
		return "an unknown method is refused", nil
	case err == nil:
		return "", fmt.Errorf("it answered an unknown method with %s", shorten(string(result), 60))
	}
	return "", fmt.Errorf("it refused an unknown method with another error: %w", err)
}

// isUnknownMethodCode reports whether a plugin's code says that it has no such method:
// Thunder's number, or JSON-RPC's code.
func isUnknownMethodCode(code int) bool {
	return code == int(thunder.UnknownMethod) || code == thunder.UnknownMethod.R4Error().Code
}

// trySleepSteps does the steps from Suspend to Resume.
func (r *run) trySleepSteps(ctx context.Context) {
	skip := r.skipReasonIfNotRunning()
	if skip == "" && !slices.Contains(r.services, statecontrol.ServiceName) {
		skip = "it serves no StateControl, and so can't be hibernated"
	}
	suspended := r.tryAndRecordStep(Suspend, skip, func() (string, error) { return "", r.withCauseOfEnd(r.suspendAndCheckSecondRefused(ctx)) })
	if skip == "" && !suspended {
		skip = "it is not suspended"
	}
	if skip == "" {
		if err := r.host.Engine.Check(ctx); err != nil {
			skip = "not possible here: " + strings.ReplaceAll(strings.TrimSpace(err.Error()), "\n", "; ")
		}
	}
	possible := r.tryAndRecordStep(Preflight, skip, func() (string, error) {
		r.recordProcesses()
		return "", hibernate.PreflightCheckpoint(r.host.Engine, r.host.Processes.Images.ImageDir(callsign), r.shell.Status().Figures.PID)
	})
	if skip == "" && !possible {
		skip = "the preflight failed"
	}
	slept := r.tryAndRecordStep(Checkpoint, skip, func() (string, error) {
		if err := r.shell.Hibernate(ctx, shell.Requested, 0); err != nil {
			return "", err
		}
		return "an image of " + bytesize.Format(r.shell.Status().Sleep.Bytes), nil
	})
	if skip == "" && !slept {
		skip = "it did not sleep"
	}
	r.tryAndRecordStep(ProcessGone, skip, func() (string, error) { return "", r.checkProcessesGone() })
	r.tryAndRecordStep(Restore, skip, func() (string, error) { return "", r.shell.Activate(ctx, shell.Requested) })
	if skip == "" {
		r.recordProcesses()
		r.tryCallStep(ctx, CallAgain)
	} else {
		r.tryAndRecordStep(CallAgain, skip, nil)
	}
	resumable := r.skipReasonIfNotRunning()
	if resumable == "" && !suspended {
		resumable = "it was not suspended"
	}
	r.tryAndRecordStep(Resume, resumable, func() (string, error) { return "", r.shell.Resume(ctx, shell.Requested) })
}

// suspendAndCheckSecondRefused suspends the plugin, after a resume if it is suspended
// already. It returns an error unless the plugin refuses a second request and stays
// suspended.
func (r *run) suspendAndCheckSecondRefused(ctx context.Context) error {
	if r.shell.Status().Control == statecontrol.Suspended {
		if err := r.shell.Resume(ctx, shell.Requested); err != nil {
			return err
		}
	}
	if err := r.shell.Suspend(ctx, shell.Requested); err != nil {
		return err
	}
	control := r.shell.Status().Information.StateControl
	switch err := control.Request(ctx, statecontrol.Suspend); {
	case err == nil:
		return errors.New("asked to suspend a second time, it did not refuse")
	case !errors.Is(err, statecontrol.ErrIllegalState):
		return fmt.Errorf("asked to suspend a second time, it refused with another error: %w", err)
	}
	state, err := control.State(ctx)
	if err == nil && state != statecontrol.Suspended {
		err = fmt.Errorf("it was suspended, and says that it is %s", state)
	}
	return err
}

// recordProcesses adds the plugin's present processes to the processes that must have ended
// after the sleep and at the end.
func (r *run) recordProcesses() {
	if pid := r.shell.Status().Figures.PID; pid != 0 {
		r.pids = append(r.pids, procfs.Tree(pid)...)
	}
}

// checkProcessesGone returns an error that names the plugin's processes that have not
// ended.
func (r *run) checkProcessesGone() error {
	var alive []string
	for _, pid := range r.pids {
		if !procfs.HasEnded(pid) {
			alive = append(alive, fmt.Sprintf("%d (%s)", pid, procfs.ProcessName(pid)))
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return fmt.Errorf("still alive: process %s", strings.Join(alive, ", "))
}

// findProgram returns the absolute path of the program of that path, or of that name in PATH.
// It returns an error if the program cannot be executed.
func findProgram(name string) (path string, err error) {
	path, err = exec.LookPath(name)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	return path, err
}

// shorten returns the text, cut to a number of characters with "…" at its end if it is
// longer.
func shorten(text string, maxRunes int) string {
	if runes := []rune(text); len(runes) > maxRunes {
		return string(runes[:maxRunes-1]) + "…"
	}
	return text
}
