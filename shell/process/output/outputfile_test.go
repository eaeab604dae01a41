package output

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A line is read as soon as it is written, once, whoever reads; what was read
// takes no space.
func TestOutputFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stdout")
	s, w, err := openOutputFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReaderSize(s, maxLine)
	line := strings.Repeat("x", 1000)
	for i := range 5000 {
		if _, err := fmt.Fprintf(w, "%d %s\n", i, line); err != nil {
			t.Fatal(err)
		}
		if got, err := lines.ReadString('\n'); err != nil || got != fmt.Sprintf("%d %s\n", i, line) {
			t.Fatalf("line %d is %.20q, %v", i, got, err)
		}
	}
	if err := s.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if got, err := lines.ReadString('\n'); err == nil {
		t.Errorf("without a writer %q was read", got)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Blocks*512 > 2*maxReadBytesKept {
		t.Errorf("it takes %+v", st)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := fmt.Fprintln(w, "between two readers"); err != nil {
		t.Fatal(err)
	}
	s, second, err := openOutputFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(s).ReadString('\n'); err != nil || got != "between two readers\n" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, c := range []interface{ Close() error }{s, w, second} {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
