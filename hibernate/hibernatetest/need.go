package hibernatetest

import (
	"os"
	"testing"

	"dormouse/hibernate"
)

// Need skips the test where the engine can't work, and says why. With
// DORMOUSE_REQUIRE_CRIU=1 in the environment it fails instead.
func Need(tb testing.TB, e hibernate.Engine) {
	tb.Helper()
	err := e.Check(tb.Context())
	if err == nil {
		return
	}
	if os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1" {
		tb.Fatal(err)
	}
	tb.Skip(err)
}
