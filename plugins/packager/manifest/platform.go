package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"dormouse/configs"
)

// Platform returns the platform of this machine, as "linux-amd64".
func Platform() string { return runtime.GOOS + "-" + runtime.GOARCH }

var platformForm = regexp.MustCompile(`^[a-z0-9]+-[a-z0-9]+$`)

// checkPlatform returns an error that wraps ErrPlatform if an instance has no program for the
// platform.
func (m Manifest) checkPlatform(platform string) error {
	_, there := m.Programs[platform]
	needed := len(m.Instances) == 0 || slices.ContainsFunc(m.Instances, m.lacksExecutable)
	if there || !needed {
		return nil
	}
	have := strings.Join(slices.Sorted(maps.Keys(m.Programs)), ", ")
	if have == "" {
		have = "none"
	}
	return fmt.Errorf("%w, which is %s; it has: %s", ErrPlatform, platform, have)
}

// lacksExecutable reports whether an instance names no program of its own, and so runs that of the
// package.
func (m Manifest) lacksExecutable(keys configs.InstanceKeys) bool {
	_, own := keys.Values["executable"]
	return !own
}
