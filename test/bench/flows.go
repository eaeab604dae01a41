package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/configs"
	"dormouse/plugins/flows"
	"dormouse/plugins/host"
	"dormouse/shell/shellpb"
)

// measureFlows publishes over gRPC, and has a plugin take and publish over gRPC, in turn with
// the same rows written by SQLite, which shares commits in the same way.
func measureFlows(ctx context.Context, b *bench) (rows []row, err error) {
	h, err := openFlowHost(ctx, filepath.Join(b.plugins, "lines"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }() //nolint:contextcheck // it ends what ctx may have ended
	for _, producers := range []int{1, 64} {
		each := 150 // at 64 producers each does less, all together more
		if producers > 1 {
			each = 24
		}
		var published, passed, writing, passing series
		err = rounds(ctx, b.runs, func() error {
			return errors.Join(
				h.timePublish(ctx, &published, producers, each),
				timeKeeper(ctx, h.dir, openLite, &writing, producers, each, "publish"),
				h.timePass(ctx, &passed, producers, each),
				timeKeeper(ctx, h.dir, openLite, &passing, producers, each, "take and publish"),
			)
		}, &published, &writing, &passed, &passing)
		if err != nil {
			return rows, err
		}
		of := fmt.Sprintf("%d, %d at a time", producers*each, producers)
		rows = append(rows,
			row{what: "gRPC publish " + of, own: published, yardstick: "SQLite, the same rows", plain: writing, aim: 1 / 0.6},
			row{what: "plugin takes and publishes " + of, own: passed, yardstick: "SQLite, the same rows", plain: passing, aim: 1 / 0.3},
		)
	}
	return rows, nil
}

// flowHost is a host with the plugin "lines", one flow that the plugin works on, and one that
// keeps its results.
type flowHost struct {
	*host.Host
	dir    string
	conn   *grpc.ClientConn
	body   []byte
	served chan error
}

// benchFlows are the flows: messages go from texts to lines, and stay there.
func benchFlows(parallel int) []configs.Flow {
	texts, lines := configs.DefaultFlow(), configs.DefaultFlow()
	texts.Name, texts.Kind, texts.Instance, texts.Gives = "texts", configs.FlowSource, "Lines", []string{"lines"}
	lines.Name, lines.Kind, lines.Instance, lines.Takes = "file", configs.FlowSink, "Lines", []string{"lines"}
	texts.Parallel = parallel
	texts.State, lines.State = configs.FlowPaused, configs.FlowPaused
	return []configs.Flow{texts, lines}
}

func openFlowHost(ctx context.Context, program string) (_ *flowHost, err error) {
	h := &flowHost{body: make([]byte, messageBytes), served: make(chan error, 1)}
	if h.dir, err = os.MkdirTemp("", "dmf"); err != nil {
		return nil, err
	}
	config := configs.Default()
	config.Host.Root, config.Hibernate.Dir = h.dir, filepath.Join(h.dir, "images")
	lines := configs.DefaultPlugin()
	lines.Callsign, lines.Executable, lines.StartMode = "Lines", program, configs.StartActivated
	config.Plugins = []configs.Plugin{lines}
	if h.Host, err = host.Open(host.Options{Config: config, RunDir: filepath.Join(h.dir, "run"), Log: zerolog.Nop()}); err != nil {
		return nil, errors.Join(err, os.RemoveAll(h.dir))
	}
	h.Flows.Readiness = func(string) flows.Readiness { return flows.Readiness{Ready: true} }
	h.Supervisor.Start(ctx)
	socket := filepath.Join(h.dir, "socket")
	listener, err := net.Listen("unix", socket)
	if err == nil {
		go func() { h.served <- h.Communicator.ServeNative(listener) }()
		h.conn, err = grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	if err != nil {
		return nil, errors.Join(err, h.close()) //nolint:contextcheck // it ends what ctx may have ended
	}
	return h, nil
}

func (h *flowHost) close() error {
	var err error
	if h.conn != nil {
		err = h.conn.Close()
	}
	err = errors.Join(err, h.StopPluginsAndCommunicator(context.Background()))
	if h.conn != nil {
		err = errors.Join(err, <-h.served)
	}
	return errors.Join(err, h.CleanUpAndClose(false), os.RemoveAll(h.dir))
}

// prepare empties the flows.
func (h *flowHost) prepare(ctx context.Context, parallel int) error {
	if err := h.Flows.Declare(ctx, "bench", benchFlows(parallel)); err != nil {
		return err
	}
	if _, err := h.Flows.SetState("texts", configs.FlowPaused); err != nil {
		return err
	}
	return h.Flows.Discard(ctx, "bench")
}

// timePublish adds how long producers need to publish so many messages each, one after the other
// in a stream of its own.
func (h *flowHost) timePublish(ctx context.Context, times *series, producers, each int) error {
	if err := h.prepare(ctx, producers); err != nil {
		return err
	}
	client := shellpb.NewFlowsClient(h.conn)
	streams := make(chan grpc.BidiStreamingClient[shellpb.PublishRequest, shellpb.PublishResponse], producers)
	for range producers {
		stream, err := client.PublishStream(ctx)
		if err != nil {
			return err
		}
		streams <- stream
	}
	unix.Sync() // no run pays for what an earlier one wrote
	err := timed(times, func() error {
		return atOnce(producers, each, func() error {
			stream := <-streams
			defer func() { streams <- stream }()
			if err := stream.Send(&shellpb.PublishRequest{Flow: "texts", Message: &shellpb.Message{Body: h.body}}); err != nil {
				return err
			}
			answer, err := stream.Recv()
			if err == nil && answer.GetError() != "" {
				err = errors.New(answer.GetError())
			}
			return err
		})
	})
	close(streams)
	for stream := range streams {
		err = errors.Join(err, stream.CloseSend())
	}
	return err
}

// timePass adds how long the plugin needs to take so many messages from one flow, and the host to
// publish its results to another.
func (h *flowHost) timePass(ctx context.Context, times *series, parallel, each int) error {
	var filling series
	if err := h.timePublish(ctx, &filling, 64, parallel*each/64+1); err != nil {
		return err
	}
	if err := h.Flows.Declare(ctx, "bench", benchFlows(parallel)); err != nil {
		return err
	}
	unix.Sync()
	return timed(times, func() error {
		if _, err := h.Flows.SetState("texts", configs.FlowRunning); err != nil {
			return err
		}
		for {
			changed, err := h.Flows.Queues.Changed(ctx, "file")
			if err != nil {
				return err
			}
			passed, err := h.Flows.Queues.Stats(ctx, "file")
			if err != nil || passed.Messages >= int64(parallel*each) {
				return err
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}
