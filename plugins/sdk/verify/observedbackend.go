package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// observedBackend is the plugin's backend. It records as steps the calls that the shell
// makes within one operation.
type observedBackend struct {
	*process.Backend
	run        *run
	subsystems []string      // names of all subsystems
	ending     bool          // the next Stop is a step
	grace      time.Duration // how long the plugin may take to end
}

// Launch launches the plugin in three steps: handshake, information, health. It returns only
// the error of the handshake, and leaves out the subsystem conditions of the information.
func (b *observedBackend) Launch(ctx context.Context) (info shell.Information, err error) {
	launched := b.run.tryAndRecordStep(Handshake, "", func() (string, error) {
		info, err = b.Backend.Launch(ctx)
		return "", err
	})
	if !launched {
		return info, cmp.Or(err, b.run.interruption())
	}
	b.run.services = info.Services
	b.run.tryAndRecordStep(Information, "", func() (string, error) { return b.checkInformation(ctx, info) })
	b.run.tryAndRecordStep(Health, "", func() (string, error) {
		answer, err := healthpb.NewHealthClient(b.Conn()).Check(ctx, &healthpb.HealthCheckRequest{Service: "plugin"})
		if err == nil && answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
			err = fmt.Errorf("it is %s", answer.GetStatus())
		}
		if err != nil {
			err = errors.New(status.Convert(err).Message())
		}
		return "", err
	})
	return withoutSubsystemConditions(info), nil
}

// Wake wakes the plugin. It records no step: Restore covers it.
func (b *observedBackend) Wake(ctx context.Context) (shell.Information, error) {
	info, err := b.Backend.Wake(ctx)
	return withoutSubsystemConditions(info), err
}

// withoutSubsystemConditions returns info without its preconditions and terminations, which
// could keep the plugin from the steps that follow.
func withoutSubsystemConditions(info shell.Information) shell.Information {
	info.Preconditions, info.Terminations = nil, nil
	return info
}

// checkInformation returns the plugin's information in one line. It asks the plugin twice,
// and returns an error if the answers differ, have no name, or name unknown subsystems.
func (b *observedBackend) checkInformation(ctx context.Context, info shell.Information) (text string, err error) {
	client := shellpb.NewPluginClient(b.Conn())
	first, err := client.Information(ctx, &shellpb.InformationRequest{})
	if err != nil {
		return "", errors.New(status.Convert(err).Message())
	}
	again, err := client.Information(ctx, &shellpb.InformationRequest{})
	switch {
	case err != nil:
		return "", errors.New(status.Convert(err).Message())
	case !proto.Equal(first, again):
		return "", fmt.Errorf("it first said %v, and then %v", first, again)
	case info.Class == "":
		return "", errors.New("it has no name")
	}
	var wrong []error
	for _, s := range info.Preconditions {
		wrong = append(wrong, configs.CheckSubsystem(s, b.subsystems, false))
	}
	for _, s := range info.Terminations {
		wrong = append(wrong, configs.CheckSubsystem(s, b.subsystems, true))
	}
	v := info.Version
	return fmt.Sprintf("%s %d.%d.%d: %s", info.Class, v.Major, v.Minor, v.Patch, strings.Join(info.Services, ", ")), errors.Join(wrong...)
}

// Initialize initializes the plugin in one step. A plugin with state control must then
// be suspended or resumed.
func (b *observedBackend) Initialize(ctx context.Context) (err error) {
	b.run.tryAndRecordStep(Initialize, "", func() (found string, _ error) {
		if err = b.Backend.Initialize(ctx); err == nil && slices.Contains(b.run.services, statecontrol.ServiceName) {
			found, err = b.checkControlState(ctx)
		}
		return found, err
	})
	return cmp.Or(err, b.run.interruption())
}

// checkControlState returns the state of the plugin's state control. It returns an error
// unless that state is suspended or resumed.
func (b *observedBackend) checkControlState(ctx context.Context) (name string, _ error) {
	state, err := statecontrol.NewClient(b.Conn()).State(ctx)
	if err == nil && state != statecontrol.Suspended && state != statecontrol.Resumed {
		err = fmt.Errorf("it was initialized, and says that it is %s", state)
	}
	return string(state), err
}

// Deinitialize deinitializes the plugin in one step.
func (b *observedBackend) Deinitialize(ctx context.Context, why shell.Reason) (err error) {
	b.run.tryAndRecordStep(Deinitialize, "", func() (string, error) {
		err = b.Backend.Deinitialize(ctx, why)
		return "", err
	})
	return err
}

// Stop stops the plugin, in one step if it is the last Stop of the verification. The
// step fails if the plugin had to be killed, which shows in the time that Stop takes.
func (b *observedBackend) Stop(ctx context.Context) (err error) {
	if !b.ending {
		return b.Backend.Stop(ctx)
	}
	begun := time.Now()
	b.run.tryAndRecordStep(End, "", func() (string, error) {
		err = b.Backend.Stop(ctx)
		if err == nil && time.Since(begun) >= b.grace {
			return "", fmt.Errorf("it did not end within %s of being asked to", b.grace)
		}
		return "", err
	})
	return err
}
