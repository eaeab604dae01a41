package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/bytesize"
	"dormouse/internal/procfs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// The steps of a verification, in their order.
const (
	stepExecutable   = "executable"
	stepHandshake    = "handshake"
	stepInformation  = "information"
	stepHealth       = "health"
	stepInitialize   = "initialize"
	stepMethods      = "methods"
	stepSuspend      = "suspend"
	stepPreflight    = "preflight"
	stepCheckpoint   = "checkpoint"
	stepProcessGone  = "process gone"
	stepRestore      = "restore"
	stepCallAgain    = "call again"
	stepResume       = "resume"
	stepDeinitialize = "deinitialize"
	stepEnd          = "end"
	stepNothingLeft  = "nothing left"
)

// mends is what an author has to do when a step fails, and where that is
// explained.
var mends = map[string]string{
	stepExecutable:   "name a file that can be executed; a script needs its #! line",
	stepHandshake:    "serve gRPC on a socket in $PLUGIN_UNIX_SOCKET_DIR, write 1|1|unix|SOCKET|grpc as the first line to stdout, and answer Information (docs/plugins.md, Handshake)",
	stepInformation:  "answer Information always the same, with a name and with subsystems that exist; --subsystem names those of the site (docs/plugins.md, Services)",
	stepHealth:       `serve grpc.health.v1.Health and answer SERVING for "plugin" (docs/plugins.md, Services)`,
	stepInitialize:   "answer Initialize with no error text; --config gives it a configuration (docs/plugins.md, Services)",
	stepMethods:      "answer an unknown method with UNIMPLEMENTED, and the others with JSON (docs/plugins.md, Errors)",
	stepSuspend:      "answer Request when the state is reached, and a second one with FAILED_PRECONDITION (docs/plugins.md, Services)",
	stepPreflight:    "do without what is named (docs/plugins.md, What sleep means)",
	stepCheckpoint:   "do without what is named, or close it in BeforeCheckpoint (docs/plugins.md, What sleep means)",
	stepProcessGone:  "this is the host's fault and not the plugin's",
	stepRestore:      "put back in AfterRestore what is named, or close it in BeforeCheckpoint (docs/plugins.md, What sleep means)",
	stepCallAgain:    "go on after the sleep where the plugin was before (docs/plugins.md, What sleep means)",
	stepResume:       "answer Request when the state is reached (docs/plugins.md, Services)",
	stepDeinitialize: "answer Deinitialize in time (docs/plugins.md, Services)",
	stepEnd:          "end the process on Shutdown or SIGTERM (docs/plugins.md, Services)",
	stepNothingLeft:  "end the processes and remove the files named",
}

// missingMethod is one that no plugin has.
const missingMethod = "dormouse-verify-no-such-method"

// verification is one run of a plugin through its whole life.
type verification struct {
	Program string     `json:"program"`
	OK      bool       `json:"ok"`
	Steps   []verified `json:"steps"`

	tell     func(step, before verified) // may be nil
	services []string
	shell    *shell.Shell
	pids     []int // of all processes there ever were
}

// try does one step, unless there is a reason to skip it.
func (v *verification) try(step, skip string, work func() (found string, err error)) bool {
	s := verified{Step: step, Result: resultSkipped, Found: skip}
	if skip == "" {
		begun := time.Now()
		found, err := work()
		s.Result, s.Found, s.Seconds = resultOK, found, time.Since(begun).Seconds()
		if err != nil {
			s.Result, s.Found, s.Mend = resultFailed, err.Error(), mends[step]
		}
	}
	var before verified
	if n := len(v.Steps); n > 0 {
		before = v.Steps[n-1]
	}
	v.Steps = append(v.Steps, s)
	if v.tell != nil {
		v.tell(s, before)
	}
	return s.Result == resultOK
}

// run goes through all steps and returns the directory in which it did. The
// error is not the plugin's.
func (v *verification) run(ctx context.Context, o verifyOptions) (dir string, err error) {
	host, err := openPrivateHost(o)
	if err != nil {
		return "", err
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(host.dir)) }()
	}
	config := o.config()
	found := v.try(stepExecutable, "", func() (string, error) {
		path, err := exec.LookPath(o.program)
		if err == nil {
			path, err = filepath.Abs(path)
		}
		config.Executable = path
		return path, err
	})
	w := &witness{v: v, known: configs.Host{Subsystems: o.subsystems}.AllSubsystems(), grace: time.Duration(config.StopTimeout) / 2}
	v.shell, err = host.settle(ctx, config, max(o.timeout, 30*time.Second), func(c func() configs.Plugin, s shell.Sink) shell.Backend {
		w.Backend = process.New(host.Host, c, s)
		return w
	})
	if err != nil {
		return "", err
	}
	var activated error
	if found {
		activated = v.shell.Activate(ctx, shell.Requested)
		v.note()
	}
	v.skipTo(stepMethods, "it does not run")
	v.call(ctx, o, stepMethods)
	v.sleep(ctx, o, host)
	w.ending = true
	_ = v.shell.Deactivate(context.WithoutCancel(ctx), shell.Requested) // noted too
	v.skipTo(stepNothingLeft, "it does not run")
	closed := host.close(context.WithoutCancel(ctx))
	v.try(stepNothingLeft, "", func() (string, error) { return "", errors.Join(closed, v.alive(), host.leftovers()) })
	v.OK = activated == nil && !v.failed()
	return host.dir, nil
}

// order is that of the steps.
var order = []string{
	stepExecutable, stepHandshake, stepInformation, stepHealth, stepInitialize, stepMethods, stepSuspend, stepPreflight,
	stepCheckpoint, stepProcessGone, stepRestore, stepCallAgain, stepResume, stepDeinitialize, stepEnd, stepNothingLeft,
}

// skipTo skips what is missing before a step.
func (v *verification) skipTo(step, why string) {
	for _, s := range order[len(v.Steps):slices.Index(order, step)] {
		v.try(s, why, nil)
	}
}

// absent says why nothing can be asked of the plugin. It says nothing when the
// plugin is there, and when it ended unnoticed: the next step will tell.
func (v *verification) absent() string {
	state := v.shell.State()
	if state == shell.Activated || state == shell.Hibernated || !v.failed() {
		return ""
	}
	return "it does not run"
}

func (v *verification) failed() bool {
	return slices.ContainsFunc(v.Steps, func(s verified) bool { return s.Result == resultFailed })
}

// explain adds the plugin's end to an error that comes of it.
func (v *verification) explain(err error) error {
	if end := v.shell.Status().Err; err != nil && end != nil && v.shell.State() != shell.Activated {
		return fmt.Errorf("%w: %w", err, end)
	}
	return err
}

// call is a step that calls a method.
func (v *verification) call(ctx context.Context, o verifyOptions, step string) {
	skip := v.absent()
	if skip == "" && !slices.Contains(v.services, shellpb.DispatcherService) {
		skip = "it serves no Dispatcher"
	}
	v.try(step, skip, func() (found string, err error) {
		if o.method == "" {
			found, err = v.callMissing(ctx)
		} else {
			found, err = v.callMethod(ctx, shell.Call{Method: o.method, Params: o.params})
		}
		return found, v.explain(err)
	})
}

func (v *verification) callMethod(ctx context.Context, c shell.Call) (string, error) {
	exists, err := v.shell.Exists(ctx, c.Method)
	if err == nil && !exists {
		err = errors.New("no")
	}
	if err != nil {
		return "", fmt.Errorf("asked whether %s exists, it answered: %w", c.Method, err)
	}
	result, err := v.shell.Invoke(ctx, c)
	return fmt.Sprintf("%s answered %s", c.Method, truncate(string(result), 60)), err
}

func (v *verification) callMissing(ctx context.Context) (string, error) {
	exists, err := v.shell.Exists(ctx, missingMethod)
	if err == nil && exists {
		err = errors.New("yes")
	}
	if err != nil {
		return "", fmt.Errorf("asked whether an unknown method exists, it answered: %w", err)
	}
	result, err := v.shell.Invoke(ctx, shell.Call{Method: missingMethod})
	refusal, refused := errors.AsType[*shell.PluginError](err)
	switch {
	case errors.Is(err, shell.ErrUnknownMethod), refused && isUnknownMethod(refusal.Code):
		return "an unknown method is refused", nil
	case err == nil:
		return "", fmt.Errorf("it answered an unknown method with %s", truncate(string(result), 60))
	}
	return "", fmt.Errorf("it refused an unknown method with another error: %w", err)
}

// isUnknownMethod reports whether a plugin's code says that it has no such method:
// Thunder's number, or JSON-RPC's code.
func isUnknownMethod(code int) bool {
	return code == int(thunder.UnknownMethod) || code == thunder.UnknownMethod.R4().Code
}

// sleep is every step from the suspension to the next resumption.
func (v *verification) sleep(ctx context.Context, o verifyOptions, host *privateHost) {
	skip := v.absent()
	if skip == "" && !slices.Contains(v.services, statecontrol.ServiceName) {
		skip = "it serves no StateControl, and so can't be hibernated"
	}
	suspended := v.try(stepSuspend, skip, func() (string, error) { return "", v.explain(v.suspend(ctx)) })
	if skip == "" && !suspended {
		skip = "it is not suspended"
	}
	if skip == "" {
		if err := host.engine.Check(ctx); err != nil {
			skip = "not possible here: " + joinLines(err.Error())
		}
	}
	possible := v.try(stepPreflight, skip, func() (string, error) {
		v.note()
		return "", hibernate.Preflight(host.engine, host.Images.ImageDir(verifyCallsign), v.shell.Status().Facts.PID)
	})
	if skip == "" && !possible {
		skip = "the preflight failed"
	}
	slept := v.try(stepCheckpoint, skip, func() (string, error) {
		if err := v.shell.Hibernate(ctx, shell.Requested, 0); err != nil {
			return "", err
		}
		return "an image of " + bytesize.Format(v.shell.Status().Sleep.Bytes), nil
	})
	if skip == "" && !slept {
		skip = "it did not sleep"
	}
	v.try(stepProcessGone, skip, func() (string, error) { return "", v.alive() })
	v.try(stepRestore, skip, func() (string, error) { return "", v.shell.Activate(ctx, shell.Requested) })
	if skip == "" {
		v.note()
		v.call(ctx, o, stepCallAgain)
	} else {
		v.try(stepCallAgain, skip, nil)
	}
	resumable := v.absent()
	if resumable == "" && !suspended {
		resumable = "it was not suspended"
	}
	v.try(stepResume, resumable, func() (string, error) { return "", v.shell.Resume(ctx, shell.Requested) })
}

// suspend makes sure that the plugin notices when it is asked twice.
func (v *verification) suspend(ctx context.Context) error {
	if v.shell.Status().Control == statecontrol.Suspended {
		if err := v.shell.Resume(ctx, shell.Requested); err != nil {
			return err
		}
	}
	if err := v.shell.Suspend(ctx, shell.Requested); err != nil {
		return err
	}
	control := v.shell.Status().Information.StateControl
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

// note remembers the plugin's processes.
func (v *verification) note() {
	if pid := v.shell.Status().Facts.PID; pid != 0 {
		v.pids = append(v.pids, procfs.Tree(pid)...)
	}
}

// alive names the plugin's processes that have not ended.
func (v *verification) alive() error {
	var alive []string
	for _, pid := range v.pids {
		if !procfs.HasEnded(pid) {
			alive = append(alive, fmt.Sprintf("%d (%s)", pid, procfs.Command(pid)))
		}
	}
	if len(alive) == 0 {
		return nil
	}
	return fmt.Errorf("still alive: process %s", strings.Join(alive, ", "))
}
