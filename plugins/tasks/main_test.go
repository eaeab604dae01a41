package tasks

import (
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }
