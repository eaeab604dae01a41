// Command bulk is a plugin whose answers and events are large, and whose method hang never
// answers.
package main

import (
	"context"
	"strings"

	"google.golang.org/grpc"

	"dormouse/plugins/sdk"
	"dormouse/test/streams"
)

func main() { sdk.Serve(&bulk{}) }

type bulk struct {
	streams.Service
	in *sdk.Instance
}

func (b *bulk) Initialize(_ context.Context, in *sdk.Instance) error {
	b.in = in
	return nil
}

func (b *bulk) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (b *bulk) Register(r grpc.ServiceRegistrar) { streams.RegisterStreamsServer(r, &b.Service) }

func (b *bulk) Methods() sdk.Methods {
	return sdk.Methods{
		"echo": func(_ context.Context, c sdk.Call) (any, error) { return c.Params, nil },
		// answer returns a text of so many KiB.
		"answer": sdk.Method(func(_ context.Context, kib int) (string, error) { return strings.Repeat("x", kib<<10), nil }),
		"hang": func(ctx context.Context, _ sdk.Call) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		// emit sends so many events of 1 MiB.
		"emit": sdk.Method(func(_ context.Context, n int) (int, error) {
			text := strings.Repeat("x", 1<<20)
			for range n {
				b.in.Emit("bulk", text)
			}
			return n, nil
		}),
	}
}
