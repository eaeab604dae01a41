package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/plugins/host"
	"dormouse/shell"
	"dormouse/shell/process"
)

// stage is what hibernation is measured on.
type stage struct {
	dir     string
	counter string
	host    *host.Host
	adopt   bool // what is made from now on outlives this process
}

// open returns the stage, which is made for the first group that needs one.
func (b *bench) open(ctx context.Context) (*stage, error) {
	if b.stage != nil {
		return b.stage, nil
	}
	// Trees that criu restores become children of this process when criu ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	// What this process inherited must not become part of what is dumped.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, err
	}
	s, err := newStage(ctx, filepath.Join(b.plugins, "counter"))
	if err == nil {
		b.stage = s
	}
	return s, err
}

func (b *bench) close() error {
	if b.stage == nil {
		return nil
	}
	return b.stage.close()
}

func newStage(ctx context.Context, counter string) (_ *stage, err error) {
	s := &stage{counter: counter}
	if s.dir, err = os.MkdirTemp("", "dmb"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if s.host, err = host.Open(host.PrivateOptions(s.dir, zerolog.Nop())); err != nil {
		return nil, err
	}
	if s.host.Processes.Cgroups == nil {
		return nil, errors.New("cannot measure without cgroups")
	}
	return s, s.host.Engine.Check(ctx)
}

func (s *stage) close() error {
	var err error
	if s.host != nil {
		err = s.host.CleanUpAndClose(false)
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// sleeper is an instance of the counter with some memory.
type sleeper struct {
	*shell.Shell
	images string
}

// counterConfig has the plugin sleep on disk.
func (s *stage) counterConfig() configs.Plugin {
	config := configs.DefaultPlugin()
	config.Executable = s.counter
	config.Sleep = configs.SleepCheckpoint
	return config
}

// usual is a sleeper that wakes as instances do unless they are told otherwise.
func (s *stage) usual(ctx context.Context, callsign string, mib int) (*sleeper, error) {
	return s.sleeper(ctx, callsign, mib, s.counterConfig())
}

// eager is one that wakes with all its memory, lazy one that wakes before.
func (s *stage) eager(ctx context.Context, callsign string, mib int) (*sleeper, error) {
	config := s.counterConfig()
	config.Wake = configs.WakeEager
	return s.sleeper(ctx, callsign, mib, config)
}

func (s *stage) lazy(ctx context.Context, callsign string, mib int) (*sleeper, error) {
	config := s.counterConfig()
	config.Wake = configs.WakeLazy
	return s.sleeper(ctx, callsign, mib, config)
}

// sleeper starts one of mib MiB.
func (s *stage) sleeper(ctx context.Context, callsign string, mib int, config configs.Plugin) (*sleeper, error) {
	config.Callsign = callsign
	own := &sleeper{s.instanceOf(config), filepath.Join(s.dir, "images", callsign, "image")}
	err := own.Activate(ctx, shell.Requested)
	if err == nil && mib > 0 {
		params, _ := json.Marshal(map[string]any{"mib": mib, "pattern": "random"})
		_, err = own.Invoke(ctx, shell.Call{Method: "fill", Params: params})
	}
	if err != nil {
		return nil, errors.Join(err, own.end(ctx))
	}
	return own, nil
}

func (s *stage) instanceOf(config configs.Plugin) *shell.Shell {
	processes := s.host.Processes
	processes.Adopt, processes.Serve = s.adopt, nil // a host socket would be measured too
	return shell.New(shell.Options{
		Config: config, HibernateTimeout: time.Minute, Log: zerolog.Nop(), Observer: deaf{},
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			return process.New(processes, config, sink)
		},
	})
}

type deaf struct{}

func (deaf) Transition(shell.Transition)             {}
func (deaf) Notification(string, shell.Notification) {}

func (o *sleeper) sleep(ctx context.Context) error { return o.Hibernate(ctx, shell.Requested, 0) }

func (o *sleeper) wake(ctx context.Context) error { return o.Activate(ctx, shell.Requested) }

// answer wakes the instance and returns with its first answer.
func (o *sleeper) answer(ctx context.Context) error {
	if err := o.wake(ctx); err != nil {
		return err
	}
	_, err := o.Invoke(ctx, shell.Call{Method: "get"})
	return err
}

// loaded returns when all memory is in.
func (o *sleeper) loaded(ctx context.Context) error {
	return poll(ctx, func() (bool, error) { return o.Status().Figures.Loading == shell.Progress{}, nil })
}

// end leaves nothing of the instance, whatever it is in.
func (o *sleeper) end(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // it may be why this ends
	err := o.Deactivate(ctx, shell.Requested)
	o.Close()
	return err
}
