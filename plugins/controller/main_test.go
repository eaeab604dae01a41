package controller

import (
	"flag"
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

var update = flag.Bool("update", false, "write docs/api.md")

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m, "coder/websocket")) }
