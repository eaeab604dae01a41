package shell_test

import (
	"flag"
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

var update = flag.Bool("update", false, "write the diagram into docs/architecture.md")

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
