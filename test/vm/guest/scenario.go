package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	plugins  = 4
	patience = 2 * time.Minute
	config   = "/etc/dormouse.toml"
	root     = "/var/lib/dormouse"
)

// runScenario fills the memory of idle plugins, lets a program take more than is left, and
// reports whether the kernel killed anything and whether the plugins still have what they
// had.
func runScenario() error {
	if err := writeConfig(); err != nil {
		return err
	}
	// CRIU makes what Go programs only reserve writable for a moment, which is more than
	// this machine has.
	if err := os.WriteFile("/proc/sys/vm/overcommit_memory", []byte("1"), 0); err != nil {
		return err
	}
	host := exec.Command("/dormouse", "serve", "--config", config, "--root", root, "--listen", "127.0.0.1:0", "--log-format", "json")
	host.Stderr = os.Stdout
	if err := host.Start(); err != nil {
		return err
	}
	c, err := awaitHost()
	if err != nil {
		return err
	}
	digests := make(map[string]string)
	for i := range plugins {
		var filled struct{ SHA256 string }
		if err := c.call(callsign(i)+".fill", map[string]int{"mib": 40}, &filled); err != nil {
			return err
		}
		digests[callsign(i)] = filled.SHA256
	}
	said, err := runHog()
	if err != nil {
		return err
	}
	kept := 0
	for name, want := range digests {
		var got struct{ SHA256 string }
		if err := c.call(name+".digest", nil, &got); err != nil {
			return err
		}
		if got.SHA256 == want {
			kept++
		}
	}
	fmt.Printf("%shog %s, kills %s, kept %d of %d\n", Report, said, countOOMKills(), kept, plugins)
	return nil
}

func callsign(i int) string { return fmt.Sprintf("P%d", i) }

// writeConfig writes a configuration with idle plugins that may sleep.
func writeConfig() error {
	var text strings.Builder
	text.WriteString("[hibernate]\ncriu = \"/criu\"\npressure = \"on\"\npressure-some = \"20ms\"\npressure-window = \"500ms\"\n")
	for i := range plugins {
		fmt.Fprintf(&text, "[[plugin]]\ncallsign = %q\nexecutable = \"/counter\"\nstart-mode = \"activated\"\nresumed = false\non-call = \"wake\"\nmin-awake = \"100ms\"\ncall-timeout = \"2m\"\n", callsign(i))
	}
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	return os.WriteFile(config, []byte(text.String()), 0o600)
}

// runHog starts a program that takes memory and returns what it said when it had all, or how
// it ended.
func runHog() (said string, err error) {
	hog := exec.Command("/hog", "160", "4", pause())
	stdin, err := hog.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := hog.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := hog.Start(); err != nil {
		return "", err
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	_ = stdin.Close()
	if killed := hog.Wait(); killed != nil {
		line = killed.Error()
	}
	return strings.TrimSpace(line), nil
}

// pause returns how long the program waits after each piece of memory: the word "pause=" of
// the kernel's command line.
func pause() string {
	text, _ := os.ReadFile("/proc/cmdline")
	for word := range strings.FieldsSeq(string(text)) {
		if value, found := strings.CutPrefix(word, "pause="); found {
			return value
		}
	}
	return "20ms"
}

// countOOMKills returns how many processes the kernel has killed for want of memory.
func countOOMKills() string {
	text, _ := os.ReadFile("/proc/vmstat")
	for line := range strings.Lines(string(text)) {
		if n, found := strings.CutPrefix(line, "oom_kill "); found {
			return strings.TrimSpace(n)
		}
	}
	return "unknown"
}

// client calls methods of the host over JSON-RPC.
type client struct{ url string }

// awaitHost returns a client of the host once all plugins are active and CRIU is known to
// work.
func awaitHost() (*client, error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		address, err := os.ReadFile(root + "/address")
		if err != nil {
			continue
		}
		c := &client{"http://" + strings.TrimSpace(string(address)) + "/jsonrpc"}
		ready := true
		for i := range plugins {
			var value struct{ Value int }
			ready = ready && c.call(callsign(i)+".get", nil, &value) == nil
		}
		if ready {
			return c, nil
		}
	}
	return nil, errors.New("the host did not come up")
}

// call calls a method and decodes its result.
func (c *client) call(method string, params, result any) error {
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		return err
	}
	response, err := (&http.Client{Timeout: patience}).Post(c.url, "application/json", bytes.NewReader(request))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var answer struct{ Result, Error json.RawMessage }
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != nil {
		return fmt.Errorf("%s: %s", method, answer.Error)
	}
	return json.Unmarshal(answer.Result, result)
}
