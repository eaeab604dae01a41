package hibernatetest

import (
	"context"
	"os"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
)

// NoExtras has the methods of hibernate.Engine that an engine without extra powers
// needs: it finds no obstacle, does not start early, cannot read its images, and has
// no lazy restore.
type NoExtras struct{}

// ObstaclesAnyTime returns nil.
func (NoExtras) ObstaclesAnyTime([]int) error { return nil }

// ObstaclesWhenQuiet returns nil.
func (NoExtras) ObstaclesWhenQuiet([]int) error { return nil }

// ObstaclesWhenStopped returns nil.
func (NoExtras) ObstaclesWhenStopped([]int) error { return nil }

// Prestart starts nothing.
func (NoExtras) Prestart(cgroup.Dir, []hibernate.Inherited) hibernate.Prestarted { return notStarted{} }

// Identities returns hibernate.ErrUnsupported.
func (NoExtras) Identities(string) ([]procfs.ThreadIdentity, error) {
	return nil, hibernate.ErrUnsupported
}

// RestoreLazy closes m and returns hibernate.ErrUnsupported.
func (NoExtras) RestoreLazy(_ context.Context, _ hibernate.RestoreOrder, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	_ = m.Close()
	return nil, nil, hibernate.ErrUnsupported
}

// RejoinLoading returns nil.
func (NoExtras) RejoinLoading(string) (hibernate.Loading, error) { return nil, nil } //nolint:nilnil // all is loaded

type notStarted struct{}

func (notStarted) Close() {}
