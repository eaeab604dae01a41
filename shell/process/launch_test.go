package process

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// A program that can't become a plugin is refused within the deadline, with a
// reason that helps, and leaves nothing.
func TestLaunchRefuses(t *testing.T) {
	files := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(files, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign, err := os.ReadFile("../../internal/native/pidone_" + map[string]string{"amd64": "arm64", "arm64": "amd64"}[arch] + ".elf")
	if err != nil {
		t.Fatal(err)
	}
	const quick, never = patience, 300 * time.Millisecond
	for name, test := range map[string]struct {
		executable string   // or
		arguments  []string // of the rogue
		limit      time.Duration
		want       []string
	}{
		"missing":              {executable: filepath.Join(files, "none"), limit: quick, want: []string{filepath.Join(files, "none"), "does not exist"}},
		"missing in PATH":      {executable: "no-such-plugin", limit: quick, want: []string{"no-such-plugin", "PATH"}},
		"below a file":         {executable: write("file", "", 0o644) + "/plugin", limit: quick, want: []string{"not a directory"}},
		"not executable":       {executable: write("plain", "", 0o644), limit: quick, want: []string{"not executable", "chmod +x"}},
		"directory":            {executable: files, limit: quick, want: []string{"not a file that can be executed"}},
		"other processor":      {executable: write("foreign", string(foreign), 0o755), limit: quick, want: []string{"another processor", "exec format error"}},
		"text without shebang": {executable: write("text", "echo hello\n", 0o755), limit: quick, want: []string{"is not a program", "exec format error"}},
		"interpreter missing":  {executable: write("script", "#!/no/such/interpreter\n", 0o755), limit: quick, want: []string{"interpreter", "missing"}},
		"empty":                {executable: write("empty", "", 0o755), limit: quick, want: []string{"is not a program"}},
		"no plugin":            {executable: "/bin/true", limit: quick, want: []string{"exited with status 0"}},
		"prints and ends":      {executable: "/bin/uname", limit: quick, want: []string{"Linux"}},

		"exits at once":               {arguments: []string{"exit"}, limit: quick, want: []string{"exited with status 3", "reading my data", "cannot find my data"}},
		"hangs before the handshake":  {arguments: []string{"hang"}, limit: never, want: []string{"no line", "no answer in time"}},
		"closes stdout":               {arguments: []string{"closed-stdout"}, limit: never, want: []string{"no line", "no answer in time"}},
		"garbage":                     {arguments: []string{"say", "Hello \x1b[31mworld"}, limit: quick, want: []string{`"Hello \x1b[31mworld"`}},
		"empty line":                  {arguments: []string{"say", ""}, limit: quick, want: []string{`it wrote ""`}},
		"endless line":                {arguments: []string{"long-line"}, limit: never, want: []string{"no line", "no answer in time"}},
		"endless line, then the end":  {arguments: []string{"endless-line-end"}, limit: quick, want: []string{`it wrote "\x00`}},
		"other core protocol":         {arguments: []string{"say", "2|1|unix|DIR/s|grpc"}, limit: quick, want: []string{`version "2" of go-plugin's handshake`, "speaks 1"}},
		"other protocol version":      {arguments: []string{"say", "1|7|unix|DIR/s|grpc"}, limit: quick, want: []string{`version "7" of the plugin protocol`, "speaks 1"}},
		"TCP":                         {arguments: []string{"say", "1|1|tcp|127.0.0.1:22|grpc"}, limit: quick, want: []string{`"tcp"`, "unix socket"}},
		"netrpc":                      {arguments: []string{"say", "1|1|unix|DIR/s|netrpc"}, limit: quick, want: []string{`"netrpc"`, "must be grpc"}},
		"certificate":                 {arguments: []string{"say", "1|1|unix|DIR/s|grpc|MIIB"}, limit: quick, want: []string{"TLS"}},
		"socket elsewhere":            {arguments: []string{"say", "1|1|unix|/run/other.sock|grpc"}, limit: quick, want: []string{"/run/other.sock", "PLUGIN_UNIX_SOCKET_DIR"}},
		"socket missing":              {arguments: []string{"say", "1|1|unix|DIR/s|grpc"}, limit: quick, want: []string{"no such file"}},
		"never accepts":               {arguments: []string{"mute"}, limit: never, want: []string{"no answer in time"}},
		"never tells its information": {arguments: []string{"no-information"}, limit: never, want: []string{"information", "no answer in time"}},
		"tells too much":              {arguments: []string{"long-information"}, limit: quick, want: []string{"60000 preconditions", "at most 256"}},
		"crashes when asked":          {arguments: []string{"panic-at-once"}, limit: quick, want: []string{"exited with status 2", "there is nothing to say"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := rogue(test.arguments...)
			if test.executable != "" {
				c.Executable = test.executable
			}
			r := newRig(t, c)
			begun := time.Now()
			_, err := r.Launch(r.contextFor(test.limit))
			if !errors.Is(err, shell.ErrInstantiation) || !containsAll(err.Error(), test.want) {
				t.Errorf("got %v, want ErrInstantiation and %q", err, test.want)
			}
			if took := time.Since(begun); test.limit == never && (took < never || took > never+5*time.Second) {
				t.Errorf("it took %v, allowed were %v", took, never)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("the reason has %d bytes", len(err.Error()))
			}
		})
	}
}

// What fails before there is a process leaves nothing either.
func TestLaunchWithoutPidone(t *testing.T) {
	r := newRig(t, rogue())
	h := r.host
	h.Pidone = filepath.Join(r.dir, "none")
	r.useHost(h)
	if _, err := r.Launch(r.contextFor(patience)); !errors.Is(err, shell.ErrInstantiation) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestLaunchAgain(t *testing.T) {
	r := newRig(t, rogue())
	for range 3 {
		r.activate()
		if got := call[string](r, "ping", ""); got != "pong" {
			t.Errorf("got %q", got)
		}
		if err := r.Stop(r.contextFor(patience)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestInformation(t *testing.T) {
	r := newRig(t, counter())
	info, err := r.Launch(r.contextFor(patience))
	if err != nil {
		t.Fatal(err)
	}
	if info.StateControl == nil {
		t.Error("the counter has state control")
	}
	info.StateControl = nil
	want := shell.Information{Class: "counter", Description: "counts, fills memory and keeps child processes", Version: shell.Version{Major: 1}, Services: info.Services}
	if !slices.Contains(info.Services, shellpb.HooksService) || len(info.Services) != 3 {
		t.Errorf("it serves %q", info.Services)
	}
	if diff := cmp.Diff(want, info); diff != "" {
		t.Error(diff)
	}
}

func TestInitializeRefuses(t *testing.T) {
	for name, test := range map[string]struct {
		limit time.Duration
		want  []string
	}{
		"refuse":              {patience, []string{"the license has run out"}},
		"no-initialize":       {300 * time.Millisecond, []string{"no answer in time"}},
		"panic-in-initialize": {patience, []string{"exited with status 2", "unknown planet"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rogue(name))
			if _, err := r.Launch(r.contextFor(patience)); err != nil {
				t.Fatal(err)
			}
			err := r.Initialize(r.contextFor(test.limit))
			if !errors.Is(err, shell.ErrInitialization) || !containsAll(err.Error(), test.want) {
				t.Errorf("got %v, want ErrInitialization and %q", err, test.want)
			}
		})
	}
}

// An orphan that the plugin had before its handshake is not taken for it.
func TestProgramAmongOrphans(t *testing.T) {
	r := newRig(t, rogue("orphans-first"))
	r.activate()
	program := r.ProcessFigures().PID
	if command, err := os.ReadFile(filepath.Join("/proc", itoa(program), "cmdline")); err != nil || !strings.HasSuffix(string(command), "\x00orphans-first\x00") {
		t.Errorf("process %d runs %q: %v", program, command, err)
	}
	if r.ProcessFigures().Memory == 0 {
		t.Error("it needs no memory")
	}
}

// Whoever listens on the socket must be of the plugin's tree.
func TestPeerIsThePlugin(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	address := &net.UnixAddr{Name: filepath.Join(r.dir, "other"), Net: "unix"}
	other, err := net.ListenUnix("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if conn, err := dialAndCheckPeer(t.Context(), r.life.tree, address); err == nil || !strings.Contains(err.Error(), "does not belong to the plugin") {
		t.Errorf("got %v, %v", conn, err)
	}
	conn, err := dialAndCheckPeer(t.Context(), r.life.tree, &net.UnixAddr{Name: r.life.tree.socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("PATH", "/zzz")
	t.Setenv("HOME", "/home/mouse")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "swordfish")
	handshake := []string{
		shellpb.CookieKey + "=" + shellpb.CookieValue,
		"PLUGIN_PROTOCOL_VERSIONS=1",
		"PLUGIN_UNIX_SOCKET_DIR=/r/Mine",
	}
	for _, name := range inheritedVariables {
		if name != "PATH" && name != "HOME" {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, test := range map[string]struct {
		own  map[string]string
		want []string
	}{
		"none":                {nil, []string{"HOME=/home/mouse", "PATH=/zzz", "GODEBUG=multipathtcp=0", "UV_USE_IO_URING=0"}},
		"added":               {map[string]string{"COLOR": "gray=ish"}, []string{"COLOR=gray=ish", "HOME=/home/mouse", "PATH=/zzz", "GODEBUG=multipathtcp=0", "UV_USE_IO_URING=0"}},
		"instead of ours":     {map[string]string{"PATH": "/a"}, []string{"HOME=/home/mouse", "PATH=/a", "GODEBUG=multipathtcp=0", "UV_USE_IO_URING=0"}},
		"GODEBUG":             {map[string]string{"GODEBUG": "gctrace=1"}, []string{"HOME=/home/mouse", "PATH=/zzz", "GODEBUG=gctrace=1,multipathtcp=0", "UV_USE_IO_URING=0"}},
		"handshake overrides": {map[string]string{"PLUGIN_UNIX_SOCKET_DIR": "/x"}, []string{"HOME=/home/mouse", "PATH=/zzz", "GODEBUG=multipathtcp=0", "UV_USE_IO_URING=0"}},
		"io_uring":            {map[string]string{"UV_USE_IO_URING": "1"}, []string{"HOME=/home/mouse", "PATH=/zzz", "GODEBUG=multipathtcp=0", "UV_USE_IO_URING=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := &Backend{dirName: "Mine", host: Host{RunDir: "/r"}, callsign: "Mine", startConfig: configs.Plugin{Environment: test.own}}
			want := slices.Sorted(slices.Values(slices.Concat(test.want, handshake)))
			if diff := cmp.Diff(want, b.environment(b.paths())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A plugin can't flood the host through go-plugin's broker: the host never opens its stream.
func TestBrokerIsNotUsed(t *testing.T) {
	r := newRig(t, rogue("broker"))
	r.activate()
	for range 20 {
		if n := call[int](r, "broker streams", ""); n != 0 {
			t.Fatalf("the host opened %d streams of the broker", n)
		}
	}
}
