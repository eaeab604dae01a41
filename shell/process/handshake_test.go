package process

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestParseHandshake(t *testing.T) {
	for line, want := range map[string]string{
		"1|1|unix|/run/d/Mine/plugin42|grpc":         "/run/d/Mine/plugin42",
		"1|1|unix|/run/d/Mine/plugin42|grpc|":        "/run/d/Mine/plugin42",
		"1|1|unix|/run/d/Mine/plugin42|grpc||false":  "/run/d/Mine/plugin42",
		"1|1|unix|/run/d//Mine/./plugin42|grpc":      "/run/d/Mine/plugin42",
		"1|1|unix|/run/d/Mine/x/../plugin42|grpc":    "/run/d/Mine/plugin42",
		"01|+1|unix|/run/d/Mine/plugin42|grpc":       "/run/d/Mine/plugin42",
		"":                                           "error: it wrote",
		"hello":                                      "error: it wrote",
		"1|1|unix|/run/d/Mine/plugin42":              "error: it wrote",
		"0|1|unix|/run/d/Mine/plugin42|grpc":         `error: it speaks version "0" of go-plugin's handshake`,
		"x|1|unix|/run/d/Mine/plugin42|grpc":         `error: it speaks version "x" of go-plugin's handshake`,
		"1||unix|/run/d/Mine/plugin42|grpc":          `error: it speaks version "" of the plugin protocol`,
		"1|2|unix|/run/d/Mine/plugin42|grpc":         `error: it speaks version "2" of the plugin protocol`,
		"1|1|tcp|127.0.0.1:1|grpc":                   `error: it listens on network "tcp"`,
		"1|1||/run/d/Mine/plugin42|grpc":             `error: it listens on network ""`,
		"1|1|unix|/run/d/Mine/plugin42|netrpc":       `error: it speaks "netrpc"`,
		"1|1|unix|/run/d/Mine/plugin42|":             `error: it speaks ""`,
		"1|1|unix|/run/d/Mine/plugin42|grpc|MIIB":    "error: it wants TLS",
		"1|1|unix|/run/d/Other/plugin42|grpc":        "error: its socket",
		"1|1|unix|/run/d/Mine/../Other/plugin|grpc":  "error: its socket",
		"1|1|unix|/run/d/Mine/volatile/plugin|grpc":  "error: its socket",
		"1|1|unix|/run/d/Mine|grpc":                  "error: its socket",
		"1|1|unix|plugin42|grpc":                     "error: its socket",
		"1|1|unix||grpc":                             "error: its socket",
		"1|1|unix|@abstract|grpc":                    "error: its socket",
		"1|1|unix|\x00/run/d/Mine/x|grpc":            "error: its socket",
		"1|1|unix|" + strings.Repeat("/", 900) + "|": `error: it speaks ""`,
	} {
		got, err := parseHandshake(line, "/run/d/Mine")
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want && (err == nil || !strings.HasPrefix(got, want)) {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// Whatever a plugin writes, the host dials nothing outside of the directory.
func FuzzHandshake(f *testing.F) {
	for _, line := range []string{
		"1|1|unix|/run/d/Mine/plugin42|grpc",
		"1|1|unix|/run/d/Mine/plugin42|grpc||false",
		"1|1|tcp|127.0.0.1:1|grpc|MIIB",
		"1|1|unix|/run/d/Mine/../Other/plugin|grpc",
		"pidone: exec: errno     2",
		"|||||||",
		"",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		const dir = "/run/d/Mine"
		socket, err := parseHandshake(line, dir)
		if (err == nil) != (socket != "") {
			t.Errorf("got %q and %v", socket, err)
		}
		if err == nil && (filepath.Dir(socket) != dir || !filepath.IsAbs(socket) || filepath.Base(socket) == "..") {
			t.Errorf("it would dial %q", socket)
		}
	})
}
