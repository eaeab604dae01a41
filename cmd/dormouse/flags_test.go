package main

import (
	"flag"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseFlags(t *testing.T) {
	for _, c := range []struct {
		line, want, host string
	}{
		{"a b", "a b", ""},
		{"--host x a b", "a b", "x"},
		{"a --host x b", "a b", "x"},
		{"a b --host=x", "a b", "x"},
		{"a -- --host x", "a --host x", ""},
		{"--host x -- -", "-", "x"},
		{"a -", "a -", ""},
	} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		host := flags.String("host", "", "")
		got, err := parseFlags(flags, strings.Fields(c.line))
		if diff := cmp.Diff(strings.Fields(c.want), got); diff != "" || *host != c.host || err != nil {
			t.Errorf("%q: host %q, error %v, arguments (-want +got):\n%s", c.line, *host, err, diff)
		}
	}
}
