package faults

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// hindrance is what keeps the counter from waking for a while.
type hindrance struct {
	// plugin is what the plugin's shell script does before it runs the counter, in a directory
	// of its own, DIR.
	plugin string
	// put puts the obstacle there while the plugin sleeps, and returns what takes it away.
	put func(t *testing.T, dir string) (away func())
	// criu is what the shell script in the place of CRIU does while the obstacle is there.
	criu string
}

// hindrances are the causes of failed wakes that pass, by their names.
var hindrances = map[string]hindrance{
	"CRIU fails":                    {criu: "exit 1"},
	"CRIU is killed":                {criu: "kill -9 $$"},
	"CRIU has no memory":            {criu: "ulimit -v 20000"},
	"CRIU has no descriptors":       {criu: "ulimit -n 8"},
	"CRIU may not write files":      {criu: "ulimit -f 0"},
	"a file is gone":                {plugin: "exec 9>>DIR/log", put: removed("log")},
	"a directory is not there":      {plugin: "mkdir DIR/data; exec 9>>DIR/data/log", put: renamed("data")},
	"a file system is not mounted":  {plugin: "exec 9>>DIR/disk/log", put: unmounted},
	"a port is taken":               {plugin: listener, put: portTaken},
	"the working directory is gone": {plugin: "mkdir DIR/data; cd DIR/data", put: renamed("data")},
	"a FIFO is gone":                {plugin: "mkfifo DIR/fifo; exec 9<>DIR/fifo", put: renamed("fifo")},
}

// listener runs a program that listens on a port of the loopback interface, and writes its
// number to DIR/port.
const listener = "DIR/listener & while [ ! -e DIR/port ]; do sleep 0.02; done"

// listenerSource is the source of DIR/listener.
const listenerSource = `
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(void) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t size = sizeof at;
	int s = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(s, (struct sockaddr *)&at, size) || listen(s, 5) || getsockname(s, (struct sockaddr *)&at, &size))
		return 1;
	FILE *f = fopen("DIR/port.new", "w");
	fprintf(f, "%d", ntohs(at.sin_port));
	fclose(f);
	rename("DIR/port.new", "DIR/port");
	for (;;) pause();
}
`

// removed returns a put that removes a file, and makes it anew.
func removed(name string) func(t *testing.T, dir string) (away func()) {
	return func(t *testing.T, dir string) func() {
		t.Helper()
		path := filepath.Join(dir, name)
		must(t, os.Remove(path))
		return func() { write(t, path, nil) }
	}
}

// renamed returns a put that gives a file or directory another name.
func renamed(name string) func(t *testing.T, dir string) (away func()) {
	return func(t *testing.T, dir string) func() {
		t.Helper()
		path := filepath.Join(dir, name)
		must(t, os.Rename(path, path+".away"))
		return func() { must(t, os.Rename(path+".away", path)) }
	}
}

// unmounted unmounts the disk.
func unmounted(t *testing.T, dir string) func() {
	t.Helper()
	disk, elsewhere := filepath.Join(dir, "disk"), filepath.Join(dir, "elsewhere")
	must(t, os.Mkdir(elsewhere, 0o700))
	must(t, unix.Mount(disk, elsewhere, "", unix.MS_MOVE, ""))
	return func() { must(t, unix.Mount(elsewhere, disk, "", unix.MS_MOVE, "")) }
}

// portTaken listens on the plugin's port.
func portTaken(t *testing.T, dir string) func() {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:"+string(read(t, filepath.Join(dir, "port"))))
	must(t, err)
	return func() { must(t, l.Close()) }
}

// A wake that can't be for a cause that passes leaves the plugin asleep, with the reason; when
// the cause is gone the host wakes it by itself, as it was.
func TestWakeWaitsForWhatPasses(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for name, h := range hindrances {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			runBeside(t)
			testHindrance(t, h)
		})
	}
}

func testHindrance(t *testing.T, what hindrance) {
	t.Helper()
	dir := t.TempDir()
	hindered := filepath.Join(dir, "hindered")
	criu, program := filepath.Join(dir, "criu"), filepath.Join(dir, "program")
	write(t, criu, fmt.Appendf(nil, "#!/bin/sh\nif [ -e %s ]; then %s; fi\nexec %s \"$@\"\n", hindered, what.or("true"), realCRIU(t)))
	write(t, program, fmt.Appendf(nil, "#!/bin/sh\n%s\nexec %s/counter \"$@\"\n", strings.ReplaceAll(what.plugin, "DIR", dir), programs))
	must(t, os.Chmod(criu, 0o700))
	must(t, os.Chmod(program, 0o700))
	if what.plugin == listener {
		write(t, filepath.Join(dir, "listener.c"), []byte(strings.ReplaceAll(listenerSource, "DIR", dir)))
		if out, err := exec.Command("gcc", "-o", filepath.Join(dir, "listener"), filepath.Join(dir, "listener.c")).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if strings.Contains(what.plugin, "DIR/disk") {
		small(t, filepath.Join(dir, "disk"))
	}
	s := newSite(t, fmt.Sprintf("[hibernate]\ncriu = %q\n", criu), plugin("Counter", program, "configuration = { start = 41 }"))
	h := s.start("")
	h.settled()
	h.tried()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	away := func() { must(t, os.Remove(hindered)) }
	if what.criu != "" {
		write(t, hindered, nil)
	} else {
		away = what.put(t, dir)
	}
	err := h.ask("Controller.activate", callsign, nil)
	if err == nil || !strings.Contains(err.Error(), `"code":46`) || !strings.Contains(err.Error(), "retryAfterMs") || !strings.Contains(err.Error(), "cannot wake") {
		t.Errorf("got %v", err)
	}
	if st := h.status(); st.State != "hibernated" || !strings.Contains(st.Error, "cannot wake") {
		t.Errorf("it is %+v", st)
	}
	if err := h.ask("Counter.get", nil, nil); err == nil || !strings.Contains(err.Error(), `"code":46`) || !strings.Contains(err.Error(), "cannot wake") {
		t.Errorf("a call got %v", err)
	}
	audit(t, s, h, "hibernated")
	away()
	until(t, "the host to wake it", func() bool { return h.status().State == "suspended" })
	if got := h.count().Value; got != begin+1 {
		t.Errorf("it counts from %d", got)
	}
	h.end()
	s.inspect()
}

// or returns what hinders CRIU, or otherwise the default.
func (h hindrance) or(otherwise string) string {
	if h.criu == "" {
		return otherwise
	}
	return h.criu
}

// A host that is told to end twice in the middle of a wake leaves the plugin asleep for the
// next.
func TestEndedTwiceDuringWake(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	dir := t.TempDir()
	criu, hung := filepath.Join(dir, "criu"), filepath.Join(dir, "hung")
	write(t, criu, fmt.Appendf(nil, "#!/bin/sh\nif [ -e %[1]s ]; then touch %[1]s.now; sleep 60; fi\nexec %[2]s \"$@\"\n", hung, realCRIU(t)))
	must(t, os.Chmod(criu, 0o700))
	s := newSite(t, fmt.Sprintf("[hibernate]\ncriu = %q\n", criu), counter())
	h := s.start("")
	h.settled()
	h.tried()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	write(t, hung, nil)
	go func() { _ = h.ask("Controller.activate", callsign, nil) }()
	until(t, "CRIU to begin", func() bool { _, err := os.Stat(hung + ".now"); return err == nil })
	must(t, h.cmd.Process.Signal(syscall.SIGTERM))
	until(t, "the host to end", func() bool { // each more is as the second
		_ = h.cmd.Process.Signal(syscall.SIGTERM)
		return h.dead()
	})
	must(t, os.Remove(hung))
	h = s.start("")
	if st := h.settled(); st.State != "hibernated" {
		t.Errorf("it is %+v", st)
	}
	h.wakeInTime("Counter")
	awake(t, s, h, begin+1)
	h.end()
	s.inspect()
}

// The trial of CRIU may fail at the host's start: what sleeps is woken once CRIU works.
func TestTrialFailsAtStart(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	dir := t.TempDir()
	criu, broken := filepath.Join(dir, "criu"), filepath.Join(dir, "broken")
	write(t, criu, fmt.Appendf(nil, "#!/bin/sh\n[ ! -e %s ] || exit 1\nexec %s \"$@\"\n", broken, realCRIU(t)))
	must(t, os.Chmod(criu, 0o700))
	s := newSite(t, fmt.Sprintf("[hibernate]\ncriu = %q\n", criu), counter())
	h := s.start("")
	h.settled()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	h.end()
	for name, spoil := range map[string]func() (away func()){
		"broken": func() func() { write(t, broken, nil); return func() { must(t, os.Remove(broken)) } },
		"missing": func() func() {
			must(t, os.Rename(criu, criu+".away"))
			return func() { must(t, os.Rename(criu+".away", criu)) }
		},
	} {
		away := spoil()
		h = s.start("")
		h.ready()
		h.refuses("Controller.activate", "hibernation is not available")
		if st := h.status(); st.State != "hibernated" {
			t.Errorf("%s: it is %+v", name, st)
		}
		away()
		until(t, "the host to wake it", func() bool { return h.status().State == "suspended" })
		awake(t, s, h, begin+1)
		h.hibernate("Counter")
		h.end()
	}
	s.inspect()
}

// A plugin with more open files than the host's soft limit wakes.
func TestManyOpenFiles(t *testing.T) {
	needCRIU(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	write(t, program, fmt.Appendf(nil, `#!/bin/sh
ulimit -Sn 4096
python3 -c '
import os, signal
files = [open("%[1]s/file") for _ in range(3000)]
os.rename("%[1]s/file", "%[1]s/opened")
os.rename("%[1]s/opened", "%[1]s/file")
open("%[1]s/done", "w")
signal.pause()
' </dev/null >/dev/null 2>&1 &
while [ ! -e %[1]s/done ]; do sleep 0.02; done
exec %[2]s/counter "$@"
`, dir, programs))
	must(t, os.Chmod(program, 0o700))
	write(t, filepath.Join(dir, "file"), nil)
	s := newSite(t, "", plugin("Counter", program, "configuration = { start = 41 }"))
	limited := filepath.Join(dir, "dormouse")
	write(t, limited, fmt.Appendf(nil, "#!/bin/sh\nulimit -Sn 1024\nexec %s \"$@\"\n", s.program))
	must(t, os.Chmod(limited, 0o700))
	s.program = limited
	h := s.start("")
	h.settled()
	h.must("Counter.increment", nil, nil)
	h.hibernate("Counter")
	h.must("Controller.activate", callsign, nil)
	if got := h.count().Value; got != begin+1 {
		t.Errorf("it counts from %d", got)
	}
	h.end()
	s.inspect()
}

// A log that is rotated while the plugin sleeps, or cut short, is no hindrance.
func TestLogRotatedDuringSleep(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for name, rotate := range map[string]func(t *testing.T, log string){
		"renamed and made anew": func(t *testing.T, log string) {
			t.Helper()
			must(t, os.Rename(log, log+".1"))
			write(t, log, nil)
		},
		"copied and truncated": func(t *testing.T, log string) {
			t.Helper()
			must(t, os.Truncate(log, 0))
		},
	} {
		for _, mode := range []string{">>", ">"} {
			t.Run(strings.ReplaceAll(name, " ", "-")+mode, func(t *testing.T) {
				runBeside(t)
				dir := t.TempDir()
				program, log := filepath.Join(dir, "program"), filepath.Join(dir, "log")
				write(t, program, fmt.Appendf(nil, "#!/bin/sh\nexec 9%s%s\necho begun >&9\nexec %s/counter \"$@\"\n", mode, log, programs))
				must(t, os.Chmod(program, 0o700))
				s := newSite(t, "", plugin("Counter", program, "configuration = { start = 41 }"))
				h := s.start("")
				h.settled()
				h.must("Counter.increment", nil, nil)
				h.hibernate("Counter")
				rotate(t, log)
				h.must("Controller.activate", callsign, nil)
				awake(t, s, h, begin+1)
				h.end()
				s.inspect()
			})
		}
	}
}
