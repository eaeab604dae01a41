package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/sdk/sdktest"
)

func TestHibernate(t *testing.T) {
	h := sdktest.Start(t, sdktest.Options{Configuration: map[string]any{"start": 41}})
	ask := func(method string, params, result any) {
		t.Helper()
		if err := h.Call(method, params, result); err != nil {
			t.Fatalf("%s: %v", method, err)
		}
	}
	var family spawnResult
	var memory fillResult
	ask("spawn", map[string]int{"depth": 3}, &family)
	ask("fill", map[string]any{"mib": 8, "pattern": "text"}, &memory)
	if len(family.PIDs) != 3 {
		t.Errorf("the children are %v, want 3", family.PIDs)
	}

	for want := int64(42); want < 45; want++ {
		h.Resume()
		h.Hibernate()
		h.Wake()
		var count value
		var children aliveResult
		var sum digestResult
		ask("increment", nil, &count)
		ask("children", nil, &children)
		ask("digest", nil, &sum)
		got := []any{count.Value, children.Alive, sum.SHA256}
		if diff := cmp.Diff([]any{want, 3, memory.SHA256}, got); diff != "" {
			t.Error(diff)
		}
		h.WaitEvent("changed", &count)
		if count.Value != want {
			t.Errorf("the event says %d, want %d", count.Value, want)
		}
	}
	ask("spawn", map[string]int{"depth": 0}, nil)
}

// The end of the test finds out whether everything of the plugin is gone: its
// cgroup can't be removed before.
func TestEndsWithChildren(t *testing.T) {
	h := sdktest.Start(t, sdktest.Options{})
	if err := h.Call("spawn", map[string]int{"depth": 8}, nil); err != nil {
		t.Fatal(err)
	}
}
