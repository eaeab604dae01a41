package controller

import (
	"flag"
	"os"
	"testing"

	"dormouse/internal/leaktest"
)

var update = flag.Bool("update", false, "write docs/api.md")

func TestMain(m *testing.M) {
	switch way := os.Getenv(strangersWay); way {
	case "":
	case postLines:
		postEachLine()
		return
	default:
		actAsStranger(way)
		return
	}
	os.Exit(leaktest.Run(m, "coder/websocket"))
}
