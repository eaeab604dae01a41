package hibernatetest

import (
	"context"
	"os"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// EngineDefaults has the methods of hibernate.Engine for an engine that finds no obstacle, does
// not start early, can't read its images, and has no lazy restore. Other engines embed it.
type EngineDefaults struct{}

// ObstaclesAnyTime returns nil.
func (EngineDefaults) ObstaclesAnyTime([]int) error { return nil }

// ObstaclesWhenQuiet returns nil.
func (EngineDefaults) ObstaclesWhenQuiet([]int) error { return nil }

// ObstaclesWhenStopped returns nil.
func (EngineDefaults) ObstaclesWhenStopped([]int) error { return nil }

// Prestart starts nothing and returns a process that is not there.
func (EngineDefaults) Prestart(cgroup.Dir, []hibernate.Inherited) hibernate.Prestarted {
	return noProcess{}
}

// ThreadIdentities returns hibernate.ErrUnsupported.
func (EngineDefaults) ThreadIdentities(string) ([]procfs.ThreadIdentity, error) {
	return nil, hibernate.ErrUnsupported
}

// StoppedProcesses returns nil.
func (EngineDefaults) StoppedProcesses(string) ([]int, error) { return nil, nil }

// RestoreLazy closes m and returns hibernate.ErrUnsupported.
func (EngineDefaults) RestoreLazy(_ context.Context, _ hibernate.RestoreOrder, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	_ = m.Close()
	return nil, nil, hibernate.ErrUnsupported
}

// RejoinLoading returns nil, as if all memory was loaded.
func (EngineDefaults) RejoinLoading(string) (hibernate.Loading, error) { return nil, nil } //nolint:nilnil // all memory is loaded

// noProcess is a hibernate.Prestarted without an engine process.
type noProcess struct{}

// Close does nothing.
func (noProcess) Close() {}
