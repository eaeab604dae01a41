package qhana

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/store"
	"dormouse/plugins/host"
	"dormouse/shell"
	"dormouse/supervisor"
)

// square is a virtual plugin of Objective that has a page of its own.
func square() supervisor.Virtual {
	return supervisor.Virtual{Callsign: "Square", Profile: shell.Profile{
		Name: "square-loss", Version: "1.0.0", Tags: []string{"objective-function"},
		Entry: &shell.EntryPoint{Kind: shell.Processing, UI: "pages/start.html", Schema: []byte(`{"properties":{"c":{"type":"number"}},"required":["c"]}`)},
	}}
}

const hinge = "hinge-loss 0.2.0.dev0+snapshot"

// A registry hears at once of each plugin that comes, changes and goes while the host runs, and of
// none because a host or a plugin ends.
func TestRegistryFollowsHost(t *testing.T) {
	registry := newRegistry(t)
	h := newRig(t, registry.Root())
	registry.AddSeed(h.url)
	ctx := limited(t)
	if err := registry.Discover(); err != nil { // the seed was not known when the host began
		t.Fatal(err)
	}
	if err := registry.AwaitPlugins(ctx, hinge); err != nil {
		t.Fatal(err)
	}
	if err := h.host.Supervisor.CreateVirtual(ctx, "Objective", square()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := registry.AwaitPlugins(ctx, hinge, "square-loss 1.0.0"); err != nil {
		t.Fatal(err)
	}
	t.Logf("the registry knows a new plugin after %s", time.Since(begun))
	described := square()
	described.Profile.Description = "another"
	after := len(registry.Log())
	if err := h.host.Supervisor.UpdateVirtual(ctx, "Objective", described); err != nil {
		t.Fatal(err)
	}
	if err := registry.AwaitLog(ctx, after, "seen "+h.url+"/plugins/square-loss@1-0-0/"); err != nil {
		t.Fatal(err)
	}

	after = len(registry.Log())
	sh, _ := h.host.Supervisor.Shell("Objective")
	if err := sh.Deactivate(ctx, shell.Requested); err != nil {
		t.Fatal(err)
	}
	h.restart()
	if err := h.host.Supervisor.RemoveVirtual(ctx, "Objective", "Square"); err != nil {
		t.Fatal(err)
	}
	if err := registry.AwaitPlugins(ctx, hinge); err != nil {
		t.Fatal(err)
	}
	for _, line := range registry.Log()[after:] {
		if strings.Contains(line, "hinge") {
			t.Errorf("it was told of a plugin that had stayed: %s", line)
		}
	}
	if status, _, _ := get(t, h.url+"/plugins/square-loss@1-0-0/"); status != http.StatusNotFound {
		t.Errorf("a plugin that has gone answers %d", status)
	}
}

// A plugin that is down is known by what its program says of itself. Its work can't be started
// before it is active.
func TestPluginThatIsDown(t *testing.T) {
	registry, runner := newRegistry(t), newRunner(t)
	down := objective("Quiet", configs.StartDeactivated)
	down.Environment = map[string]string{"OBJECTIVE_ENTRY": "1"}
	h := newRigWith(t, []configs.Plugin{down}, registry.Root())
	registry.AddSeed(h.url)
	if err := registry.Discover(); err != nil {
		t.Fatal(err)
	}
	if err := registry.AwaitPlugins(limited(t), hinge, "objective 1.0.0"); err != nil {
		t.Fatal(err)
	}
	process := h.url + "/plugins/objective@1-0-0/process/"
	if task, err := runner.Submit(process, nil); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("work of a plugin that is down is started: %s, %v", task, err)
	}
	sh, _ := h.host.Supervisor.Shell("Quiet")
	if err := sh.Activate(limited(t), shell.Requested); err != nil {
		t.Fatal(err)
	}
	task, err := runner.Submit(process, nil)
	if err != nil {
		t.Fatal(err)
	}
	awaitStep(t, runner, task, "pass_data")
}

// The plugin's own page is served with what is beside it, and its form starts work.
func TestPageOfPlugin(t *testing.T) {
	runner := newRunner(t)
	h := newRig(t)
	if err := h.host.Supervisor.CreateVirtual(limited(t), "Objective", square()); err != nil {
		t.Fatal(err)
	}
	page := h.url + "/plugins/square-loss@1-0-0/ui/"
	process := h.url + "/plugins/square-loss@1-0-0/process/"
	const callback = "http://127.0.0.1:1/callback/?id=1"
	if got, want := formAction(t, page+"?callback="+url.QueryEscape(callback)), process+"?callback="+url.QueryEscape(callback); got != want {
		t.Errorf("the form is sent to %s, not to %s", got, want)
	}
	if status, header, body := get(t, page+"style.css"); status != 200 || header.Get("Content-Type") != "text/css" || !strings.Contains(body, "margin") {
		t.Errorf("%d %v %s", status, header, body)
	}
	task, err := runner.Submit(formAction(t, page), url.Values{"c": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	awaitStep(t, runner, task, "pass_data")
}

// A task that its plugin does not take up again ends with the host, under the same address, and
// subscribers are told of that.
func TestRestart(t *testing.T) {
	runner := newRunner(t)
	h := newRig(t)
	events := make(chan string, 16)
	subscriber := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || len(body) > 0 || err != nil || r.URL.Query().Get("id") != "1" {
			events <- "a webhook " + r.Method + " " + r.URL.RequestURI() + " " + string(body)
		}
		events <- r.URL.Query().Get("event") + " of " + r.URL.Query().Get("source")
	}))
	t.Cleanup(subscriber.Close)
	task, err := runner.Submit(h.url+"/plugins/hinge-loss@0-2-0-dev0+snapshot/process/?callback="+url.QueryEscape(subscriber.URL+"/?id=1"), url.Values{"c": {"1"}})
	if err != nil {
		t.Fatal(err)
	}
	await := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-events:
				if got == want {
					return
				}
				if strings.HasPrefix(got, "a webhook") {
					t.Error(got)
				}
			case <-limited(t).Done():
				t.Fatalf("there is no webhook %q", want)
			}
		}
	}
	await("steps of " + task)
	h.restart()
	await("status of " + task)
	record, err := runner.Get(task)
	if err != nil {
		t.Fatal(err)
	}
	if record.Status != "FAILURE" || len(record.Steps) != 1 || !strings.Contains(record.Log, "waits for data") {
		t.Errorf("%+v", record)
	}
	if _, err := runner.Submit(record.Steps[0].Href, url.Values{"features": {task}, "target": {task}}); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a step of an ended task: %v", err)
	}
}

// The commands in docs/qhana.md work as they are written there.
func TestCurl(t *testing.T) {
	text, err := os.ReadFile("../../docs/qhana.md")
	if err != nil {
		t.Fatal(err)
	}
	runner := newRunner(t)
	h := newRigWith(t, examples())
	form := data(t, runner, []float64{1})
	task, err := runner.Submit(h.url+"/plugins/optimizer/process/", form)
	if err == nil || !strings.Contains(err.Error(), "405") && !strings.Contains(err.Error(), "404") {
		t.Errorf("a name without version: %s, %v", task, err)
	}
	if task, err = runner.Submit(h.url+optimizerResource+"process/", form); err != nil {
		t.Fatal(err)
	}
	awaitStep(t, runner, task, "of_setup")
	hibernatetest.RequireProgram(t, "curl")
	commands := regexp.MustCompile(`(?m)^curl .*$`).FindAllString(string(text), -1)
	if len(commands) < 5 {
		t.Fatalf("the page has only the commands %q", commands)
	}
	for _, command := range commands {
		want := `"taskId":"` + strings.Trim(strings.TrimPrefix(task, h.url+"/tasks/"), "/") + `"`
		if strings.Contains(command, "/process/") {
			want = "303 See Other"
		}
		command = strings.NewReplacer("http://127.0.0.1:9998/qhana/tasks/ID/", task, "http://127.0.0.1:9998", "http://"+h.listen, "wait=60", "wait=1").Replace(command)
		out, err := exec.CommandContext(limited(t), "sh", "-c", strings.Replace(command, "curl", "curl -sS", 1)).CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s\n%v: it does not answer %s but\n%s", command, err, want, out)
		}
	}
}

// A page with a form shows what is wrong, as a browser sees it.
func TestForm(t *testing.T) {
	h := newRig(t)
	request, err := http.NewRequestWithContext(limited(t), http.MethodPost, h.url+"/plugins/hinge-loss@0-2-0-dev0+snapshot/process/", strings.NewReader("c=-1"))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "text/html,application/xhtml+xml,*/*;q=0.8")
	request.Header.Set("Origin", "http://"+h.listen)
	request.Header.Set("Sec-Fetch-Site", "same-origin")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	status, body := send(t, client, request)
	if status != http.StatusUnprocessableEntity || !strings.Contains(body, `value="-1"`) || !strings.Contains(body, `class="error"`) {
		t.Errorf("%d\n%s", status, body)
	}
	foreign := request.Clone(limited(t))
	foreign.Body, foreign.ContentLength = http.NoBody, 0
	foreign.Header.Set("Origin", "http://evil.example")
	if status, body := send(t, client, foreign); status != http.StatusForbidden {
		t.Errorf("a page of another origin starts work: %d %s", status, body)
	}
}

// send returns what a request is answered with.
func send(t *testing.T, client *http.Client, request *http.Request) (status int, body string) {
	t.Helper()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, textOf(t, response.Body)
}

// A host that does not serve QHAna any more answers nothing below its path, and drops what waits
// for registries.
func TestSwitchedOff(t *testing.T) {
	registry := newRegistry(t)
	registry.AnswerNext(slices.Repeat([]int{http.StatusServiceUnavailable}, 100)...)
	h := newRig(t, registry.Root())
	if err := registry.AwaitLog(limited(t), 0, "GET /api/"); err != nil {
		t.Fatal(err)
	}
	h.config.Host.PublicURL, h.config.QHAna.Registries = "", nil
	h.restart()
	if status, _, _ := get(t, h.url); status != http.StatusNotFound {
		t.Errorf("%s answers %d", h.url, status)
	}
	h.stop() // which waits for what the host has to do
	s, err := store.Open(filepath.Join(h.config.Host.Root, host.StoreName), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var waiting, told int
	err = s.View(limited(t), func(tx *store.Tx) error {
		return tx.QueryRow(`SELECT (SELECT count(*) FROM outbox_deliveries), (SELECT count(*) FROM qhana_told)`).Scan(&waiting, &told)
	})
	if err != nil || waiting != 0 || told != 0 {
		t.Errorf("%d deliveries wait, %d plugins are told of: %v", waiting, told, err)
	}
}
