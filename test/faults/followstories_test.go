package faults

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// A plugin that sleeps is left asleep by steps that are mirrored, and is woken for one that it
// answers itself, and for the end.
func TestFollowerAsleep(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	j := newFollow(t, "", "")
	awaitStep := func(id string) (href string) {
		t.Helper()
		until(t, "the step "+id, func() bool {
			now, err := j.task()
			if err == nil && len(now.Steps) > 0 && now.Steps[len(now.Steps)-1].ID == id {
				href = now.Steps[len(now.Steps)-1].Href
			}
			return href != ""
		})
		return href
	}
	j.parameters["except"] = []string{"question-3"}
	j.want = "of.question-1 true of.question-2 true "
	first := awaitStep("of.question-1")
	j.here.sleep()
	slept := j.here.status().Since
	j.give("of.question-1", first)
	second := awaitStep("of.question-2")
	if now := j.here.status(); now.State != "hibernated" || !now.Since.Equal(slept) {
		t.Errorf("a mirrored step has woken it: %+v", now)
	}
	j.give("of.question-2", second)
	until(t, "the end", func() bool {
		now, err := j.task()
		return err == nil && now.Status != "PENDING"
	})
	if now := j.here.status(); now.State == "hibernated" && now.Since.Equal(slept) {
		t.Error("it was not woken")
	}
	j.verify()
}

// A task of a host that may send no webhooks is followed all the same: it is read as often as that
// is configured.
func TestFollowWithoutWebhooks(t *testing.T) {
	runBeside(t)
	here := newSide(t, "Follower", "follower", webhooksAllowed+"[tasks]\nfollow-every = \"1s\"\n")
	j := newFollowBetween(t, here, newSide(t, "Survey", "survey", ""), "", "")
	j.carryOut(func() {})
	if log := j.here.host.log.String(); !strings.Contains(log, "a followed task does not take a webhook") {
		t.Errorf("webhooks were not refused; the log is:\n%s", log)
	}
	var called struct{ Waiting, Failed int }
	j.there.host.must("Webhooks.status", nil, &called)
	if called.Waiting+called.Failed > 0 {
		t.Errorf("webhooks were tried: %+v", called)
	}
	j.verify()
}

// A followed task that can't be reached, or not be read, is tried again; one that is not there ends
// the follower with a reason that names it.
func TestFollowedTaskGone(t *testing.T) {
	t.Parallel()
	for _, gone := range []int{http.StatusNotFound, http.StatusGone} {
		t.Run(strconv.Itoa(gone), func(t *testing.T) {
			runBeside(t)
			s := newSide(t, "Follower", "follower", webhooksAllowed+"[tasks]\nfollow-every = \"1s\"\n")
			j := &journey{t: t, here: s}
			closed, address := newClosedPort(t)
			j.parameters = map[string]any{"follow": "http://" + address + "/qhana/tasks/1/"}
			s.begin("")
			refused := func() bool {
				now, err := j.task()
				if err == nil && now.Status != "PENDING" {
					t.Fatalf("it ends as %+v", now)
				}
				return strings.Contains(s.host.log.String(), "connection refused")
			}
			until(t, "a refused connection", refused)
			var asked atomic.Int32
			var answer atomic.Int32
			answer.Store(http.StatusServiceUnavailable)
			there := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked.Add(1)
				w.WriteHeader(int(answer.Load()))
			}))
			there.Listener = closed.listen()
			there.Start()
			defer there.Close()
			until(t, "more than one try", func() bool { return asked.Load() > 3 })
			if now, err := j.task(); err != nil || now.Status != "PENDING" {
				t.Errorf("after an error of the other host it is %+v, %v", now, err)
			}
			answer.Store(int32(gone))
			now := j.awaitEnd()
			want := address + "/qhana/tasks/1/ answers " + strconv.Itoa(gone)
			if now.Status != "FAILURE" || !strings.Contains(now.Reason, "cannot follow the other task any more: there is no such task any more") || !strings.Contains(now.Reason, want) {
				t.Errorf("it ends as %+v", now)
			}
			s.host.end()
			audit(t, s.site, nil, "")
		})
	}
}

// closedPort is a port of this machine at which connections are refused until it is listened to. No
// other program gets it meanwhile.
type closedPort struct {
	t  *testing.T
	fd int
}

// newClosedPort returns one, and its address.
func newClosedPort(t *testing.T) (p closedPort, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := unix.Getsockname(fd)
	must(t, err)
	at, ok := name.(*unix.SockaddrInet4)
	if !ok {
		t.Fatalf("the port has the address %v", name)
	}
	return closedPort{t, fd}, net.JoinHostPort("127.0.0.1", strconv.Itoa(at.Port))
}

// listen has connections be accepted.
func (p closedPort) listen() net.Listener {
	p.t.Helper()
	must(p.t, unix.Listen(p.fd, 16))
	fd, err := unix.FcntlInt(uintptr(p.fd), unix.F_DUPFD_CLOEXEC, 0)
	must(p.t, err)
	f := os.NewFile(uintptr(fd), "port")
	defer f.Close()
	l, err := net.FileListener(f)
	must(p.t, err)
	return l
}

// awaitEnd returns the task once it has ended.
func (j *journey) awaitEnd() (now fittingTask) {
	j.t.Helper()
	until(j.t, "the end of the task", func() bool {
		is, err := j.task()
		now = is
		return err == nil && is.Status != "PENDING"
	})
	return now
}

// Tasks of two hosts that follow each other end, with a reason that names both.
func TestFollowInALoop(t *testing.T) {
	runBeside(t)
	one, two := newSide(t, "Follower", "follower", webhooksAllowed), newSide(t, "Follower", "follower", webhooksAllowed)
	one.begin("")
	two.begin("")
	first := &journey{t: t, here: one, there: two, parameters: map[string]any{}}
	until(t, "the first task", func() bool { _, err := first.task(); return err == nil })
	addressOf := func(j *journey) string { return j.here.door.url + "/qhana/tasks/" + j.id + "/" }
	second := &journey{t: t, here: two, there: one, parameters: map[string]any{"follow": addressOf(first)}}
	href := ""
	until(t, "the step that asks", func() bool {
		now, err := second.task()
		if err == nil && len(now.Steps) > 0 {
			href = now.Steps[0].Href
		}
		return href != ""
	})
	answer, err := http.PostForm(href, url.Values{"follow": {addressOf(second)}})
	must(t, err)
	must(t, answer.Body.Close())
	now, other := first.awaitEnd(), second.awaitEnd()
	if now.Status != "FAILURE" || !strings.Contains(now.Reason, addressOf(second)+" follows this one") || len(now.Steps) != 1 {
		t.Errorf("the one ends as %+v", now)
	}
	if !strings.Contains(other.Log, "the other ends as STATUS_FAILURE") || len(other.Steps) != 1 {
		t.Errorf("the other ends as %+v", other)
	}
	for _, s := range []*side{one, two} {
		s.host.end()
		audit(t, s.site, nil, "")
	}
}
