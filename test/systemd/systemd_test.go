package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// TestService leads the shipped units through all that is promised of them.
func TestService(t *testing.T) {
	if os.Getenv(insideName) == "" {
		boot(t)
		return
	}
	if _, err := os.Stat(filepath.Join(lab, bootedName)); err == nil {
		t.Run("after the reboot", afterReboot)
		return
	}
	t.Run("adopt", func(t *testing.T) {
		configure(t, "adopt")
		install(t, "dormouse.service")
		systemctl(t, "start", service)
		t.Run("sleep", sleep)
		t.Run("restart", restart)
		t.Run("killed", killed)
		t.Run("upgrade", upgrade)
		t.Run("reload", reload)
		t.Run("stuck", stuck)
		t.Run("given up", givenUp)
		t.Run("stop", stop)
	})
	t.Run("socket", activatedBySocket)
	t.Run("logs", logs)
	t.Run("confined", confined)
	t.Run("other mounts", otherMounts)
	t.Run("packages", packages)
	if !t.Failed() { // or what comes would hide it
		t.Run("before the reboot", beforeReboot)
	}
}

// What the unit forbids does not keep a plugin from sleeping.
func sleep(t *testing.T) {
	expectProperty(t, "ActiveState", "active")
	for _, callsign := range []string{"Awake", "Asleep"} {
		if callsign == "Asleep" {
			operate(t, "activate", callsign)
		}
		for range 3 {
			must(t, callsign+".increment", nil, nil)
		}
		operate(t, "hibernate", callsign)
		if st := look(t, callsign); st.State != "hibernated" || st.PID != 0 {
			t.Errorf("it is %+v", st)
		}
	}
	operate(t, "activate", "Awake")
	if got := count(t, "Awake").Value; got != 3 {
		t.Errorf("it woke with %d", got)
	}
}

// A restart keeps running and sleeping plugins, and refuses no client.
func restart(t *testing.T) {
	host, pid, value := mainPID(t), look(t, "Awake").PID, count(t, "Awake").Value
	expectProperty(t, "NFileDescriptorStore", "3") // JSON-RPC, control and communicator
	c := call(t)
	systemctl(t, "restart", service)
	answered, failed := c.end()
	if len(failed) > 0 {
		t.Errorf("calls failed: %v", failed)
	}
	if now := mainPID(t); now == host {
		t.Errorf("the host is still process %d", now)
	}
	expect(t, pid, value+answered)
	expectProperty(t, "NFileDescriptorStore", "3") // JSON-RPC, control and communicator
	if st := look(t, "Asleep"); st.State != "hibernated" || st.ClassName == "" {
		t.Errorf("what slept is %+v", st)
	}
	operate(t, "activate", "Asleep")
	if got := count(t, "Asleep").Value; got != 3 {
		t.Errorf("what slept counts %d", got)
	}
	operate(t, "hibernate", "Asleep")
	operate(t, "hibernate", "Awake") // as an adopted one
	operate(t, "activate", "Awake")
}

// A host that is killed is started again, and clients wait for it.
func killed(t *testing.T) {
	pid, value := look(t, "Awake").PID, count(t, "Awake").Value
	c := call(t)
	if err := syscall.Kill(mainPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the next host", func() bool { return property(t, "NRestarts") == "1" && property(t, "ActiveState") == "active" })
	answered, failed := c.end()
	if len(failed) > 1 { // the one that was under way
		t.Errorf("calls failed: %v", failed)
	}
	got := count(t, "Awake").Value
	if got < value+answered || got > value+answered+len(failed) {
		t.Errorf("it counts %d after %d, %d calls were answered and %d not", got, value, answered, len(failed))
	}
	expect(t, pid, got)
}

// The program is replaced in the same process.
func upgrade(t *testing.T) {
	host, pid, value := mainPID(t), look(t, "Awake").PID, count(t, "Awake").Value
	old := program(t, host)
	if err := copyFile(lab+"/bin/dormouse", lab+"/bin/dormouse"); err != nil {
		t.Fatal(err)
	}
	c := call(t)
	systemctl(t, "kill", "--kill-whom=main", "--signal=USR2", service)
	until(t, "the new program", func() bool { return program(t, host) != old })
	answered, failed := c.end()
	if len(failed) > 0 {
		t.Errorf("calls failed: %v", failed)
	}
	ready(t)
	expect(t, pid, value+answered)
	expectProperty(t, "MainPID", strconv.Itoa(host))
	expectProperty(t, "NRestarts", "1")
	expectProperty(t, "NFileDescriptorStore", "3") // JSON-RPC, control and communicator
}

// program is the file that a process executes.
func program(t *testing.T, pid int) uint64 {
	t.Helper()
	info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid), "exe"))
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Ino //nolint:errcheck // Linux has no other
}

func reload(t *testing.T) {
	host, pid := mainPID(t), look(t, "Awake").PID
	configure(t, "adopt", "[[plugin]]\ncallsign = \"More\"\nexecutable = \"/lab/bin/counter\"\nstart-mode = \"activated\"\n")
	systemctl(t, "reload", service)
	count(t, "More") // the reload is over

	bad := "/etc/dormouse/plugins.d/bad.toml"
	if err := os.MkdirAll(filepath.Dir(bad), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(bad, []byte("[[plugin]]\ncallsign = \"Bad\"\norde = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("systemctl", "reload", service).CombinedOutput(); err == nil {
		t.Errorf("a reload of a bad drop-in succeeds: %s", out)
	}
	if why := "dormouse: cannot reload: the configuration stays as it was"; !strings.Contains(journal(t), why) || !strings.Contains(journal(t), bad+":3: ") {
		t.Errorf("the journal does not say why: %s", journal(t))
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "reload", service)
	if now, still := mainPID(t), look(t, "Awake").PID; now != host || still != pid {
		t.Errorf("the host is %d instead of %d, the plugin %d instead of %d", now, host, still, pid)
	}
}

// A host that does not work any more is ended, and the next one adopts.
func stuck(t *testing.T) {
	install(t, "dormouse.service", "WatchdogSec=1min", "WatchdogSec=3s")
	systemctl(t, "restart", service)
	host, pid, value := mainPID(t), look(t, "Awake").PID, count(t, "Awake").Value
	if err := syscall.Kill(host, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(t, "the next host", func() bool { return mainPID(t) != host && property(t, "ActiveState") == "active" })
	expect(t, pid, value)
	if !strings.Contains(journal(t), "Watchdog timeout") {
		t.Error("it was not the watchdog that ended the host")
	}
	install(t, "dormouse.service")
	systemctl(t, "restart", service)
}

// A service that is stopped between two hosts leaves the plugins that it would adopt;
// they can be ended without a host.
func givenUp(t *testing.T) {
	install(t, "dormouse.service", "RestartSec=100ms", "RestartSec=1h")
	pid := look(t, "Awake").PID
	if err := syscall.Kill(mainPID(t), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the host", func() bool { return property(t, "SubState") == "auto-restart" })
	systemctl(t, "stop", service)
	if err := syscall.Kill(pid, 0); err != nil {
		t.Errorf("the plugin: %v", err)
	}
	systemctl(t, "kill", "--signal=KILL", service)
	until(t, "the end of the plugin", func() bool { return len(ours(t)) == 0 })
	install(t, "dormouse.service")
	systemctl(t, "start", service)
}

// A stop leaves what sleeps, and nothing else.
func stop(t *testing.T) {
	group := filepath.Join("/sys/fs/cgroup", property(t, "ControlGroup"))
	systemctl(t, "stop", service)
	expectProperty(t, "Result", "success")
	expectProperty(t, "NFileDescriptorStore", "0")
	if _, err := os.Stat(group); !os.IsNotExist(err) {
		t.Errorf("the cgroup is left: %v", err)
	}
	if left := ours(t); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
	if left := entries(t, "/run/dormouse"); !slices.Equal(left, []string{"Asleep"}) {
		t.Errorf("the run directory has %q", left)
	}
	if listens() {
		t.Error("a process still listens")
	}
	systemctl(t, "start", service)
	if st := look(t, "Asleep"); st.State != "hibernated" {
		t.Errorf("what slept is %+v", st)
	}
	operate(t, "deactivate", "Asleep")
	systemctl(t, "stop", service)
}

// ours are the command lines of the host, the plugins and what they need.
func ours(t *testing.T) (lines []string) {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		line, _ := os.ReadFile(path)
		if text := strings.ReplaceAll(string(line), "\x00", " "); strings.Contains(text, lab+"/bin/") || strings.Contains(text, "criu") {
			lines = append(lines, text)
		}
	}
	return lines
}

func entries(t *testing.T, dir string) (names []string) {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		names = append(names, e.Name())
	}
	return names
}

// The first client starts the host, and none is turned away while that is replaced.
func activatedBySocket(t *testing.T) {
	configure(t, "adopt")
	install(t, "dormouse.socket")
	systemctl(t, "start", "dormouse.socket")
	expectProperty(t, "ActiveState", "inactive")
	count(t, "Awake") // which the host has not started yet
	ready(t)
	host := mainPID(t)
	old := program(t, host)
	expectProperty(t, "NFileDescriptorStore", "2") // the unix sockets

	c := call(t)
	if err := copyFile(lab+"/bin/dormouse", lab+"/bin/dormouse"); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "kill", "--kill-whom=main", "--signal=USR2", service)
	until(t, "the new program", func() bool { return program(t, host) != old })
	c.more()
	ready(t)
	systemctl(t, "restart", service)
	if _, failed := c.end(); len(failed) > 0 {
		t.Errorf("calls failed: %v", failed)
	}
	systemctl(t, "stop", service)
	if !listens() {
		t.Error("no process listens for the next client")
	}
	ready(t)
	systemctl(t, "stop", "dormouse.socket", service)
	if listens() {
		t.Error("a process still listens")
	}
}

// The lines of the host and of plugins are found in the journal by their fields.
func logs(t *testing.T) {
	configure(t, "stop", `
[[plugin]]
callsign = "Faulty"
executable = "/bin/sh"
arguments = ["-c", "echo '<3>no fuel' >&2; echo 'level=warn msg=low tank=2' >&2; exit 1"]
`)
	install(t, "dormouse.service")
	systemctl(t, "start", service)
	if err := ask("Controller.activate", map[string]string{"callsign": "Faulty"}, nil); !errors.Is(err, errRefused) {
		t.Errorf("got %v", err)
	}
	operate(t, "hibernate", "Awake")
	operate(t, "deactivate", "Awake")
	systemctl(t, "stop", service)
	for _, test := range []struct {
		fields []string
		want   map[string]string // fields of one of the entries
	}{
		{[]string{"CALLSIGN=Faulty", "PRIORITY=3", "DORMOUSE_STREAM=stderr"}, map[string]string{"MESSAGE": "Faulty: no fuel probe=true stream=stderr", "SYSLOG_IDENTIFIER": "dormouse"}},
		{[]string{"CALLSIGN=Faulty", "PRIORITY=4", "DORMOUSE_TANK=2"}, map[string]string{"MESSAGE": "Faulty: low probe=true stream=stderr tank=2"}},
		{[]string{"CALLSIGN=Faulty", "PRIORITY=3", "DORMOUSE_FROM=activation"}, map[string]string{"DORMOUSE_REASON": "instantiation failed"}},
		{[]string{"CALLSIGN=Awake", "PRIORITY=6"}, map[string]string{"MESSAGE": "Awake: hibernated from=hibernating reason=requested"}},
		{[]string{"PRIORITY=6", "SYSLOG_IDENTIFIER=dormouse"}, map[string]string{"MESSAGE": "ended"}},
	} {
		until(t, fmt.Sprintf("an entry %v with %v", test.fields, test.want), func() bool {
			return slices.ContainsFunc(entriesWith(t, test.fields...), func(e map[string]any) bool {
				for name, value := range test.want {
					if e[name] != value {
						return false
					}
				}
				return true
			})
		})
	}
}

// All that the unit offers for on-host-exit = "stop", the key of images too, is
// compatible with a sleep that outlives the host.
func confined(t *testing.T) {
	configure(t, "stop", "[hibernate]\nencrypt = true\n")
	if err := os.WriteFile("/etc/dormouse/image.key", bytes.Repeat([]byte{7}, 32), 0o600); err != nil {
		t.Fatal(err)
	}
	install(t, "dormouse.service", "#Private", "Private", "#Protect", "Protect", "#LoadCredential", "LoadCredential")
	systemctl(t, "start", service)
	expectProperty(t, "ProtectSystem", "strict")
	operate(t, "activate", "Asleep")
	for _, callsign := range []string{"Awake", "Asleep"} {
		must(t, callsign+".increment", nil, nil)
		operate(t, "hibernate", callsign)
	}
	operate(t, "activate", "Awake")
	pid := look(t, "Awake").PID
	systemctl(t, "restart", service)
	if now := look(t, "Awake").PID; now == pid || now == 0 {
		t.Errorf("it was process %d and is %d", pid, now)
	}
	operate(t, "activate", "Asleep")
	if got := count(t, "Asleep").Value; got != 1 {
		t.Errorf("it woke with %d", got)
	}
	systemctl(t, "stop", service)
	if left := ours(t); len(left) > 0 {
		t.Errorf("processes are left: %q", left)
	}
}

// A plugin that was adopted from a host with other mounts can't be dumped, and that is
// said.
func otherMounts(t *testing.T) {
	configure(t, "adopt")
	install(t, "dormouse.service", "#PrivateTmp", "PrivateTmp")
	systemctl(t, "start", service)
	pid := look(t, "Awake").PID
	systemctl(t, "restart", service)
	expect(t, pid, 0)
	err := ask("Controller.hibernate", map[string]string{"callsign": "Awake"}, nil)
	if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "has other mounts than the host") {
		t.Errorf("got %v", err)
	}
	operate(t, "deactivate", "Awake")
	operate(t, "activate", "Awake")
	operate(t, "hibernate", "Awake")
	operate(t, "deactivate", "Awake")
	systemctl(t, "stop", service)
}

// beforeReboot leaves one instance asleep and one awake, and does not return.
func beforeReboot(t *testing.T) {
	configure(t, "adopt")
	install(t, "dormouse.service")
	systemctl(t, "start", service)
	operate(t, "activate", "Asleep")
	for range 5 {
		must(t, "Asleep.increment", nil, nil)
	}
	operate(t, "hibernate", "Asleep")
	if err := os.WriteFile(filepath.Join(lab, bootedName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	systemctl(t, "--no-block", "reboot")
	select {} // until the shutdown
}

// Another boot changes nothing for what sleeps. What was awake begins anew.
func afterReboot(t *testing.T) {
	configure(t, "adopt")
	install(t, "dormouse.service")
	systemctl(t, "start", service)
	if st := look(t, "Asleep"); st.State != "hibernated" || st.Error != "" {
		t.Errorf("it is %+v", st)
	}
	operate(t, "activate", "Asleep")
	if st := look(t, "Asleep"); st.Error != "" {
		t.Errorf("it woke with %q", st.Error)
	}
	if got := count(t, "Asleep").Value; got != 5 {
		t.Errorf("it woke with %d", got)
	}
	if got := count(t, "Awake").Value; got != 0 {
		t.Errorf("what was awake counts %d", got)
	}
	systemctl(t, "stop", service)
}
