package controller

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dormouse/shell"
)

// A client finds itself among the connections, and no connection that has ended.
func TestLinks(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Plain?token=secret")
	other := h.dial(t, "/Service")
	eventually(t, func() bool { // a client may know before the host that they are websockets
		return !slices.ContainsFunc(decode[[]connectionRecord](t, other.do("Controller.1.links", "")), func(l connectionRecord) bool { return l.State != "WebSocket" })
	})
	_, answer := h.post(t, "/jsonrpc", call("Controller.1.links", ""))
	got := decode[[]connectionRecord](t, answer)
	for _, l := range got {
		if !strings.HasPrefix(l.Remote, "127.0.0.1@") {
			t.Errorf("remote %q", l.Remote)
		}
	}
	want := []connectionRecord{
		{State: "WebSocket", ID: 1, Activity: true, Name: "/jsonrpc/Plain"},
		{State: "WebSocket", ID: 2, Activity: true, Name: "/Service"},
		{State: "WebServer", ID: 3, Activity: true, Name: "/jsonrpc"},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(connectionRecord{}, "Remote")); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	if err := c.ws.CloseNow(); err != nil {
		t.Fatal(err)
	}
	h.waitForSockets(t, 1)
	eventually(t, func() bool {
		return !slices.ContainsFunc(decode[[]connectionRecord](t, other.do("Controller.1.links", "")), func(l connectionRecord) bool { return l.ID == 1 })
	})
}

// While an operation runs, its lane shows it, what waits behind it, and where in
// the program it is.
func TestThreads(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	auto := h.plugins["Auto"]
	auto.holds = true
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	c.send(`{"method":"Controller.1.hibernate","params":{"callsign":"Auto"}}`)
	<-auto.entered
	c.send(`{"method":"Controller.1.resume","params":{"callsign":"Auto"}}`)
	eventually(t, func() bool {
		return c.do("Controller.1.pendingrequests", "") == `{"jsonrpc":"2.0","id":1,"result":["Auto.resume"]}`
	})

	threads := decode[[]threadRecord](t, c.do("Controller.1.threads", ""))
	first, _ := h.supervisor.Shell("Auto")
	eighth, _ := h.supervisor.Shell("Plain")
	want := []threadRecord{
		{"0x0", shell.Hibernate, first.LaneStatus().Runs, "Auto"},
		{"0x7", "", eighth.LaneStatus().Runs, "Plain"},
	}
	if got := []threadRecord{threads[0], threads[7]}; len(threads) != 11 || !slices.Equal(want, got) || want[0].Runs < 2 {
		t.Errorf("threads: %+v", threads)
	}
	process := decode[hostWorkRecord](t, c.do("Controller.1.processinfo", ""))
	if diff := cmp.Diff(hostWorkRecord{threads, []string{"Auto.resume"}, 1}, process); diff != "" {
		t.Errorf("processinfo (-want +got):\n%s", diff)
	}
	var stack []string
	for _, f := range decode[[]frameRecord](t, c.do("Controller.1.callstack@0", "")) {
		if strings.HasPrefix(f.Module, "dormouse/") && strings.HasPrefix(f.Address, "0x") && f.Line > 0 {
			stack = append(stack, f.Module+"."+f.Function)
		}
	}
	for _, want := range []string{"dormouse/shell/shelltest.(*Plugin).Hibernate", "dormouse/shell.(*Shell).takeStep"} {
		if !slices.Contains(stack, want) {
			t.Errorf("%s is not in the stack:\n%s", want, strings.Join(stack, "\n"))
		}
	}
	close(auto.release)
}

func TestBuildInfo(t *testing.T) {
	for _, hibernates := range []bool{true, false} {
		h := newHost(t, setup{options: Options{CanHibernate: func() bool { return hibernates }}})
		got := string(decode[json.RawMessage](t, h.dial(t, "/jsonrpc").do("Controller.1.buildinfo", "")))
		extensions := ""
		if hibernates {
			extensions = `"extensions":["Hibernate"],`
		}
		want := fmt.Sprintf(`{"systemtype":"Linux","buildtype":%q,%s"messaging":false,"exceptioncatching":true,"deadlockdetection":false,`+
			`"wcharsupport":false,"instanceidbits":64,"threadpoolcount":`, buildType(), extensions)
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, `,"comrpctimeout":30000}`) {
			t.Errorf("got %s", got)
		}
	}
}
