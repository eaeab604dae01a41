package ocitest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

// debianProgram is Debian's registry, which .ci/setup-test fetches.
const debianProgram = "/usr/local/lib/dormouse/registry/docker-registry"

// listening finds the address in the registry's log.
var listening = regexp.MustCompile(`listening on (127\.0\.0\.1:\d+)`)

// StartDebian starts Debian's registry on a loopback address, with its files in dir, and
// returns its name in references. more is added to its configuration.
func StartDebian(t *testing.T, dir, address, more string) (host string, kill func()) {
	t.Helper()
	if _, err := os.Stat(debianProgram); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("make setup-test installs a registry: %w", err))
	}
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp: {addr: %s}\n%s", dir, address, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), debianProgram, "serve", config)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	found, gone := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(gone)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if m := listening.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
			}
		}
		_ = cmd.Wait()
	}()
	kill = func() {
		_ = cmd.Process.Kill()
		<-gone
	}
	t.Cleanup(kill)
	select {
	case host = <-found:
	case <-gone:
		t.Fatal("the registry has ended")
	}
	return host, kill
}

// Passwords writes a file of htpasswd with one user, and returns what a registry's
// configuration says of it.
func Passwords(t *testing.T, dir, user, password string) (config string) {
	t.Helper()
	file := filepath.Join(dir, "htpasswd")
	if out, err := exec.CommandContext(t.Context(), "htpasswd", "-Bbc", file, user, password).CombinedOutput(); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("make setup-test installs htpasswd: %w: %s", err, out))
	}
	return "auth: {htpasswd: {realm: here, path: " + file + "}}\n"
}
