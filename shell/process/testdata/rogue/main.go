// Rogue is a plugin that misbehaves as its first argument says. Without one it
// is the least that a plugin can be: no hooks, no state control, no go-plugin.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"dormouse/shell/shellpb"
)

func main() {
	how := ""
	if len(os.Args) > 1 {
		how = os.Args[1]
	}
	switch how {
	case "idle":
		hang()
	case "exit":
		fmt.Fprintln(os.Stderr, "reading my data")
		fmt.Fprintln(os.Stderr, "cannot find my data")
		os.Exit(3)
	case "hang":
		hang()
	case "mute": // the kernel completes connections that nobody accepts
		_ = listen()
		hang()
	case "say": // a handshake of the caller's making
		fmt.Println(strings.ReplaceAll(os.Args[2], "DIR", socketDir()))
		hang()
	case "long-line":
		_, _ = os.Stdout.Write(make([]byte, 10<<20))
		hang()
	case "endless-line-end":
		_, _ = os.Stdout.Write(make([]byte, 10<<20))
		return
	case "closed-stdout":
		_ = os.Stdout.Close()
		hang()
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "orphans-first":
		orphan()
	}
	serve(&plugin{how: how, events: make(chan uint64, 1)})
}

func hang() {
	signal.Ignore(syscall.SIGTERM)
	for {
		time.Sleep(time.Hour)
	}
}

func socketDir() string { return os.Getenv("PLUGIN_UNIX_SOCKET_DIR") }

// listen shakes hands before the first connection can be accepted.
func listen() net.Listener {
	listener, err := net.Listen("unix", filepath.Join(socketDir(), "rogue"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("1|%d|unix|%s|grpc\n", shellpb.ProtocolVersion, listener.Addr())
	return listener
}

func serve(p *plugin) {
	g := grpc.NewServer()
	shellpb.RegisterPluginServer(g, p)
	shellpb.RegisterDispatcherServer(g, p)
	shellpb.RegisterHooksServer(g, p)
	if p.how == "broker" {
		p.registerBroker(g)
	}
	listener := listen()
	if p.how == "flood" {
		go flood(os.Stdout)
		go flood(os.Stderr)
	}
	_ = g.Serve(listener)
}

// registerBroker registers go-plugin's broker, which offers the host connections without end.
func (p *plugin) registerBroker(g *grpc.Server) {
	offer := func(_ any, stream grpc.ServerStream) error {
		p.brokerStreams.Add(1)
		for id := uint32(1); ; id++ {
			if err := stream.SendMsg(wrapperspb.UInt32(id)); err != nil { // on the wire it is a ConnInfo
				return err
			}
		}
	}
	g.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugin.GRPCBroker", HandlerType: (*any)(nil),
		Streams: []grpc.StreamDesc{{StreamName: "StartStream", Handler: offer, ServerStreams: true, ClientStreams: true}},
	}, p)
}

// orphan leaves a process behind that has left the session, has no parent and
// holds stdout and stderr.
func orphan() {
	if err := exec.Command("/bin/sh", "-c", `setsid "$0" idle & `, os.Args[0]).Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	cmd := exec.Command(os.Args[0], "idle")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	_ = cmd.Start()
}

// random is what nobody else has.
func random() string {
	number := make([]byte, 16)
	_, _ = rand.Read(number) // never fails
	return hex.EncodeToString(number)
}

// flood writes numbered lines until the process ends.
func flood(f *os.File) {
	for n := 1; ; n++ {
		fmt.Fprintf(f, "line %d\n", n)
	}
}

type plugin struct {
	shellpb.UnimplementedPluginServer
	shellpb.UnimplementedDispatcherServer
	shellpb.UnimplementedHooksServer
	how    string
	kept   []net.Conn
	events chan uint64

	brokerStreams atomic.Int64
}

func (p *plugin) Information(context.Context, *shellpb.InformationRequest) (*shellpb.InformationResponse, error) {
	switch p.how {
	case "no-information":
		select {}
	case "panic-at-once":
		panic("there is nothing to say")
	case "long-information":
		info := &shellpb.InformationResponse{Name: "rogue"}
		for i := range 60_000 {
			info.Preconditions = append(info.Preconditions, "Name"+strconv.Itoa(i))
		}
		return info, nil
	}
	services := []string{shellpb.DispatcherService}
	if p.how == "once" {
		services = append(services, shellpb.HooksService)
	}
	return &shellpb.InformationResponse{Name: "rogue", Services: services}, nil
}

func (p *plugin) BeforeCheckpoint(context.Context, *shellpb.BeforeCheckpointRequest) (*shellpb.BeforeCheckpointResponse, error) {
	return &shellpb.BeforeCheckpointResponse{}, nil
}

func (p *plugin) AfterRestore(_ context.Context, r *shellpb.AfterRestoreRequest) (*shellpb.AfterRestoreResponse, error) {
	if r.GetWarm() {
		return nil, errors.New("I live but once")
	}
	return &shellpb.AfterRestoreResponse{}, nil
}

func (p *plugin) Initialize(context.Context, *shellpb.InitializeRequest) (*shellpb.InitializeResponse, error) {
	switch p.how {
	case "no-initialize":
		select {}
	case "refuse":
		return &shellpb.InitializeResponse{Error: "the license has run out"}, nil
	case "panic-in-initialize":
		panic("unknown planet")
	case "dial-at-once":
		conn, err := net.Dial("tcp", os.Args[2])
		if err != nil {
			return nil, err
		}
		p.kept = append(p.kept, conn)
	case "random":
		_ = random() // the library has its state from now on
	}
	return &shellpb.InitializeResponse{}, nil
}

func (p *plugin) Deinitialize(context.Context, *shellpb.DeinitializeRequest) (*shellpb.DeinitializeResponse, error) {
	return &shellpb.DeinitializeResponse{}, nil
}

// Events stays open, and sends the events that the method send asks for.
func (p *plugin) Events(_ *shellpb.EventsRequest, stream grpc.ServerStreamingServer[shellpb.Event]) error {
	for {
		select {
		case sequence := <-p.events:
			if err := stream.Send(&shellpb.Event{Name: "late", Sequence: sequence}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (p *plugin) Invoke(ctx context.Context, r *shellpb.InvokeRequest) (*shellpb.InvokeResponse, error) {
	var params struct {
		Status int    `json:"status"`
		Text   string `json:"text"`
	}
	if len(r.GetParams()) > 0 {
		if err := json.Unmarshal(r.GetParams(), &params); err != nil {
			return nil, err
		}
	}
	switch r.GetMethod() {
	case "exit":
		fmt.Fprintln(os.Stderr, params.Text)
		os.Exit(params.Status)
	case "raise":
		signal.Reset(syscall.Signal(params.Status))
		_ = syscall.Kill(os.Getpid(), syscall.Signal(params.Status))
		select {}
	case "panic":
		go func() { panic(params.Text) }()
		select {}
	case "orphan":
		orphan()
	case "dial": // and keep it, whatever the host says
		conn, err := net.Dial("unix", filepath.Join(socketDir(), "host"))
		if err != nil {
			return nil, err
		}
		p.kept = append(p.kept, conn)
	case "hang up":
		for _, conn := range p.kept {
			_ = conn.Close()
		}
		p.kept = nil
	case "write":
		for _, conn := range p.kept {
			if _, err := conn.Write([]byte(params.Text)); err != nil {
				return nil, err
			}
		}
	case "announce": // an event that does not come
		return &shellpb.InvokeResponse{}, grpc.SetTrailer(ctx, shellpb.EventsUntil(uint64(params.Status)))
	case "broker streams":
		return &shellpb.InvokeResponse{Result: strconv.AppendInt(nil, p.brokerStreams.Load(), 10)}, nil
	case "send":
		p.events <- uint64(params.Status)
	case "random":
		return &shellpb.InvokeResponse{Result: []byte(strconv.Quote(random()))}, nil
	case "print":
		fmt.Println(params.Text)
		fmt.Fprintln(os.Stderr, params.Text)
	}
	return &shellpb.InvokeResponse{Result: []byte(`"pong"`)}, nil
}
