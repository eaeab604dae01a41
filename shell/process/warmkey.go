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

// warmKey identifies all that a plugin depends on right after Initialize, as far as its
// image does not say so itself (the image knows engine, kernel, executable and
// libraries). A golden image fits only if the key is the same as when it was made.
type warmKey struct {
	// Started identifies the plugin's configuration and the rights of the host.
	Started string `json:"started"`
	// Program, Data and Persistent are checksums over the metadata of files that the plugin
	// has read, or may have read.
	Program    string `json:"program"`
	Data       string `json:"data"`
	Persistent string `json:"persistent"`
}

// computeWarmKey returns the key of a plugin that is started now. It reads the metadata
// of many files.
func (b *Backend) computeWarmKey() (key warmKey, err error) {
	if key.Started, err = b.startConditionsChecksum(); err != nil {
		return key, err
	}
	program, err := findExecutable(b.startConfig.Executable)
	if err == nil {
		key.Program, err = b.programMetadataChecksum(program)
	}
	if err == nil {
		key.Data, err = metadataChecksum(b.host.dataDir(b.startConfig))
	}
	if err == nil {
		key.Persistent, err = metadataChecksum(b.persistentDir())
	}
	return key, err
}

// programMetadataChecksum returns the metadata checksums, one after the other, of the
// program and of the files among its arguments, such as an interpreter's script.
func (b *Backend) programMetadataChecksum(program string) (checksums string, err error) {
	files := []string{program}
	for _, argument := range b.startConfig.Arguments {
		path := shell.SubstitutePaths(argument, b.paths())
		if info, err := os.Stat(path); filepath.IsAbs(path) && err == nil && info.Mode().IsRegular() {
			files = append(files, path)
		}
	}
	for _, file := range files {
		one, err := metadataChecksum(file)
		if err != nil {
			return "", err
		}
		checksums += one
	}
	return checksums, nil
}

// startConditionsChecksum returns a checksum of all that the host gives a plugin, and of
// the rights that the plugin inherits from the host.
func (b *Backend) startConditionsChecksum() (string, error) {
	threads, err := procfs.ThreadIdentities([]int{os.Getpid()})
	if err != nil {
		return "", err
	}
	paths := b.paths()
	values := b.startConfig.ValuesOfKeysFor(configs.UseExec, configs.UseInitialize)
	return jsonChecksum(values, b.environment(paths), paths, b.hostSocketPath(), b.newTreesEndWithHost(), firstThreadWithoutID(threads)), nil
}

// firstThreadWithoutID returns the identity of the only thread in threads with limits,
// which is the first one of a process, with the ID 0, since the ID changes with each
// host.
func firstThreadWithoutID(threads []procfs.ThreadIdentity) procfs.ThreadIdentity {
	for _, thread := range threads {
		if thread.Limits != "" {
			thread.ID = 0
			return thread
		}
	}
	return procfs.ThreadIdentity{}
}

// checkUnchanged returns an error that says what has changed from k to now, nil if nothing
// has.
func (k warmKey) checkUnchanged(now warmKey) error {
	switch {
	case k.Started != now.Started:
		return errors.New("what it is started with has changed: arguments, environment, configuration, directories, limits or rights")
	case k.Program != now.Program:
		return errors.New("its program was replaced or changed since")
	case k.Data != now.Data:
		return errors.New("its data directory has changed since")
	case k.Persistent != now.Persistent:
		return errPersistentChanged
	}
	return nil
}

// errPersistentChanged keeps a plugin from overwriting newer files with what it has in
// memory.
var errPersistentChanged = errors.New("its persistent directory has changed since, which it might overwrite from memory")

// maxChecksumFiles is the largest number of files in one checksum: checksums are made
// before each start.
const maxChecksumFiles = 10_000

// metadataChecksum returns a checksum over the identity, size and times of a file, or of
// all files below a directory. It reads no file, and returns "" if path is empty or does
// not exist. More than maxChecksumFiles files are an error.
func metadataChecksum(path string) (string, error) {
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
		if count++; err == nil && count > maxChecksumFiles {
			err = fmt.Errorf("%s has more than %d files, which would be looked at before each start", target, maxChecksumFiles)
		}
		id := fileid.FromStat(&st)
		_, _ = fmt.Fprintf(sum, "%q %d %d %o %d %d %d\n", path, id.Device, id.Inode, st.Mode, id.Size, id.Modified, id.Changed)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
