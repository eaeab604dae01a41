package supervisor

import (
	"slices"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// offering returns a plugin that says it has the tags and provides the types.
func offering(tags []string, types ...shell.Type) func(*plugin) {
	return func(p *plugin) {
		p.Info.Profile = shell.Profile{Tags: tags, Provides: types}
		p.about = &p.Info
	}
}

func TestFind(t *testing.T) {
	instances := []instance{
		{"New", configs.StartDeactivated, 0, offering([]string{"fast"}, shell.Type{Name: "minimizer", Version: "1.4.0"})},
		{"Old", configs.StartActivated, 0, offering([]string{"fast", "beta"}, shell.Type{Name: "minimizer", Version: "1.2.0"}, shell.Type{Name: "other"})},
		{"Older", configs.StartActivated, 0, offering(nil, shell.Type{Name: "minimizer", Version: "1.10.0"}, shell.Type{Name: "minimizer", Version: "0.9.0"})},
		{"Plain", configs.StartActivated, 0, nil},
	}
	run(t, instances, func(r *rig) {
		r.Start(r.Context())
		for _, test := range []struct {
			own  string
			use  shell.Use
			want []string
		}{
			{"", shell.Use{Type: "minimizer"}, []string{"Older", "Old", "New"}}, // New is not active
			{"Old", shell.Use{Type: "minimizer"}, []string{"Older", "New"}},
			{"", shell.Use{Type: "minimizer", Range: "^1.3"}, []string{"Older", "New"}},
			{"", shell.Use{Type: "minimizer", Range: "<1"}, []string{"Older"}},
			{"", shell.Use{Type: "minimizer", Range: ">=2"}, nil},
			{"", shell.Use{Type: "minimizer", Tags: []string{"fast"}}, []string{"Old", "New"}},
			{"", shell.Use{Type: "minimizer", Tags: []string{"fast", "!beta"}}, []string{"New"}},
			{"", shell.Use{Tags: []string{"beta"}}, []string{"Old"}},
			{"", shell.Use{Type: "other", Range: "<1"}, []string{"Old"}},
			{"", shell.Use{Type: "none"}, nil},
		} {
			found, err := r.Find(test.own, test.use)
			var got []string
			for _, p := range found {
				got = append(got, p.Callsign)
			}
			if err != nil || !slices.Equal(got, test.want) {
				r.Errorf("%q finds for %s %v, %v; want %v", test.own, test.use, got, err, test.want)
			}
		}
		for _, use := range []shell.Use{{}, {Type: "a b"}, {Type: "a", Range: "x y"}, {Tags: []string{"!"}}, {Tags: []string{"a b"}}} {
			if _, err := r.Find("", use); err == nil {
				r.Errorf("%+v is accepted", use)
			}
		}
	})
}

func TestUnmetUses(t *testing.T) {
	uses := func(uses ...shell.Use) func(*plugin) {
		return func(p *plugin) { p.Info.Profile.Uses = uses; p.about = &p.Info }
	}
	instances := []instance{
		{"A", configs.StartActivated, 0, offering(nil, shell.Type{Name: "many"}, shell.Type{Name: "one"})},
		{"B", configs.StartActivated, 0, offering(nil, shell.Type{Name: "many"})},
		{"User", configs.StartActivated, 1, uses(shell.Use{Type: "one"}, shell.Use{Type: "many", Parameter: "helper"}, shell.Use{Type: "none", Range: "^1"}, shell.Use{Type: "many", Parameter: "other"})},
	}
	runWith(t, instances, func(o *Options) { o.Plugins[2].Configuration = map[string]any{"helper": "B"} }, func(r *rig) {
		r.Start(r.Context())
		var got []string
		for _, u := range r.UnmetUses("User") {
			got = append(got, u.String())
		}
		want := []string{
			"User uses none ^1, which no instance provides",
			`User uses many, which is ambiguous: A, B provide it; name one as "other" in its configuration`,
		}
		if !slices.Equal(got, want) {
			r.Errorf("got %q, want %q", got, want)
		}
		if unmet := append(r.UnmetUses("A"), r.UnmetUses("None")...); len(unmet) > 0 {
			r.Errorf("unmet without a use: %v", unmet)
		}
	})
}
