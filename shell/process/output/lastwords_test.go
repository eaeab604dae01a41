package output

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// numbered returns the lines "line FROM" to "line TO".
func numbered(from, to int) (lines []string) {
	for i := from; i <= to; i++ {
		lines = append(lines, fmt.Sprintf("line %d", i))
	}
	return lines
}

// joined returns what is quoted of several lines.
func joined(lines ...string) string {
	return "its last words:\n  " + strings.Join(lines, "\n  ")
}

func TestLastWords(t *testing.T) {
	crash := []string{"panic: x", "goroutine 1 [running]:"}
	long := strings.Repeat("a", 9000)
	for name, test := range map[string]struct {
		lines []string
		want  string
	}{
		"none":       {nil, ""},
		"one":        {[]string{"a"}, `its last words: "a"`},
		"blank ones": {[]string{"a", "", "b"}, joined("a", "b")},
		"fifty":      {numbered(1, 50), joined(numbered(1, 50)...)},
		"many":       {numbered(1, 1000), joined(numbered(951, 1000)...)},
		"crash":      {append(numbered(1, 10), crash...), joined(append(numbered(1, 10), crash...)...)},
		"long crash": {append(append(numbered(1, 10), crash...), numbered(1, 900)...), joined(append(crash, numbered(1, 48)...)...)},
		"long line":  {[]string{long}, `its last words: "` + long[:maxWordBytes] + `"`},
		"long lines": {[]string{long, long, long, long, long, long, long, long, "b"}, joined(
			long[:512], long[:512], long[:512], long[:512], long[:512], long[:512], long[:512], "b")},
		"escapes": {[]string{"\x1b[2J", "\xff"}, joined("\ufffd[2J", "\ufffd")},
	} {
		t.Run(name, func(t *testing.T) {
			var w lastWords
			for _, line := range test.lines {
				w.addLine(line)
			}
			got := ""
			if err := w.quoteError(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// A panic that the program survives gives way to what it says later.
func TestLastWordsSurvivedPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w lastWords
		w.addLine("panic: x")
		<-time.After(maxCrashReportTime)
		for _, line := range numbered(1, 60) {
			w.addLine(line)
		}
		if got, want := w.quoteError().Error(), joined(numbered(11, 60)...); got != want {
			t.Errorf("got %s", got)
		}
	})
}

// The last words are those of both streams, and what go-plugin passes on; lines below info
// do not count.
func TestLastWordsOfStreams(t *testing.T) {
	s, err := OpenFilesOrPipes("", zerolog.Nop(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, write := range []func() error{
		func() error { _, err := fmt.Fprintln(s.NewLineLogger("stdout"), "passed on"); return err },
		func() error { _, err := fmt.Fprintln(s.stdout.write, "[DEBUG] x=1"); return err },
		func() error { _, err := fmt.Fprintln(s.stdout.write, "on stdout"); return err },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	s.StartReading(false)
	s.ReadRestAndClose()
	if got := s.LastWordsError().Error(); got != joined("passed on", "on stdout") {
		t.Errorf("got %s", got)
	}
}
