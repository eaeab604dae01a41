package output

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// What was written before the deadline is read after it, and nothing else.
func TestPipeReader(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	text := strings.Repeat("line\n", 1000)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	d := &pipeReader{File: r}
	if err := d.SetReadDeadline(time.Now().Add(-time.Second)); err != nil {
		t.Fatal(err)
	}
	first := make([]byte, 10)
	if _, err := io.ReadFull(d, first); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "too late\n"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(d)
	if string(first)+string(rest) != text || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read %d bytes and then %v, want %d", len(first)+len(rest), err, len(text))
	}
}
