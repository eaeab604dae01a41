package process

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"dormouse/internal/procfs"
	"dormouse/shell"
)

// An end that nobody asked for is reported, once, with how and the last words.
func TestExitIsNoticed(t *testing.T) {
	for name, test := range map[string]struct {
		method, params string
		want           []string
	}{
		"status":        {"exit", `{"status":7,"text":"enough"}`, []string{"exited with status 7", `its last words: "enough"`}},
		"status 0":      {"exit", `{"status":0,"text":"done"}`, []string{"exited with status 0", `"done"`}},
		"SIGTERM":       {"raise", `{"status":15}`, []string{"signal 15 (terminated)"}},
		"SIGKILL":       {"raise", `{"status":9}`, []string{"signal 9 (killed)"}},
		"panic":         {"panic", `{"text":"unknown planet"}`, []string{"exited with status 2", "panic: unknown planet"}},
		"JSON":          {"exit", `{"status":1,"text":"{\"@level\":\"error\",\"@message\":\"no fuel\"}"}`, []string{`its last words: "no fuel"`}},
		"long words":    {"exit", fmt.Sprintf(`{"status":1,"text":%q}`, strings.Repeat("far ", 3000)), []string{"status 1", "far far far"}},
		"silent":        {"raise", `{"status":9}`, []string{"signal 9"}},
		"many lines":    {"exit", `{"status":1,"text":"one\ntwo\nthree\nfour"}`, []string{"its last words:\n  one\n  two\n  three\n  four"}},
		"last 50 lines": {"exit", fmt.Sprintf(`{"status":1,"text":%q}`, strings.Repeat("early\n", 100)+strings.Repeat("late\n", 50)), []string{"its last words:" + strings.Repeat("\n  late", 50)}},
		"blank lines":   {"exit", `{"status":1,"text":"one\n\n\n\n"}`, []string{`"one"`}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rogue())
			r.activate()
			_, err := r.Invoke(r.contextFor(patience), shell.Call{Method: test.method, Params: []byte(test.params)})
			if !errors.Is(err, shell.ErrNotAnswered) {
				t.Errorf("the call returned %v", err)
			}
			got := receive(t, r.sink.exits)
			if !errors.Is(got, shell.ErrExited) || !containsAll(got.Error(), test.want) {
				t.Errorf("got %v, want ErrExited and %q", got, test.want)
			}
			if len(got.Error()) > 5000 {
				t.Errorf("the reason has %d bytes", len(got.Error()))
			}
			if got := r.ProcessFigures(); got != (shell.ProcessFigures{}) {
				t.Errorf("it has %+v", got)
			}
			if err := r.Stop(r.contextFor(patience)); err != nil {
				t.Error(err)
			}
			r.checkNoExitReported()
		})
	}
}

// Pid 1 can be killed too, as the kernel does when memory runs out.
func TestExitOfPidone(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	pids := r.pids()
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, r.sink.exits); !strings.Contains(err.Error(), "signal 9 (killed)") {
		t.Errorf("got %v", err)
	}
	eventually(t, "the program is gone too", func() bool { return procfs.HasEnded(pids[1]) })
}

// A grandchild with the log pipes in its hands does not hide that the plugin is
// gone, and goes with it.
func TestExitWithPipesHeld(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	call[any](r, "orphan", "")
	eventually(t, "the orphan is pid 1's", func() bool { return len(procfs.Children(r.life.tree.root.Pid)) == 2 })
	pids := r.pids()
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "exit", Params: []byte(`{"status":7,"text":"enough"}`)}); err == nil {
		t.Error("it answered")
	}
	if err := receive(t, r.sink.exits); !containsAll(err.Error(), []string{"status 7", "enough"}) {
		t.Errorf("got %v", err)
	}
	r.checkGone(pids)
}
