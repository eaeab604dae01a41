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
	p := &plain{criu: criu, dir: dir, root: cmd.Process.Pid}
	if err := p.fill(ctx, mib); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

// fill brings the plugin to where a hibernation begins: memory filled, hook
// called, connection closed.
func (p *plain) fill(ctx context.Context, mib int) error {
	socket, err := p.socket(ctx)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
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
	return poll(ctx, func() (bool, error) {
		peers, err := procfs.UnixPeers(socket)
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
	images := filepath.Join(p.dir, "images")
	if err := os.Mkdir(images, 0o700); err != nil {
		return err
	}
	if err := p.run([]string{
		"dump", "-t", strconv.Itoa(p.root), "-D", images, "--link-remap",
		"--manage-cgroups=ignore", "--network-lock", "skip", "--tcp-close", "--file-locks",
	}); err != nil {
		return err
	}
	if _, err := syscall.Wait4(p.root, nil, 0, nil); err != nil {
		return err
	}
	entries, err := os.ReadDir(images)
	if err != nil {
		return err
	}
	for _, e := range append(entries, nil) {
		path := images
		if e != nil {
			path = filepath.Join(images, e.Name())
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
	images := filepath.Join(p.dir, "images")
	pidfile := filepath.Join(p.dir, "pid")
	if err := p.run([]string{"restore", "-d", "-D", images, "--pidfile", pidfile, "--manage-cgroups=ignore", "--tcp-close", "--file-locks"}); err != nil {
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
	return os.RemoveAll(filepath.Join(p.dir, "images"))
}

// end kills the tree; as its subreaper this process reaps it.
func (p *plain) end() error {
	if err := syscall.Kill(p.root, syscall.SIGKILL); err != nil {
		return err
	}
	_, err := syscall.Wait4(p.root, nil, 0, nil)
	return err
}
