package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/store"
	"dormouse/internal/tamper"
	"dormouse/plugins/access"
	"dormouse/plugins/host"
	"dormouse/plugins/state"
	"dormouse/shell/process"
)

// checkOwnFiles returns an error that names the first of the host's files and directories, or
// of the programs that root is to run, that other users could change. The programs of plugins
// are checked whenever they are run.
func checkOwnFiles(config configs.Config) error {
	guard := tamper.GuardFor(config.Host.Root)
	for _, path := range ownFiles(config) {
		if err := guard.Check(path); err != nil {
			return fmt.Errorf("cannot use %s: %w", path, err)
		}
	}
	if os.Geteuid() != 0 {
		return nil
	}
	for _, program := range ownPrograms(config) {
		if err := guard.CheckProgram(program); err != nil {
			return fmt.Errorf("cannot run %s as root: %w", program, err)
		}
	}
	return nil
}

// ownFiles returns the paths of the files and directories that the host relies on. They need
// not exist.
func ownFiles(config configs.Config) (paths []string) {
	root, images := config.Host.Root, config.Hibernate.Dir
	names := append(store.FilesBeside(host.StoreName), "bin", host.StoreName, "post-mortem", process.PersistentName, state.DirName, host.OutputsName)
	for _, name := range names {
		paths = append(paths, filepath.Join(root, name))
	}
	paths = append(paths, string(access.TokenFileIn(root)), images, hibernate.KeyPath(images), config.Hibernate.KeyFile)
	paths = append(paths, config.Packages.Credentials, config.Packages.Bundled)
	for _, key := range config.Packages.Keys {
		if !configs.IsPublicKey(key) {
			paths = append(paths, key)
		}
	}
	for _, files := range allTLS(config) {
		paths = append(paths, files.Certificate, files.Key, files.ClientCA)
	}
	return slices.DeleteFunc(paths, func(path string) bool { return path == "" })
}

// ownPrograms returns the paths of the programs that the host runs for itself.
func ownPrograms(config configs.Config) (paths []string) {
	paths = append(paths, criu.ExecutablePath(config.Hibernate.Criu))
	if command := config.Host.Reboot; len(command) > 0 && strings.Contains(command[0], "/") {
		paths = append(paths, command[0])
	}
	return slices.DeleteFunc(paths, func(path string) bool { return path == "" })
}
