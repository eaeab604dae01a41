package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// row is one line of the table at the end.
type row struct {
	what  string
	took  time.Duration // 0 for what takes no time
	bytes string
}

func (t *tour) record(what string, took time.Duration, bytes string) {
	t.rows = append(t.rows, row{what, took, bytes})
}

// check says whether something is as it should be.
func (t *tour) check(ok bool, format string, args ...any) {
	mark := "ok"
	if !ok {
		mark = "WRONG"
		t.failures++
	}
	fmt.Printf("  %s: %s\n", mark, fmt.Sprintf(format, args...))
}

// print shows the table. The times are those of whole commands, the client's
// start included.
func (t *tour) print() {
	fmt.Printf("\n── What was measured\n%-20s %10s   %s\n", "", "time", "bytes")
	for _, r := range t.rows {
		took := ""
		if r.took > 0 {
			took = fmt.Sprintf("%.0f ms", float64(r.took.Microseconds())/1000)
		}
		fmt.Println(strings.TrimRight(fmt.Sprintf("%-20s %10s   %s", r.what, took, r.bytes), " "))
	}
	if t.failures == 0 {
		fmt.Println("\nEverything was as it should be.")
	}
}

func mib(bytes int64) string { return fmt.Sprintf("%d MiB", bytes>>20) }

// image counts what lies on disk of the hibernated plugin.
func (h *host) image() (files int, bytes int64, err error) {
	dir := h.path("root", "images", callsign, "image")
	entries, err := os.ReadDir(dir)
	for _, entry := range entries {
		info, serr := os.Stat(filepath.Join(dir, entry.Name()))
		if serr != nil {
			return 0, 0, serr
		}
		files++
		bytes += info.Size()
	}
	return files, bytes, err
}

// available is the memory that could be used without swapping, in bytes, 0 when
// the system does not tell.
func available() int64 {
	text, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kib << 10
		}
	}
	return 0
}
