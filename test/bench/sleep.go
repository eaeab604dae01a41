package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/native"
	"dormouse/shell"
	"dormouse/shell/process"
)

// stage is what one comparison of hibernation runs on.
type stage struct {
	dir     string
	counter string
	pidone  string
	engine  *criu.Engine
	images  *hibernate.Store
	cgroups *process.Cgroups
}

func newStage(ctx context.Context, counter string) (*stage, error) {
	dir, err := os.MkdirTemp("", "dmb")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, counter: counter, engine: criu.Open("", dir)}
	if s.pidone, err = native.InstallPidone(dir); err == nil {
		s.images, err = hibernate.OpenStore(filepath.Join(dir, "images"))
	}
	if err == nil {
		s.cgroups, err = process.OpenCgroups(dir)
	}
	if err == nil {
		err = s.engine.Check(ctx)
	}
	return s, err
}

func (s *stage) close() error {
	s.images.Close()
	return errors.Join(s.cgroups.Close(), os.RemoveAll(s.dir))
}

// counterConfig is that of the plugin that is measured: it sleeps on disk, and
// all of its memory is read before it runs.
func (s *stage) counterConfig() configs.Plugin {
	config := configs.DefaultPlugin()
	config.Callsign = "Counter"
	config.Executable = s.counter
	config.Wake = configs.WakeEager
	config.Sleep = configs.SleepCheckpoint
	return config
}

// instance returns a shell for the counter plugin.
func (s *stage) instance() *shell.Shell { return s.instanceOf(s.counterConfig()) }

// sleeper is instance for one that sleeps in that way.
func (s *stage) sleeper(callsign string, sleep configs.Sleep) *shell.Shell {
	config := s.counterConfig()
	config.Callsign, config.Sleep = callsign, sleep
	return s.instanceOf(config)
}

func (s *stage) instanceOf(config configs.Plugin) *shell.Shell {
	host := process.Host{
		RunDir: filepath.Join(s.dir, "run"), StateDir: s.dir, Pidone: s.pidone, Cgroups: s.cgroups,
		Engine: s.engine, Images: s.images, Log: zerolog.Nop(),
	}
	return shell.New(shell.Options{
		Config: config, HibernateTimeout: time.Minute, Log: zerolog.Nop(), Observer: deaf{},
		Backend: func(sink shell.Sink) shell.Backend { return process.New(host, config, sink) },
	})
}

type deaf struct{}

func (deaf) Transition(shell.Transition)             {}
func (deaf) Notification(string, shell.Notification) {}

// compareSleep hibernates and wakes a plugin of mib MiB, in turn with CRIU's own
// commands on an equal process.
func (s *stage) compareSleep(ctx context.Context, mib, runs int) (hibernateRow, wakeRow row, err error) {
	own := s.instance()
	if err := own.Activate(ctx, shell.Requested); err != nil {
		return row{}, row{}, err
	}
	params, _ := json.Marshal(map[string]any{"mib": mib, "pattern": "random"})
	if _, err := own.Invoke(ctx, shell.Call{Method: "fill", Params: params}); err != nil {
		return row{}, row{}, err
	}
	plainDir, err := os.MkdirTemp(s.dir, "p")
	if err != nil {
		return row{}, row{}, err
	}
	other, err := startPlain(ctx, s.engine.Path(), s.pidone, s.counter, plainDir, mib)
	if err != nil {
		return row{}, row{}, err
	}
	var hibernates, dumps, wakes, restores series
	for run := range runs + 1 {
		err = errors.Join(
			timed(&hibernates, func() error { return own.Hibernate(ctx, shell.Requested, 0) }),
			timed(&dumps, other.dump),
			timed(&wakes, func() error { return own.Activate(ctx, shell.Requested) }),
			timed(&restores, other.restore),
			other.clean(),
		)
		if err != nil {
			break
		}
		s.images.Close() // no run pays for the removal of another's image
		if run == 0 {
			hibernates, dumps, wakes, restores = nil, nil, nil, nil // warm-up
		}
	}
	err = errors.Join(err, other.end(), own.Deactivate(ctx, shell.Requested))
	own.Close()
	size := fmt.Sprintf("%d MiB", mib)
	return row{"hibernate " + size, hibernates, "criu dump + fsync", dumps, 1.3},
		row{"wake " + size, wakes, "criu restore", restores, 1.3}, err
}
