package faults

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

// The commands that docs/plugins.md has for the optimizer work as they are written there.
func TestOptimizerCommands(t *testing.T) {
	hibernatetest.RequireProgram(t, "curl")
	runBeside(t)
	text, err := os.ReadFile("../../docs/plugins.md")
	must(t, err)
	_, section, _ := strings.Cut(string(text), "\n### An example that uses all of it\n")
	section, _, _ = strings.Cut(section, "\n## ")
	commands := regexp.MustCompile(`(?m)^(dormouse|curl) .*$`).FindAllString(section, -1)
	if len(commands) != 8 {
		t.Fatalf("the commands are %q", commands)
	}
	f := newFitting(t)
	f.host = f.site.start("")
	f.host.ready()
	here := strings.TrimSuffix(f.host.url(), "/jsonrpc")
	href := ""
	for i, want := range []string{"", "open Set up the objective function", "303 See Other", "303 See Other", "", "-- SUCCESS", `"status":"SUCCESS"`, "303 See Other"} {
		if strings.Contains(commands[i], "HREF") {
			href = f.awaitHref(href)
		}
		if strings.Contains(commands[i], "min.confirm") {
			f.awaitStep("min.confirm")
		}
		command := strings.NewReplacer(
			"ID", f.id, "HREF", strings.Replace(href, publicURL, here, 1), "http://127.0.0.1:9998", here,
			"http://127.0.0.1:8000/features.json", f.features, "http://127.0.0.1:8000/target.json", f.target,
		).Replace(commands[i])
		cmd := exec.Command("sh", "-c", command)
		cmd.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "DORMOUSE_HOST="+strings.TrimPrefix(here, "http://"))
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Fatalf("%s\n%v: it does not say %q but\n%s", command, err, want, out)
		}
		if f.id == "" {
			f.id = strings.TrimSpace(string(out))
			f.awaitStep("of_setup")
		}
	}
	f.verify()
}

// awaitHref returns the address of the open step that has another one than that, once there is
// such a step.
func (f *fitting) awaitHref(than string) (href string) {
	f.t.Helper()
	until(f.t, "a step with an address", func() bool {
		now, err := f.task()
		must(f.t, err)
		if len(now.Steps) > 0 && !now.Steps[len(now.Steps)-1].Cleared {
			href = now.Steps[len(now.Steps)-1].Href
		}
		return href != "" && href != than
	})
	return href
}

// awaitStep waits until the task has that step.
func (f *fitting) awaitStep(id string) {
	f.t.Helper()
	until(f.t, "the step "+id, func() bool {
		now, err := f.task()
		must(f.t, err)
		return len(now.Steps) > 0 && now.Steps[len(now.Steps)-1].ID == id
	})
}
