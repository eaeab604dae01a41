package criu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
)

// installPaths are where make setup and the package install CRIU.
var installPaths = []string{"/usr/local/lib/dormouse/criu/criu", "/usr/lib/dormouse/criu/criu"}

// ExecutablePath returns the path of the CRIU that Open runs, given the configured path or
// name: "" if there is none.
func ExecutablePath(configured string) string {
	if configured == "" {
		return findInstalledCRIU()
	}
	path, err := exec.LookPath(configured)
	if err != nil {
		return ""
	}
	return path
}

// findInstalledCRIU returns the path of the CRIU that is installed for this host or is in
// PATH, "" when there is none.
func findInstalledCRIU() (path string) {
	for _, path := range installPaths {
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path
		}
	}
	path, err := exec.LookPath("criu")
	if err != nil {
		return ""
	}
	return path
}

// versionLimit is how long CRIU may take to tell its version.
const versionLimit = 5 * time.Second

// askCRIUVersion starts the CRIU at path and returns the version that it tells, such as
// "4.2.1". A development version counts as the next release.
func askCRIUVersion(path string) (version string, err error) {
	if _, err := exec.LookPath(path); err != nil {
		return "", err
	}
	c, err := startCRIU(path, "", nil)
	if err != nil {
		return "", err
	}
	defer c.endOrKillAndWait()
	ctx, cancel := context.WithTimeout(context.Background(), versionLimit)
	defer cancel()
	resp, err := c.sendAndAwaitAnswer(ctx, &rpc.CriuReq{Type: rpc.CriuReqType_VERSION.Enum()}, nil)
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("it does not tell its version within %s", versionLimit)
	}
	if err != nil {
		return "", err
	}
	v := resp.GetVersion()
	major, minor, patch := v.GetMajorNumber(), v.GetMinorNumber(), v.GetSublevel()
	if v.GetGitid() != "" {
		minor, patch = minor+1, 0
	}
	return fmt.Sprintf("%d.%d.%d", major, minor, patch), nil
}
