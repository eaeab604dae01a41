package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"dormouse/configs"
)

// hostile is what a plugin may say to command a terminal: an escape sequence, one in a single
// character, a deletion, an override of the direction, a return, a separator.
const hostile = "a\x1b[2J\u009b31m\x7f\u202eb\r\u2066\u061c\u2028ö\U0001f600"

const hostileShown = `a\u001b[2J\u009b31m\u007f\u202eb\u000d\u2066\u061c\u2028ö` + "\U0001f600"

func TestHarmless(t *testing.T) {
	for text, want := range map[string]string{
		"":               "",
		"plain\n\ttext ": "plain\n\ttext ",
		hostile:          hostileShown,
		"\x9b31m\xff":    "\ufffd31m\ufffd",
	} {
		if got := harmless(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	raw, err := json.Marshal(map[string]any{hostile: []any{hostile, 1.5}})
	if err != nil {
		t.Fatal(err)
	}
	var before, after any
	if err := json.Unmarshal(raw, &before); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(harmless(string(raw))), &after); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("the JSON became %#v, %v", after, err)
	}
}

// expectHarmless fails the test if a text could command a terminal.
func expectHarmless(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsFunc(text, isHarmful) {
		t.Errorf("it can command a terminal: %q", text)
	}
}

func TestTerminalIsHarmless(t *testing.T) {
	var out, err bytes.Buffer
	term := &terminal{out: &out, err: &err}
	term.printf("%s\n", hostile)
	term.printErrf("%s\n", hostile)
	if got := out.String() + err.String(); got != hostileShown+"\n"+hostileShown+"\n" {
		t.Errorf("it wrote %q", got)
	}
	err.Reset()
	if term.printErrf(clearLine+"%s", hostile); err.String() != clearLine+hostileShown {
		t.Errorf("after a cleared line it wrote %q", err.String())
	}
	result := json.RawMessage("{\r\n\"a\u009b\u202e\": \"\\r\"}")
	for _, isTerminal := range []bool{true, false} {
		out.Reset()
		term.outIsTerminal = isTerminal
		var value map[string]string
		if err := term.printResultJSON(result, new(outputFormat)); err != nil {
			t.Fatal(err)
		}
		expectHarmless(t, out.String())
		if err := json.Unmarshal(out.Bytes(), &value); err != nil || value["a\u009b\u202e"] != "\r" {
			t.Errorf("the result became %q: %v, %v", out.String(), value, err)
		}
	}
}

// What plugins write is harmless in the log that people read.
func TestLogIsHarmless(t *testing.T) {
	for _, format := range []string{"auto", "console", "json"} {
		var text bytes.Buffer
		log, err := newLog(&terminal{err: &text, errIsTerminal: true}, configs.Host{LogFormat: format, LogLevel: "info"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		log.Info().Str(hostile, hostile).AnErr("error", errReported).RawJSON("raw", []byte(`{"k\u009b":["\u202e"]}`)).Msg(hostile)
		colorless := strings.NewReplacer("\x1b[90m", "", "\x1b[0m", "", "\x1b[32m", "", "\x1b[36m", "", "\x1b[1m", "", "\x1b[31m", "").Replace(text.String())
		expectHarmless(t, colorless)
		if !strings.Contains(text.String(), `\u202eb`) && !strings.Contains(text.String(), `\\u202eb`) {
			t.Errorf("with %s it wrote %q", format, text.String())
		}
	}
}
