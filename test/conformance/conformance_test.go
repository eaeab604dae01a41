// Package conformance holds Dormouse to the reference of the wire: the same cases
// for both dialects, over HTTP and over websockets, on a real host with real
// plugins. The cases are data, in the directory cases.
package conformance

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestConformance(t *testing.T) {
	files, err := filepath.Glob("cases/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("found the files %v, error %v", files, err)
	}
	p := build(t)
	for _, dialect := range []string{"r4", "r5"} {
		for _, transport := range []string{"http", "ws"} {
			t.Run(dialect+" over "+transport, func(t *testing.T) {
				for _, file := range files {
					if only := filepath.Ext(strings.TrimSuffix(file, ".txt")); only != "" && only != "."+transport {
						continue // x.ws.txt is for websockets only
					}
					t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) { runFile(t, p, file, dialect, transport) })
				}
			})
		}
	}
}

// runFile runs the cases of a file in order, on a host of their own.
func runFile(t *testing.T, p programs, file, dialect, transport string) {
	t.Helper()
	cases, err := readCases(file)
	if err != nil {
		t.Fatal(err)
	}
	h := &host{programs: p, root: t.TempDir(), dialect: dialect}
	h.start(t)
	r := &run{
		host: h, dialect: dialect, transport: transport, http: overHTTP{h, make(http.Header)},
		sockets: make(map[string]*socket), pending: make(map[string]chan answer),
	}
	defer h.stop(t)
	defer r.closeAll()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			clear(r.http.header)
			for _, d := range c.lines {
				if r.applies(d) {
					r.do(t, d)
				}
			}
		})
	}
}
