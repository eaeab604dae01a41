package hibernatetest

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"dormouse/hibernate"
)

// RequireEngine skips the test, or fails it as SkipOrFail does, unless the engine's Check
// passes here.
func RequireEngine(tb testing.TB, e hibernate.Engine) {
	tb.Helper()
	if err := e.Check(tb.Context()); err != nil {
		SkipOrFail(tb, err)
	}
}

// SkipOrFail skips the test because of why: this machine lacks something that the test needs.
// With DORMOUSE_REQUIRE_CRIU=1 in the environment the test fails instead.
func SkipOrFail(tb testing.TB, why error) {
	tb.Helper()
	if os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

// RequireProgram skips the test, or fails it as SkipOrFail does, unless the program, which make
// setup-test installs, is there.
func RequireProgram(tb testing.TB, name string) {
	tb.Helper()
	if _, err := exec.LookPath(name); err != nil {
		SkipOrFail(tb, fmt.Errorf("make setup-test installs %s: %w", name, err))
	}
}
