package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"dormouse/configs"
	"dormouse/internal/bytesize"
	"dormouse/internal/store"
	"dormouse/plugins/host"
)

// addStoreFlags declares the flags that name a host's configuration, and returns the function
// that tells where the host's store is.
func addStoreFlags(flags *flag.FlagSet) func() (string, error) {
	path := flags.String("config", "", "the configuration `FILE` of the host, "+configs.DefaultPath+" if not given")
	var o configs.Overrides
	flags.StringVar(&o.Root, "root", "", "the root `DIR` of the host, if it was started with --root")
	return func() (string, error) {
		config, err := configs.LoadWithoutBadDropIns(*path, os.Getenv, o)
		if err != nil {
			return "", fmt.Errorf("cannot tell where the host keeps its store:\n%w", err)
		}
		return filepath.Join(config.Host.Root, host.StoreName), nil
	}
}

// storeError adds to an error what the user can do about it.
func storeError(verb, path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("cannot %s the store: %w; no host has had this root: give --root and --config as the host got them", verb, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot %s the store: %w; run this as the user of the host, which is root as a rule", verb, err)
	case errors.Is(err, store.ErrDamaged):
		return fmt.Errorf("cannot %s %s: %w; `dormouse store check` says more, and a start of the host copies what can be read into a new store", verb, path, err)
	default:
		return fmt.Errorf("cannot %s %s: %w", verb, path, err)
	}
}

// storeCheckVerb returns the action that checks the store, and fails if it is damaged.
func storeCheckVerb(flags *flag.FlagSet) action {
	where, format := addStoreFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		path, err := where()
		if err != nil {
			return err
		}
		found, err := store.Examine(ctx, path)
		if err != nil {
			return storeError("check", path, err)
		}
		verdict := errReportedUnless(len(found.Problems) == 0)
		if format.isJSON() {
			return errors.Join(t.printIndentedJSON(found), verdict)
		}
		var rows table
		for _, size := range found.Tables {
			rows.addRow(size.Table, fmt.Sprint(size.Rows))
		}
		t.printf("%s, %s\n%s", found.Path, bytesize.Format(found.Bytes), rows.alignedText(t.width))
		for _, problem := range found.Problems {
			t.printf("damaged: %s\n", problem)
		}
		if verdict == nil {
			t.printf("No damage was found.\n")
		} else {
			t.printErrf("The next start of the host copies what can be read into a new store, says what is lost, and keeps this one.\n")
		}
		return verdict
	}
}

// storeBackup is what `store backup -o json` prints.
type storeBackup struct {
	Store  string `json:"store"`
	Backup string `json:"backup"`
	Bytes  int64  `json:"bytes"`
}

// storeBackupVerb returns the action that writes a copy of the store to a new file.
func storeBackupVerb(flags *flag.FlagSet) action {
	where, format := addStoreFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		path, err := where()
		if err != nil {
			return err
		}
		to := args[0]
		err = store.Backup(ctx, path, to)
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("cannot back up the store: %s is there already; name a new file", to)
		}
		if err != nil {
			return storeError("back up", path, err)
		}
		info, err := os.Stat(to)
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printIndentedJSON(storeBackup{path, to, info.Size()})
		}
		t.printf("%s holds what %s held now, %s.\n", to, path, bytesize.Format(info.Size()))
		return nil
	}
}
