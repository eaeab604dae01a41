package hibernatetest

import (
	"os"
	"testing"

	"dormouse/hibernate"
)

// Need skips the test where the engine can't work, and says why. With
// DORMOUSE_REQUIRE_CRIU=1 in the environment it fails instead.
func Need(t testing.TB, e hibernate.Engine) {
	t.Helper()
	err := e.Check(t.Context())
	if err == nil {
		return
	}
	if os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1" {
		t.Fatal(err)
	}
	t.Skip(err)
}
