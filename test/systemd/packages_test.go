package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

// packaged is an instance whose program comes from a package.
const packaged = `
[[plugin]]
callsign = "Packaged"
executable = "/opt/demo/counter"
sleep = "checkpoint"
`

// The hook for apt wakes what an update would keep from waking, and stops an update when that
// can't be done.
func packages(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		hibernatetest.SkipOrFail(t, err)
	}
	makePackageDatabase(t)
	installHook(t)
	if out, err := apt(t, "1"); err != nil { // there is no host yet, and nothing sleeps
		t.Fatalf("%v: %s", err, out)
	}
	configure(t, "adopt", packaged)
	install(t, "dormouse.service")
	systemctl(t, "start", service)
	operate(t, "activate", "Packaged")
	operate(t, "activate", "Asleep")
	for _, callsign := range []string{"Packaged", "Asleep"} {
		must(t, callsign+".increment", nil, nil)
		operate(t, "hibernate", callsign)
	}

	out, err := apt(t, "2")
	if err != nil || !strings.Contains(out, "would keep these sleeping plugins from waking: Packaged \n") {
		t.Errorf("the update ended with %v: %s", err, out)
	}
	t.Logf("the update:\n%s", out)
	if st := look(t, "Packaged"); st.PID == 0 || count(t, "Packaged").Value != 1 {
		t.Errorf("what the update concerns is %+v", st)
	}
	if st := look(t, "Asleep"); st.State != "hibernated" {
		t.Errorf("what the update does not concern is %+v", st)
	}

	operate(t, "deactivate", "Packaged") // it runs from the old file
	operate(t, "activate", "Packaged")
	operate(t, "hibernate", "Packaged")
	systemctl(t, "stop", service)
	if out, err := apt(t, "3"); err == nil || !strings.Contains(out, "no host reached") {
		t.Errorf("the update of what can't be woken ended with %v: %s", err, out)
	}
	systemctl(t, "start", service)
	operate(t, "activate", "Packaged")
	if st := look(t, "Packaged"); st.Error != "" {
		t.Errorf("after the update was stopped it is %+v", st)
	}
	operate(t, "deactivate", "Packaged")
	operate(t, "deactivate", "Asleep")
	systemctl(t, "stop", service)
}

// makePackageDatabase makes the directories that dpkg and apt want, for a machine on which no
// package is installed.
func makePackageDatabase(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"/var/lib/dpkg/info", "/var/lib/dpkg/updates", "/var/lib/dpkg/triggers", "/var/lib/apt/lists/partial", "/var/cache/apt/archives/partial", "/var/log/apt", "/etc/apt/apt.conf.d", "/opt"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("/var/lib/dpkg/status", nil, 0o644); err != nil {
		t.Fatal(err)
	}
}

// installHook installs the example hook where this container has its files.
func installHook(t *testing.T) {
	t.Helper()
	for from, to := range map[string]string{"dormouse-apt-hook": "/opt/dormouse-apt-hook", "dormouse.conf": "/etc/apt/apt.conf.d/90dormouse"} {
		text, err := os.ReadFile(filepath.Join(lab, "apt", from))
		if err == nil {
			changed := strings.NewReplacer("/usr/local/lib/dormouse/", "/opt/").Replace(string(text))
			err = os.WriteFile(to, []byte(changed), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// apt makes a package with a counter that differs in each version, and installs it.
func apt(t *testing.T, version string) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	program, err := os.ReadFile(lab + "/bin/counter")
	if err != nil {
		t.Fatal(err)
	}
	control := fmt.Sprintf("Package: demo\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: a counter\n", version)
	for _, file := range []struct {
		path string
		text []byte
	}{
		{"demo/DEBIAN/control", []byte(control)},
		{"demo/opt/demo/counter", append(program, version...)},
	} {
		path := filepath.Join(dir, file.path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.text, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	archive := filepath.Join(dir, "demo.deb")
	if out, err := exec.Command("dpkg-deb", "-Znone", "--build", filepath.Join(dir, "demo"), archive).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command("apt-get", "install", "--yes", "--no-install-recommends", "-o", "APT::Sandbox::User=root", archive)
	cmd.Env = append(os.Environ(), "PATH="+lab+"/bin:"+os.Getenv("PATH"), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	return string(out), err
}
