// Command ledger is a plugin that remembers, in memory and nowhere else, which
// calls it has carried out: over JSON-RPC its method note, over gRPC Echo.
package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"dormouse/plugins/sdk"
	"dormouse/test/streams"
)

func main() { sdk.Serve(&ledger{runs: make(map[string][]run)}) }

// run is how many notes of a caller came one after the other, each by one more
// than the last.
type run struct {
	First int `json:"first"`
	Last  int `json:"last"`
}

type ledger struct {
	streams.UnimplementedStreamsServer

	mu   sync.Mutex
	runs map[string][]run
}

type note struct {
	Caller string `json:"caller"`
	N      int    `json:"n"`
}

func (l *ledger) Initialize(context.Context, *sdk.Instance) error { return nil }
func (l *ledger) Deinitialize(context.Context, sdk.Reason) error  { return nil }
func (l *ledger) Suspend(context.Context) error                   { return nil }
func (l *ledger) Resume(context.Context) error                    { return nil }

func (l *ledger) Register(r grpc.ServiceRegistrar) { streams.RegisterStreamsServer(r, l) }

func (l *ledger) Methods() sdk.Methods {
	return sdk.Methods{
		"note": sdk.Method(func(_ context.Context, n note) (note, error) {
			l.add(n)
			return n, nil
		}),
		"notes": sdk.Method(func(context.Context, struct{}) (map[string][]run, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			all := maps.Clone(l.runs)
			for caller := range all {
				all[caller] = slices.Clone(all[caller])
			}
			return all, nil
		}),
	}
}

// Echo notes a text of the form "caller n".
func (l *ledger) Echo(_ context.Context, in *streams.Text) (*streams.Text, error) {
	var n note
	if _, err := fmt.Sscan(in.GetText(), &n.Caller, &n.N); err != nil {
		return nil, err
	}
	l.add(n)
	return in, nil
}

func (l *ledger) add(n note) {
	l.mu.Lock()
	defer l.mu.Unlock()
	runs := l.runs[n.Caller]
	if k := len(runs) - 1; k >= 0 && runs[k].Last+1 == n.N {
		runs[k].Last++
		return
	}
	l.runs[n.Caller] = append(runs, run{n.N, n.N})
}
