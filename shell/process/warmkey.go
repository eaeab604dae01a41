package process

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/internal/fileid"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// origin is what a plugin has become what it is from, right after Initialize: in a
// later life that must be the same. An image itself knows engine, kernel, executable
// and libraries.
type origin struct {
	// Started stands for how it was started and initialized, and as whom.
	Started string `json:"started"`
	// Program, Data and Persistent stand for files that it has, or may have, read.
	Program    string `json:"program"`
	Data       string `json:"data"`
	Persistent string `json:"persistent"`
}

// origin is that of a plugin that is started now.
func (b *Backend) origin() (o origin, err error) {
	if o.Started, err = b.started(); err != nil {
		return o, err
	}
	program, err := executable(b.given.Executable)
	if err == nil {
		o.Program, err = b.programFiles(program)
	}
	if err == nil {
		o.Data, err = footprint(b.host.dataDir(b.given))
	}
	if err == nil {
		o.Persistent, err = footprint(b.persistentDir())
	}
	return o, err
}

// programFiles stands for the program and the files that it is told to run, as an
// interpreter is.
func (b *Backend) programFiles(program string) (all string, err error) {
	files := []string{program}
	for _, argument := range b.given.Arguments {
		path := shell.Substitute(argument, b.paths())
		if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && info.Mode().IsRegular() {
			files = append(files, path)
		}
	}
	for _, file := range files {
		one, err := footprint(file)
		if err != nil {
			return "", err
		}
		all += one
	}
	return all, nil
}

// started stands for all that the host gives a plugin, and for the rights that the
// host has to give.
func (b *Backend) started() (string, error) {
	rights, err := procfs.ThreadIdentities([]int{os.Getpid()})
	if err != nil {
		return "", err
	}
	paths := b.paths()
	given := b.given.Given(configs.UseExec, configs.UseInitialize)
	return checksum(given, b.environment(paths), paths, b.hostSocketPath(), b.bound(), privileges(rights)), nil
}

// privileges are those of the first thread, which alone has the limits.
func privileges(tasks []procfs.ThreadIdentity) procfs.ThreadIdentity {
	for _, task := range tasks {
		if task.Limits != "" {
			task.ID = 0
			return task
		}
	}
	return procfs.ThreadIdentity{}
}

// differs says what is not as it was when the image was made, nil for nothing.
func (o origin) differs(now origin) error {
	switch {
	case o.Started != now.Started:
		return errors.New("what it is started with has changed: arguments, environment, configuration, directories, limits or rights")
	case o.Program != now.Program:
		return errors.New("its program was replaced or changed since")
	case o.Data != now.Data:
		return errors.New("its data directory has changed since")
	case o.Persistent != now.Persistent:
		return errStale
	}
	return nil
}

// errStale keeps a plugin from writing old things over newer ones.
var errStale = errors.New("its persistent directory has changed since, which it might overwrite from memory")

// maxFootprint is how many files are looked at before a start.
const maxFootprint = 10_000

// footprint stands for a file, or all files below a directory, as far as they can be
// told from others without being read; empty when there are none.
func footprint(path string) (string, error) {
	target, err := filepath.EvalSymlinks(path)
	if path == "" || errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	sum, count := sha256.New(), 0
	err = filepath.WalkDir(target, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if count++; err == nil && count > maxFootprint {
			err = fmt.Errorf("%s has more than %d files, which would be looked at before each start", target, maxFootprint)
		}
		id := fileid.FromStat(&st)
		_, _ = fmt.Fprintf(sum, "%q %d %d %o %d %d %d\n", path, id.Device, id.Inode, st.Mode, id.Size, id.Modified, id.Changed)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
