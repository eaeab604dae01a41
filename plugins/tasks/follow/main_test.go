package follow

import (
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
