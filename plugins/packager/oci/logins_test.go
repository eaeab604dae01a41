package oci

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// Logins are found in the program that docker's file names for a registry, else in that for all,
// else in the file; each trouble of a program is told with what to do.
func TestLoginsOfHelpers(t *testing.T) {
	bin := t.TempDir()
	for name, script := range map[string]string{
		"all":   `[ "$1" = get ] && read -r host; [ "$host" = registry.example ] || { echo credentials not found in native keychain; exit 1; }; echo '{"ServerURL":"x","Username":"anna","Secret":"s"}'`,
		"token": `cat > /dev/null; echo '{"Username":"<token>","Secret":"t"}'`,
		"fails": `echo the key is locked; exit 1`,
		"mute":  `exit 3`,
		"odd":   `echo top secret`,
		"long":  `head -c 1000000 /dev/zero`,
		"slow":  `exec sleep 100`,
	} {
		if err := os.WriteFile(filepath.Join(bin, helperPrefix+name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil { //nolint:gosec // it is a program
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	file := filepath.Join(t.TempDir(), "config.json")
	text := `{
		"auths": {"file.example": {"auth": "YmVuOnA="}, "token.example": {"auth": "YmVuOnA="}},
		"credsStore": "all",
		"credHelpers": {"token.example": "token", "fails.example": "fails", "mute.example": "mute", "odd.example": "odd",
			"long.example": "long", "slow.example": "slow", "none.example": "none", "bad.example": "../bad"}
	}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openLogins(file)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]auth.Credential{
		"registry.example": {Username: "anna", Password: "s"},
		"file.example":     {Username: "ben", Password: "p"},
		"token.example":    {RefreshToken: "t"},
		"other.example":    {},
	} {
		if got, err := l.find(t.Context(), host); got != want || err != nil {
			t.Errorf("%s: %+v, %v", host, got, err)
		}
	}
	for host, want := range map[string]string{
		"fails.example": "it says: the key is locked",
		"mute.example":  "exit status 3",
		"odd.example":   "it printed no login",
		"long.example":  "it printed no login",
		"none.example":  "there is no such program in PATH of the host",
		"bad.example":   "that is not the name of a program",
	} {
		_, err := l.find(t.Context(), host)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", host, err, want)
		}
	}
	l.limit = 50 * time.Millisecond
	if _, err := l.find(t.Context(), "slow.example"); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no answer within 50ms") {
		t.Errorf("a slow one: %v", err)
	}
}
