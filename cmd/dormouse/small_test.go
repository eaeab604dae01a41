package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

func TestSocketsFit(t *testing.T) {
	plugins := []configs.Plugin{{Callsign: "A"}, {Callsign: "Counter"}}
	for length, want := range map[int]bool{13: true, 74: true, 75: false, 200: false} {
		if got := socketPathsFit(strings.Repeat("d", length), plugins); got != want {
			t.Errorf("a run directory of %d bytes: %v, want %v", length, got, want)
		}
	}
}

func TestShortRunDir(t *testing.T) {
	t.Setenv("TMPDIR", "/tmp")
	long := "/" + strings.Repeat("long/", 30)
	dir := shortRunDir(long)
	if dir != shortRunDir(long) || dir == shortRunDir(long+"x") {
		t.Errorf("%s must depend on the root and on nothing else", dir)
	}
	if !socketPathsFit(dir, []configs.Plugin{{Callsign: strings.Repeat("c", 40)}}) {
		t.Errorf("%s is too long", dir)
	}
}

func TestPrivateDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	if err := makePrivateDir(dir); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("it was made with %v, %v", info.Mode(), err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := makePrivateDir(dir); err == nil {
		t.Error("a directory that others may write was accepted")
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := makePrivateDir(link); err == nil {
		t.Error("a symbolic link was accepted")
	}
}

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

func TestWordsForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{formatAge(59 * time.Second), "59s"},
		{formatAge(61 * time.Minute), "1h"},
		{formatAge(47 * time.Hour), "47h"},
		{formatAge(72 * time.Hour), "3d"},
		{formatAge(-time.Second), "0s"},
		{formatSeconds(520 * time.Millisecond), "0.52 s"},
		{wordsOfPascal("InstantiationFailed"), "instantiation failed"},
		{reasonText("Failure", "a\nb"), "failure: a; b"},
		{truncate("abcdef", 4), "abc…"},
		{suggestion("Cuonter", []string{"Counter", "Echo"}), "; did you mean Counter?"},
		{suggestion("Xyz", []string{"Counter", "Echo"}), "; there are Counter, Echo"},
		{withoutVersion("org.rdk.X.1"), "org.rdk.X"},
		{withoutVersion("org.rdk.X"), "org.rdk.X"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// How much of a plugin's memory is there is told as long as it is not all of it.
func TestLoadingIsTold(t *testing.T) {
	loading := byteProgress{12 << 20, 64 << 20}
	for _, text := range []string{
		instanceRecord{PID: 1, Loading: loading}.details(),
		explanation{State: "activated", Loading: loading}.text(),
	} {
		if !strings.Contains(text, "12 of 64 MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
	for _, text := range []string{instanceRecord{PID: 1}.details(), explanation{State: "activated"}.text()} {
		if strings.Contains(text, "MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
}
