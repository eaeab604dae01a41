package output

import (
	"bufio"
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

func TestLogLine(t *testing.T) {
	for _, test := range []struct {
		line, want string
		words      string // what is remembered, if not the message
	}{
		{line: "hello", want: `{"level":"info","message":"hello"}`},
		{line: "", want: ""},
		{line: " indented", want: `{"level":"info","message":" indented"}`},
		{line: "a\tb", want: `{"level":"info","message":"a\tb"}`},

		{line: "[WARN]  it is late", want: `{"level":"warn","message":"it is late"}`},
		{line: "[INFO ] it is early", want: `{"level":"info","message":"it is early"}`},
		{line: "[error] no", want: `{"level":"error","message":"no"}`},
		{line: "[DEBUG] x=1", want: `{"level":"debug","message":"x=1"}`, words: "-"},
		{line: "[4711] worker started", want: `{"level":"info","message":"[4711] worker started"}`},
		{line: "[7]", want: `{"level":"info","message":"[7]"}`},
		{line: "[disabled] text", want: `{"level":"info","message":"[disabled] text"}`},
		{line: "[] text", want: `{"level":"info","message":"[] text"}`},
		{line: "[WARN", want: `{"level":"info","message":"[WARN"}`},
		{line: "[FATAL] the end", want: `{"level":"error","message":"the end"}`},
		{line: "[WARN]", want: ""},

		{line: "panic: unknown planet", want: `{"level":"error","message":"panic: unknown planet"}`},
		{line: "fatal error: out of memory", want: `{"level":"error","message":"fatal error: out of memory"}`},

		{line: `{"@level":"warn","@message":"hclog","@module":"m","@timestamp":"2026-11-22","n":1}`, want: `{"level":"warn","module":"m","n":1,"message":"hclog"}`},
		{line: `{"time":"2026-11-22","level":"ERROR","msg":"slog","err":{"code":5}}`, want: `{"level":"error","err":{"code":5},"message":"slog"}`},
		{line: `{"level":"debug","time":1,"message":"zerolog","big":12345678901234567890}`, want: `{"level":"debug","big":12345678901234567890,"message":"zerolog"}`, words: "-"},
		{line: `{"level":"panic","msg":"not ours"}`, want: `{"level":"error","message":"not ours"}`},
		{line: `{"level":"6","msg":"a number"}`, want: `{"level":"info","message":"a number"}`},
		{line: `{"level":7}`, want: `{"level":"info","message":"{\"level\":7}"}`},
		{line: `{"level":"nonsense","msg":"m"}`, want: `{"level":"info","message":"m"}`},
		{line: `{"level":"info"}`, want: `{"level":"info"}`, words: "-"},
		{line: `{"msg":"m","callsign":"Other","stream":"x"}`, want: `{"level":"info","message":"m"}`},
		{line: `{"value":1}`, want: `{"level":"info","message":"{\"value\":1}"}`},
		{line: `{"msg":"m"`, want: `{"level":"info","message":"{\"msg\":\"m\""}`},
		{line: `{"msg":"m"} {"msg":"n"}`, want: `{"level":"info","message":"{\"msg\":\"m\"} {\"msg\":\"n\"}"}`},
		{line: `{}`, want: `{"level":"info","message":"{}"}`},

		{line: `{"level":10,"time":1531171074631,"pid":657,"msg":"pino"}`, want: `{"level":"trace","pid":657,"message":"pino"}`, words: "-"},
		{line: `{"level":20,"msg":"pino"}`, want: `{"level":"debug","message":"pino"}`, words: "-"},
		{line: `{"level":30,"msg":"pino"}`, want: `{"level":"info","message":"pino"}`},
		{line: `{"level":35,"msg":"pino"}`, want: `{"level":"info","message":"pino"}`},
		{line: `{"level":40,"msg":"pino"}`, want: `{"level":"warn","message":"pino"}`},
		{line: `{"level":50,"msg":"pino"}`, want: `{"level":"error","message":"pino"}`},
		{line: `{"level":60,"msg":"pino"}`, want: `{"level":"error","message":"pino"}`},
		{line: `{"level":1e400,"msg":"pino"}`, want: `{"level":"info","message":"pino"}`},
		{line: `{"level":50}`, want: `{"level":"info","message":"{\"level\":50}"}`},

		{line: "<0>emergency", want: `{"level":"error","message":"emergency"}`},
		{line: "<1>alert", want: `{"level":"error","message":"alert"}`},
		{line: "<2>critical", want: `{"level":"error","message":"critical"}`},
		{line: "<3>error", want: `{"level":"error","message":"error"}`},
		{line: "<4> warning", want: `{"level":"warn","message":"warning"}`},
		{line: "<5>notice", want: `{"level":"info","message":"notice"}`},
		{line: "<6>info", want: `{"level":"info","message":"info"}`},
		{line: "<7>debug", want: `{"level":"debug","message":"debug"}`, words: "-"},
		{line: "<27>daemon's error", want: `{"level":"error","message":"daemon's error"}`},
		{line: "<192>text", want: `{"level":"info","message":"<192>text"}`},
		{line: "<3x>text", want: `{"level":"info","message":"<3x>text"}`},
		{line: "<b>text", want: `{"level":"info","message":"<b>text"}`},
		{line: "<3>", want: ""},

		{line: "E0102 15:04:05.000000   1 file.go:1] msg", want: `{"level":"error","caller":"file.go:1","message":"msg"}`},
		{line: "I0102 15:04:05.000000 4711 a/b-c.go:12] up", want: `{"level":"info","caller":"a/b-c.go:12","message":"up"}`},
		{line: "W20260102 15:04:05.000000 4711 glog.cc:12] year", want: `{"level":"warn","caller":"glog.cc:12","message":"year"}`},
		{line: "F0102 15:04:05.000000   1 file.go:1] end", want: `{"level":"error","caller":"file.go:1","message":"end"}`},
		{line: "D0102 15:04:05.000000   1 file.go:1] x", want: `{"level":"debug","caller":"file.go:1","message":"x"}`, words: "-"},
		{line: "E0102 is a room", want: `{"level":"info","message":"E0102 is a room"}`},
		{line: "X0102 15:04:05.000000   1 file.go:1] msg", want: `{"level":"info","message":"X0102 15:04:05.000000   1 file.go:1] msg"}`},

		{line: `level=error msg="no fuel left" tank=2`, want: `{"level":"error","tank":"2","message":"no fuel left"}`},
		{line: `time=2026-01-02T15:04:05Z level=WARN msg=slog a.b="x \"y\"" empty=`, want: `{"level":"warn","a.b":"x \"y\"","empty":"","message":"slog"}`},
		{line: `ts=1 lvl=debug msg="hidden"`, want: `{"level":"debug","message":"hidden"}`, words: "-"},
		{line: `level=error something went wrong`, want: `{"level":"error","message":"level=error something went wrong"}`},
		{line: `level=error msg="unfinished`, want: `{"level":"error","message":"level=error msg=\"unfinished"}`},
		{line: `level=high pressure=2`, want: `{"level":"info","message":"level=high pressure=2"}`},
		{line: `msg=hello`, want: `{"level":"info","message":"msg=hello"}`},
		{line: `the level=error is high`, want: `{"level":"info","message":"the level=error is high"}`},
		{line: `level=info msg="\x1b[31mred"`, want: `{"level":"info","message":"�[31mred"}`, words: "\x1b[31mred"},

		{line: "\x1b[31mred\x1b[0m", want: `{"level":"info","message":"�[31mred�[0m"}`, words: "\x1b[31mred\x1b[0m"},
		{line: "bad \xff utf8", want: `{"level":"info","message":"bad � utf8"}`, words: "bad \xff utf8"},
		{line: `{"msg":"\u001b[2J","\u001b[31mkey":1}`, want: `{"level":"info","�[31mkey":1,"message":"�[2J"}`, words: "\x1b[2J"},
	} {
		var out bytes.Buffer
		words := logLine(zerolog.New(&out), nil, test.line, false)
		if diff := cmp.Diff(test.want, strings.TrimSuffix(out.String(), "\n")); diff != "" {
			t.Errorf("%q (-want +got):\n%s", test.line, diff)
		}
		want := test.words
		if want == "" && out.Len() > 0 {
			var line struct{ Message string }
			if err := json.Unmarshal(out.Bytes(), &line); err != nil {
				t.Fatal(err)
			}
			want = line.Message
		}
		if words != strings.TrimPrefix(want, "-") {
			t.Errorf("%q: remembered is %q, want %q", test.line, words, want)
		}
	}
}

func TestLogLineCut(t *testing.T) {
	var out bytes.Buffer
	logLine(zerolog.New(&out), nil, "beginning", true)
	if want := `{"level":"info","truncated":true,"message":"beginning"}` + "\n"; out.String() != want {
		t.Errorf("got %s", out.String())
	}
}

func TestReadLine(t *testing.T) {
	type line struct {
		Text string
		Cut  bool
	}
	long := strings.Repeat("x", maxLine)
	for name, test := range map[string]struct {
		text string
		want []line
	}{
		"empty":             {"", nil},
		"lines":             {"a\nb\n", []line{{"a", false}, {"b", false}}},
		"last without end":  {"a\nb", []line{{"a", false}, {"b", false}}},
		"blank":             {"\n\n", []line{{"", false}, {"", false}}},
		"CRLF":              {"a\r\nb\r\n", []line{{"a", false}, {"b", false}}},
		"NUL":               {"a\x00b\n", []line{{"a\x00b", false}}},
		"as long as may be": {long[1:] + "\nb\n", []line{{long[1:], false}, {"b", false}}},
		"too long":          {long + "yyy\nb\n", []line{{long, true}, {"b", false}}},
		"much too long":     {strings.Repeat(long, 640) + "\nb", []line{{long, true}, {"b", false}}},
		"endless":           {strings.Repeat(long, 3), []line{{long, true}}},
	} {
		t.Run(name, func(t *testing.T) {
			r := bufio.NewReaderSize(strings.NewReader(test.text), maxLine)
			var got []line
			for {
				text, cut, err := readLine(r)
				if err != nil {
					break
				}
				got = append(got, line{text, cut})
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLineWriter(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	var out bytes.Buffer
	w := &lineLogger{log: zerolog.New(&out)}
	for _, part := range []string{"be", "gun\nand", "", " done\n", "[WARN] two\nlines\n", long, "yy\nrest"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Errorf("%q: %d, %v", part, n, err)
		}
	}
	want := []string{
		`{"level":"info","message":"begun"}`,
		`{"level":"info","message":"and done"}`,
		`{"level":"warn","message":"two"}`,
		`{"level":"info","message":"lines"}`,
		`{"level":"info","truncated":true,"message":"` + long + `"}`,
		"",
	}
	if diff := cmp.Diff(want, strings.Split(out.String(), "\n")); diff != "" {
		t.Error(diff)
	}
	for range 100 { // a line without an end takes no more than its beginning
		_, _ = w.Write([]byte(long))
	}
	if len(w.rest) > maxLine {
		t.Errorf("it keeps %d bytes", len(w.rest))
	}
}

// A line written in parts is one line of the tail; an unfinished one is none yet.
func TestLineWriterTail(t *testing.T) {
	var tail Tail
	w := &lineLogger{stream: "stdout", log: zerolog.Nop(), tail: &tail}
	for _, part := range []string{"one\ntw", "o\n", "three"} {
		if _, err := w.Write([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if lines := tail.Lines(); len(lines) != 2 || !strings.HasSuffix(lines[1], "stdout two") {
		t.Errorf("got %q", lines)
	}
	since := time.Now()
	if _, err := w.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if lines := tail.LinesSince(since); len(lines) != 1 || !strings.HasSuffix(lines[0], "stdout three") {
		t.Errorf("since then there are %q", lines)
	}
}

// Whatever a plugin writes is one line of the host's log, never above error, and
// nothing that a terminal would obey.
func FuzzLogLine(f *testing.F) {
	for _, line := range []string{
		"hello",
		"[WARN]  it is late",
		"[4711] worker",
		"panic: unknown planet",
		`{"@level":"warn","@message":"hclog","@module":"m","@timestamp":"2026-11-22","n":1}`,
		`{"level":"fatal","msg":"x","\u001b[31m":["\u009b",{"a":null}]}`,
		`{"msg":"m","message":"n"}`,
		"\x1b]0;title\x07",
		`{"level":50,"msg":"pino","time":1531171074631}`,
		"<3>an error", "<191>x", "<7>",
		"E0102 15:04:05.000000   1 file.go:1] msg",
		`time=2026-01-02 level=error msg="a \"b\"" k=v`,
		`level=warn msg=half of`,
		"bad \xff utf8\r",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		var out bytes.Buffer
		logLine(zerolog.New(&out), nil, line, false)
		if out.Len() == 0 {
			return
		}
		if strings.Count(out.String(), "\n") != 1 || !json.Valid(out.Bytes()) {
			t.Fatalf("got %q", out.String())
		}
		var parsed map[string]any
		if err := json.Unmarshal(out.Bytes(), &parsed); err != nil {
			t.Fatal(err)
		}
		level, err := zerolog.ParseLevel(parsed["level"].(string)) //nolint:errcheck // a panic fails the test too
		if err != nil || level > zerolog.ErrorLevel {
			t.Errorf("its level is %v: %v", level, err)
		}
		for key := range parsed {
			if strings.ContainsFunc(key, obeyed) {
				t.Errorf("it has the key %q", key)
			}
		}
		if message, ok := parsed["message"].(string); ok && strings.ContainsFunc(message, obeyed) {
			t.Errorf("it says %q", message)
		}
	})
}

// obeyed tells what a terminal takes for a command.
func obeyed(r rune) bool { return r != '\t' && unicode.IsControl(r) }
