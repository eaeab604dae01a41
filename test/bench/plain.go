package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/internal/procfs"
	"dormouse/shell/shellpb"
)

// plain is a plugin process without a host: started like a host starts it, so
// that CRIU finds an equal tree, and dumped and restored by CRIU's own command.
type plain struct {
	criu string
	dir  string
	root int

	images string // directory
}

// plain starts one.
func (s *stage) plain(ctx context.Context, mib int) (*plain, error) {
	dir, err := os.MkdirTemp(s.dir, "p")
	if err != nil {
		return nil, err
	}
	return startPlain(ctx, s.host.Engine.Path(), s.host.Processes.Pidone, s.counter, dir, mib)
}

// startPlain runs the counter plugin and has it fill mib MiB.
func startPlain(ctx context.Context, criu, pidone, counter, dir string, mib int) (*plain, error) {
	cmd := exec.Command(pidone, counter)
	cmd.Dir = "/"
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "GODEBUG=multipathtcp=0",
		shellpb.CookieKey + "=" + shellpb.CookieValue,
		fmt.Sprintf("PLUGIN_PROTOCOL_VERSIONS=%d", shellpb.ProtocolVersion),
		"PLUGIN_UNIX_SOCKET_DIR=" + dir,
	}
	out, err := os.OpenFile(filepath.Join(dir, "out"), os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout = out
	// No Pdeathsig: the criu command, which is the parent after a restore, ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: syscall.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &plain{criu: criu, dir: dir, root: cmd.Process.Pid, images: filepath.Join(dir, "images")}
	if err := p.fill(ctx, mib); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// fill brings the plugin to where a hibernation begins: memory filled, hook
// called, connection closed.
func (p *plain) fill(ctx context.Context, mib int) error {
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	if _, err = shellpb.NewPluginClient(conn).Initialize(ctx, &shellpb.InitializeRequest{Callsign: "Plain", Configuration: []byte("{}"), Paths: &shellpb.Paths{}}); err == nil {
		params, _ := json.Marshal(map[string]any{"mib": mib, "pattern": "random"})
		_, err = shellpb.NewDispatcherClient(conn).Invoke(ctx, &shellpb.InvokeRequest{Method: "fill", Params: params})
	}
	if err == nil {
		_, err = shellpb.NewHooksClient(conn).BeforeCheckpoint(ctx, &shellpb.BeforeCheckpointRequest{})
	}
	if err := errors.Join(err, conn.Close()); err != nil {
		return err
	}
	return p.settle(ctx)
}

// call connects to the plugin and asks it something.
func (p *plain) call(ctx context.Context) error {
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	_, err = shellpb.NewDispatcherClient(conn).Invoke(ctx, &shellpb.InvokeRequest{Method: "get"})
	return errors.Join(err, conn.Close())
}

func (p *plain) dial(ctx context.Context) (*grpc.ClientConn, error) {
	socket, err := p.socket(ctx)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient("passthrough:///"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
}

// settle returns when no client is connected to the plugin.
func (p *plain) settle(ctx context.Context) error {
	socket, err := p.socket(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		peers, err := procfs.CountUnixConnections(socket)
		return peers == 0, err
	})
}

func (p *plain) socket(ctx context.Context) (socket string, err error) {
	err = poll(ctx, func() (bool, error) {
		text, err := os.ReadFile(filepath.Join(p.dir, "out"))
		fields := strings.Split(string(text), "|")
		if len(fields) > 3 {
			socket = fields[3]
		}
		return socket != "", err
	})
	return socket, err
}

// dump is plain `criu dump` and an fsync of what it wrote.
func (p *plain) dump() error {
	if err := os.Mkdir(p.images, 0o700); err != nil {
		return err
	}
	if err := p.run([]string{
		"dump", "-t", strconv.Itoa(p.root), "-D", p.images, "--link-remap",
		"--manage-cgroups=ignore", "--network-lock", "skip", "--tcp-close", "--file-locks",
	}); err != nil {
		return err
	}
	if _, err := syscall.Wait4(p.root, nil, 0, nil); err != nil {
		return err
	}
	entries, err := os.ReadDir(p.images)
	if err != nil {
		return err
	}
	for _, e := range append(entries, nil) {
		path := p.images
		if e != nil {
			path = filepath.Join(p.images, e.Name())
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = f.Sync()
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// restore is plain `criu restore`.
func (p *plain) restore() error {
	pidfile := filepath.Join(p.dir, "pid")
	if err := p.run([]string{"restore", "-d", "-D", p.images, "--pidfile", pidfile, "--manage-cgroups=ignore", "--tcp-close", "--file-locks"}); err != nil {
		return err
	}
	text, err := os.ReadFile(pidfile)
	if err == nil {
		p.root, err = strconv.Atoi(strings.TrimSpace(string(text)))
	}
	return err
}

func (p *plain) run(args []string) error {
	cmd := exec.Command(p.criu, args...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("criu %s: %w: %s", args[0], err, text)
	}
	return nil
}

// clean makes room for the next dump.
func (p *plain) clean() error {
	_ = os.Remove(filepath.Join(p.dir, "pid"))
	return os.RemoveAll(p.images)
}

// end kills the tree; as its subreaper this process reaps it.
func (p *plain) end() error {
	if err := syscall.Kill(p.root, syscall.SIGKILL); err != nil {
		return err
	}
	_, err := syscall.Wait4(p.root, nil, 0, nil)
	return err
}
