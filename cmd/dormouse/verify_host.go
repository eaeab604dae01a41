package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/native"
	"dormouse/plugins/communicator"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

// verifyCallsign is the instance's name in the private host.
const verifyCallsign = "Verify"

// privateHost is a host of one instance, all but its front, in a directory of its
// own.
type privateHost struct {
	process.Host
	dir          string
	subsystems   []string // of the site
	engine       *criu.Engine
	supervisor   *supervisor.Supervisor
	communicator *communicator.Communicator
}

func openPrivateHost(o verifyOptions) (_ *privateHost, err error) {
	dir, err := os.MkdirTemp("", "dormouse-verify-")
	if err != nil {
		return nil, err
	}
	h := &privateHost{dir: dir, subsystems: o.subsystems}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	pidone, err := native.InstallPidone(dir)
	if err != nil {
		return nil, err
	}
	images, err := hibernate.OpenStore(filepath.Join(dir, "images"))
	if err != nil {
		return nil, err
	}
	h.engine = criu.Open(o.criu, dir)
	h.Host = process.Host{
		RunDir: filepath.Join(dir, "run"), StateDir: filepath.Join(dir, "state"), Pidone: pidone,
		Engine: h.engine, Images: images, Log: o.log,
		Serve: func(callsign string, l net.Listener) func() { return h.communicator.ServeInstance(callsign, l) },
	}
	if h.Cgroups, err = process.OpenCgroups(dir); err != nil {
		o.log.Info().Err(err).Msg("the plugin runs without a cgroup of its own")
	}
	return h, nil
}

// settle makes the one instance, which can call the host as it could any other.
// All subsystems are up.
func (h *privateHost) settle(ctx context.Context, config configs.Plugin, limit time.Duration, backend func(func() configs.Plugin, shell.Sink) shell.Backend) (*shell.Shell, error) {
	var err error
	h.supervisor, err = supervisor.New(supervisor.Options{
		Plugins: []configs.Plugin{config}, Subsystems: h.subsystems, HibernateTimeout: limit, Log: h.Log, Backend: backend,
	})
	if err != nil {
		return nil, err
	}
	h.communicator = communicator.New(communicator.Options{
		Supervisor: h.supervisor, Log: h.Log, Version: version, Paths: h.Paths,
	}, communicator.Group{})
	h.supervisor.Start(ctx)
	sh, _ := h.supervisor.Shell(config.Callsign)
	return sh, nil
}

// close returns when nothing of the host runs any more.
func (h *privateHost) close(ctx context.Context) error {
	h.supervisor.Stop(ctx)
	err := h.communicator.Close(ctx)
	h.communicator.Wait()
	return err
}

// leftovers closes the host and names what the plugin left in it.
func (h *privateHost) leftovers() error {
	h.Images.Close()
	var found []error
	if h.Cgroups != nil {
		found = append(found, h.Cgroups.Close())
	}
	for _, dir := range []string{h.RunDir, filepath.Join(h.dir, "images", verifyCallsign)} {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() && filepath.Base(path) != "generation" {
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

// config is how the plugin is run. A wake that fails must not pass for one that
// succeeded.
func (o verifyOptions) config() configs.Plugin {
	c := configs.DefaultPlugin()
	c.Callsign = verifyCallsign
	c.Arguments, c.Configuration = o.arguments, o.configuration
	c.StartTimeout, c.CallTimeout = configs.Duration(o.timeout), configs.Duration(o.timeout)
	c.StopTimeout = min(c.StopTimeout, c.CallTimeout)
	c.Probe = false // it is asked in a step of its own
	c.OnFailedWake = configs.FailedWakeDeactivate
	c.Sleep = configs.SleepCheckpoint // it is what can be wrong with a plugin
	return c
}

// witness is the plugin's backend, and notes the steps that its shell goes
// through in one operation.
type witness struct {
	*process.Backend
	v      *verification
	known  []string // subsystems
	ending bool
	grace  time.Duration // in which each request to end must be met
}

// Launch is three steps: the plugin shakes hands, says what it is and how it is.
func (w *witness) Launch(ctx context.Context) (info shell.Information, err error) {
	launched := w.v.try(stepHandshake, "", func() (string, error) {
		info, err = w.Backend.Launch(ctx)
		return "", err
	})
	if !launched {
		return info, err
	}
	w.v.services = info.Services
	w.v.try(stepInformation, "", func() (string, error) { return w.describe(ctx, info) })
	w.v.try(stepHealth, "", func() (string, error) {
		answer, err := healthpb.NewHealthClient(w.Conn()).Check(ctx, &healthpb.HealthCheckRequest{Service: "plugin"})
		if err == nil && answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			err = fmt.Errorf("it is %s", answer.GetStatus())
		}
		if err != nil {
			err = errors.New(status.Convert(err).Message())
		}
		return "", err
	})
	return unconditioned(info), nil
}

// Wake is part of a step.
func (w *witness) Wake(ctx context.Context) (shell.Information, error) {
	info, err := w.Backend.Wake(ctx)
	return unconditioned(info), err
}

// unconditioned takes away what would end the plugin before the steps that follow.
func unconditioned(info shell.Information) shell.Information {
	info.Preconditions, info.Terminations = nil, nil
	return info
}

// describe asks a second time: the answer must be the same.
func (w *witness) describe(ctx context.Context, info shell.Information) (string, error) {
	client := shellpb.NewPluginClient(w.Conn())
	first, err := client.Information(ctx, &shellpb.InformationRequest{})
	if err != nil {
		return "", err
	}
	again, err := client.Information(ctx, &shellpb.InformationRequest{})
	switch {
	case err != nil:
		return "", err
	case !proto.Equal(first, again):
		return "", fmt.Errorf("it first said %v, and then %v", first, again)
	case info.Class == "":
		return "", errors.New("it has no name")
	}
	var wrong []error
	for _, s := range info.Preconditions {
		wrong = append(wrong, configs.CheckSubsystem(s, w.known, false))
	}
	for _, s := range info.Terminations {
		wrong = append(wrong, configs.CheckSubsystem(s, w.known, true))
	}
	v := info.Version
	return fmt.Sprintf("%s %d.%d.%d: %s", info.Class, v.Major, v.Minor, v.Patch, strings.Join(info.Services, ", ")), errors.Join(wrong...)
}

// Initialize is one step. A plugin with state control is suspended, or resumed,
// after it.
func (w *witness) Initialize(ctx context.Context) (err error) {
	w.v.try(stepInitialize, "", func() (found string, _ error) {
		if err = w.Backend.Initialize(ctx); err == nil && slices.Contains(w.v.services, statecontrol.ServiceName) {
			found, err = w.control(ctx)
		}
		return found, err
	})
	return err
}

func (w *witness) control(ctx context.Context) (string, error) {
	state, err := statecontrol.NewClient(w.Conn()).State(ctx)
	if err == nil && state != statecontrol.Suspended && state != statecontrol.Resumed {
		err = fmt.Errorf("it was initialized, and says that it is %s", state)
	}
	return string(state), err
}

// Deinitialize is one step, whose error the shell only logs.
func (w *witness) Deinitialize(ctx context.Context, why shell.Reason) (err error) {
	w.v.try(stepDeinitialize, "", func() (string, error) {
		err = w.Backend.Deinitialize(ctx, why)
		return "", err
	})
	return err
}

// Stop is a step when it is the plugin's turn to end. One that ends neither by
// Shutdown nor by SIGTERM is killed, which shows in the time it takes.
func (w *witness) Stop(ctx context.Context) (err error) {
	if !w.ending {
		return w.Backend.Stop(ctx)
	}
	begun := time.Now()
	w.v.try(stepEnd, "", func() (string, error) {
		err = w.Backend.Stop(ctx)
		if err == nil && time.Since(begun) >= w.grace {
			return "", fmt.Errorf("it did not end within %s of being asked to", w.grace)
		}
		return "", err
	})
	return err
}
