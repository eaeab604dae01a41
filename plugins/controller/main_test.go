package controller

import (
	"flag"
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

var update = flag.Bool("update", false, "write docs/api.md")

func TestMain(m *testing.M) {
	if way := os.Getenv(strangersWay); way != "" {
		actAsStranger(way)
		return
	}
	os.Exit(leaktest.Run(m, "coder/websocket"))
}
