package supervisor

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// callInBackground makes a call and returns where its outcome will be.
func (r *rig) callInBackground(callsign string) (outcome <-chan error) {
	done := make(chan error, 1)
	background(func() {
		_, err := r.shell(callsign).Invoke(r.Context(), shell.Call{Method: "echo", Params: []byte("1")})
		done <- err
	})
	return done
}

// Between Adopt and the end of Start, calls of what is to start wait, and only those.
func TestCallsWaitForTheStart(t *testing.T) {
	held := func(p *plugin) { p.held = make(chan struct{}) }
	runWith(t, []instance{
		{"Early", configs.StartActivated, 1, held},
		{"Later", configs.StartActivated, 2, nil},
		{"Behind", configs.StartActivated, 2, nil},
		{"FarBehind", configs.StartActivated, 2, nil},
		{"Broken", configs.StartActivated, 2, func(p *plugin) { p.fails = errors.New("broken") }},
		{"BehindBroken", configs.StartActivated, 2, nil},
		{"Waiting", configs.StartActivated, 1, nil},
		{"Left", configs.StartActivated, 3, nil},
		{"Off", configs.StartDeactivated, 1, nil},
		{"Barred", configs.StartUnavailable, 1, nil},
	}, func(o *Options) {
		o.Plugins[2].Requires = []string{"Later"}
		o.Plugins[3].Requires = []string{"Behind"}
		o.Plugins[5].Requires = []string{"Broken"}
		o.Plugins[6].Preconditions = []string{"Network"}
		o.Plugins[8].Controls = []string{"Network"} // else the host has it active
	}, func(r *rig) {
		r.Adopt(r.Context())
		calls := make(map[string]<-chan error)
		for _, sh := range r.roster.allExceptHostBuiltins() {
			calls[sh.Callsign()] = r.callInBackground(sh.Callsign())
		}
		started := background(func() { r.Start(r.Context()) })
		var refused []string
		for callsign, outcome := range calls {
			if len(outcome) == 1 {
				refused = append(refused, callsign)
			}
		}
		if want := []string{"Barred", "Off", "Waiting"}; !slices.Equal(sorted(refused), want) {
			r.Errorf("refused at once: %v, want %v", refused, want)
		}
		if why := r.ExplainBriefly("Later"); !strings.Contains(why, "the host is still starting") {
			r.Errorf("Later is explained as %q", why)
		}
		r.must(r.shell("Left").Deactivate(r.Context(), shell.Requested))
		close(r.plugins["Early"].held)
		<-started
		for callsign, outcome := range calls {
			err := <-outcome
			if answered := slices.Contains([]string{"Early", "Later", "Behind", "FarBehind"}, callsign); answered != (err == nil) {
				r.Errorf("%s: got %v", callsign, err)
			} else if err != nil && !errors.Is(err, shell.ErrUnavailable) {
				r.Errorf("%s: got %v, want ErrUnavailable", callsign, err)
			}
		}
		r.expectState("Left", shell.Deactivated, shell.Startup)
	})
}

// Calls don't outlast a start that is given up.
func TestCallsWhenTheStartIsCutShort(t *testing.T) {
	run(t, []instance{
		{"A", configs.StartActivated, 10, func(p *plugin) { p.held = make(chan struct{}) }},
		{"B", configs.StartActivated, 20, nil},
	}, func(r *rig) {
		r.Adopt(r.Context())
		call := r.callInBackground("B")
		ctx, cancel := context.WithCancel(r.Context())
		started := background(func() { r.Start(ctx) })
		cancel()
		if err := <-call; !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("got %v", err)
		}
		close(r.plugins["A"].held)
		<-started
	})
}

// Calls wait also for what a reload adds.
func TestCallsWaitForWhatAReloadAdds(t *testing.T) {
	run(t, nil, func(r *rig) {
		r.Start(r.Context())
		added := configs.DefaultPlugin()
		added.Callsign, added.StartMode = "Added", configs.StartActivated
		held := make(chan struct{})
		r.changes["Added"] = func(p *plugin) { p.held = held }
		reloaded := background(func() { _, _ = r.Reload(r.Context(), []configs.Plugin{added}) })
		call := r.callInBackground("Added")
		close(held)
		if err := <-call; err != nil {
			r.Error(err)
		}
		<-reloaded
	})
}
