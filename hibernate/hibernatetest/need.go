package hibernatetest

import (
	"os"
	"testing"

	"dormouse/hibernate"
)

// Need skips the test where the engine can't work, and says why.
func Need(tb testing.TB, e hibernate.Engine) {
	tb.Helper()
	if err := e.Check(tb.Context()); err != nil {
		Lacks(tb, err)
	}
}

// Lacks skips the test for want of something that a checkpoint or its tests
// need. With DORMOUSE_REQUIRE_CRIU=1 in the environment it fails instead.
func Lacks(tb testing.TB, why error) {
	tb.Helper()
	if os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}
