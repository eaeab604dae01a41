// Command ledger is a plugin that remembers, in memory and nowhere else, which
// calls it has carried out: over JSON-RPC its method note, over gRPC Echo.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
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
	life string // random; the same until the plugin ends

	mu   sync.Mutex
	runs map[string][]run
}

type note struct {
	Caller string `json:"caller"`
	N      int    `json:"n"`
}

// kept is the answer to a note.
type kept struct {
	note
	Life string `json:"life"`
}

// account is all that a life has kept.
type account struct {
	Life string           `json:"life"`
	Runs map[string][]run `json:"runs"`
}

func (l *ledger) Initialize(context.Context, *sdk.Instance) error {
	l.life = rand.Text()
	return nil
}
func (l *ledger) Deinitialize(context.Context, sdk.Reason) error { return nil }
func (l *ledger) Suspend(context.Context) error                  { return nil }
func (l *ledger) Resume(context.Context) error                   { return nil }

func (l *ledger) Register(r grpc.ServiceRegistrar) { streams.RegisterStreamsServer(r, l) }

func (l *ledger) Methods() sdk.Methods {
	return sdk.Methods{
		"note": sdk.Method(func(_ context.Context, n note) (kept, error) {
			l.add(n)
			return kept{n, l.life}, nil
		}),
		// stall writes to the file in a thread that may never return.
		"stall": sdk.Method(func(_ context.Context, at struct{ Path string }) (struct{}, error) {
			f, err := os.OpenFile(at.Path, os.O_WRONLY, 0)
			if err == nil {
				go func() { _, _ = f.WriteString("text") }()
			}
			return struct{}{}, err
		}),
		"notes": sdk.Method(func(context.Context, struct{}) (map[string][]run, error) {
			return l.copyRuns(), nil
		}),
		"account": sdk.Method(func(context.Context, struct{}) (account, error) {
			return account{l.life, l.copyRuns()}, nil
		}),
	}
}

func (l *ledger) copyRuns() map[string][]run {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := maps.Clone(l.runs)
	for caller := range all {
		all[caller] = slices.Clone(all[caller])
	}
	return all
}

// Echo notes a text of the form "caller n", and answers with its life behind it.
func (l *ledger) Echo(_ context.Context, in *streams.Text) (*streams.Text, error) {
	var n note
	if _, err := fmt.Sscan(in.GetText(), &n.Caller, &n.N); err != nil {
		return nil, err
	}
	l.add(n)
	return &streams.Text{Text: in.GetText() + " " + l.life}, nil
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
