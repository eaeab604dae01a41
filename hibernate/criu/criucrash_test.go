package criu_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/hibernatetest"
)

// When CRIU dies the engine does not wait, although a helper of CRIU lives on and holds
// the socket on which CRIU would have answered.
func TestCRIUEndsBeforeItsHelper(t *testing.T) {
	working := openEngine(t).Path()
	dir := t.TempDir()
	dying := filepath.Join(dir, "dying")
	script := fmt.Sprintf("#!/bin/sh\nif [ -e %q ]; then sleep 1000 & exit 1; fi\nexec %q \"$@\"\n", dying, working)
	path := filepath.Join(dir, "criu")
	must(t, os.WriteFile(path, []byte(script), 0o700)) //nolint:gosec // it is a program
	e := criu.Open(path, t.TempDir())
	must(t, os.WriteFile(dying, nil, 0o600))
	s := startSubject(t)
	defer func() { s.End(t) }()
	if s.cgroup == "" {
		hibernatetest.SkipOrFail(t, errors.New("there is no cgroup v2"))
	}
	s.Advance(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := e.Dump(ctx, hibernate.DumpOrder{PID: s.PID(), Dir: t.TempDir(), Cgroup: s.cgroup}); err == nil || ctx.Err() != nil {
		t.Errorf("got %v, %v", err, ctx.Err())
	}
	if got := s.State(t); got != "1" {
		t.Errorf("it is in state %q", got)
	}
	attempt := hibernatetest.NewCgroup(t) // in which nothing may be left
	if _, err := e.Restore(ctx, hibernate.RestoreOrder{Dir: t.TempDir(), Cgroup: attempt}); err == nil || ctx.Err() != nil {
		t.Errorf("got %v, %v", err, ctx.Err())
	}
}
