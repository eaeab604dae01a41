package configs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/internal/tamper"
)

// A drop-in that others could change is left out, as one with another fault; a main file or a
// directory of drop-ins that they could change is an error.
func TestFilesOfOthers(t *testing.T) {
	for name, test := range map[string]struct {
		open      string // what others may write
		isLeftOut bool
	}{
		"drop-in":   {"plugins.d/a.toml", true},
		"drop-ins":  {"plugins.d", false},
		"main file": {"dormouse.toml", false},
		"directory": {".", false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			main := filepath.Join(dir, "dormouse.toml")
			for path, text := range map[string]string{main: plugin("Main"), filepath.Join(dir, "plugins.d", "a.toml"): plugin("A"), filepath.Join(dir, "plugins.d", "b.toml"): plugin("B")} {
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := configs.Load(main, nil, configs.Overrides{}); err != nil {
				t.Fatal(err)
			}
			open := filepath.Join(dir, test.open)
			if err := os.Chmod(open, 0o777); err != nil {
				t.Fatal(err)
			}
			_, err := configs.Load(main, nil, configs.Overrides{})
			if !errors.Is(err, tamper.ErrOthers) || !strings.Contains(err.Error(), "chmod go-w "+open) {
				t.Errorf("Load returned %v", err)
			}
			config, err := configs.LoadWithoutBadDropIns(main, nil, configs.Overrides{})
			if !test.isLeftOut {
				if !errors.Is(err, tamper.ErrOthers) {
					t.Errorf("LoadWithoutBadDropIns returned %v", err)
				}
				return
			}
			if err != nil || len(config.Plugins) != 2 || len(config.LeftOut) != 1 || !config.LeftOut[0].Names("A") || !strings.Contains(config.LeftOut[0].String(), "chmod go-w "+open) {
				t.Errorf("got %v, %v, %v", config.Plugins, config.LeftOut, err)
			}
		})
	}
}
