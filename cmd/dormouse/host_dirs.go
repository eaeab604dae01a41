package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/internal/atomicfile"
	"dormouse/internal/filelock"
	"dormouse/internal/ownedtree"
	"dormouse/internal/regularfile"
	"dormouse/internal/tamper"
	"dormouse/internal/unixsock"
	"dormouse/shell/process"
)

// Names of the host's own files in the root.
const (
	lockName    = "lock"    // held by the host that runs, with its PID
	addressName = "address" // where it listens; there as long as it runs
)

// hostDirs are the directories that one host locks, so that no other host uses them.
type hostDirs struct {
	// run holds the sockets and volatile files of the plugins.
	run string
	// isShortened reports whether run replaces a configured directory whose path is too long.
	isShortened bool
	// address is the path of the address file, "" until it is written.
	address string
	locks   []*os.File
}

// makeAndLockDirs makes and locks the root, the run directory and the directory of the
// images. It returns an error if another host uses one of them. If the run directory's
// path is too long for sockets, it takes a shorter one.
func makeAndLockDirs(config configs.Config) (_ *hostDirs, err error) {
	root := config.Host.Root
	p := &hostDirs{run: instancesDir(config.Host)}
	plugins := slices.Clone(config.Plugins)
	for _, callsign := range config.LeftOut.Callsigns() { // the directory must be the one that they had
		plugins = append(plugins, configs.Plugin{Callsign: callsign})
	}
	defer func() {
		if err != nil {
			p.cleanUpAndUnlock()
		}
	}()
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the root directory: %w; --root DIR chooses another", err)
	}
	guard := tamper.GuardFor(root)
	if err := guard.Check(root); err != nil {
		return nil, fmt.Errorf("cannot use the root directory: %w", err)
	}
	if err := p.lockRootAndWritePID(root); err != nil {
		return nil, err
	}
	if !socketPathsFit(p.run, plugins) {
		p.run, p.isShortened = shortRunDirPath(root), true
		if !socketPathsFit(p.run, plugins) {
			return nil, fmt.Errorf("cannot find a directory whose path is short enough for sockets: %s is too long, set TMPDIR", p.run)
		}
	}
	if err := makeOrCheckPrivateDir(p.run, guard); err != nil {
		return nil, fmt.Errorf("cannot use %s as run directory: %w", p.run, err)
	}
	if filepath.Base(p.run) == instancesDirName {
		if err := ownedtree.Make(p.run); err != nil {
			return nil, fmt.Errorf("cannot use %s as run directory: %w; choose another communicator", p.run, err)
		}
	}
	for _, dir := range []string{p.run, config.Hibernate.Dir} {
		if err := p.makeAndLockDir(dir); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// instancesDirName is the directory of the instances' run directories where the communicator
// has its socket among files that are not the host's.
const instancesDirName = "dormouse-run"

// instancesDir returns the directory that holds the run directories of the instances. It is
// that of the communicator where its name is of the host's choosing, or an earlier version
// has kept instances there, and otherwise one of the host's own below that.
func instancesDir(h configs.Host) string {
	if dir := h.RunDir(); isNamedByHost(dir, h) || process.HoldsInstances(dir) {
		return dir
	}
	return filepath.Join(h.RunDir(), instancesDirName)
}

// foreignInRunDir returns the names of what the run directory holds besides sockets and the
// run directories of instances.
func (p *hostDirs) foreignInRunDir() (names []string) {
	entries, _ := os.ReadDir(p.run) // it is only told what is there
	for _, entry := range entries {
		if name := entry.Name(); name != ownedtree.MarkName && entry.Type() != os.ModeSocket && !ownedtree.IsMarked(filepath.Join(p.run, name)) {
			names = append(names, name)
		}
	}
	return names
}

// isNamedByHost reports whether dir is the default run directory, or that below the root.
func isNamedByHost(dir string, h configs.Host) bool {
	return dir == configs.Default().Host.RunDir() || dir == filepath.Join(h.Root, "run")
}

// makeUnixSocketDirs makes the directories of the unix sockets and returns the sockets'
// paths: the configured ones, or some in the shortened run directory if those are too long.
func (p *hostDirs) makeUnixSocketDirs(h configs.Host) (paths unixSocketPaths, err error) {
	if paths.native, err = p.makeUnixSocketDir(h, h.Communicator); err == nil {
		paths.control, err = p.makeUnixSocketDir(h, h.ControlPath())
	}
	return paths, err
}

// makeUnixSocketDir makes the directory of a unix socket and returns the socket's path. It
// marks a directory that it makes, or finds empty, as the host's own.
func (p *hostDirs) makeUnixSocketDir(h configs.Host, configured string) (s unixSocketPath, err error) {
	s.path = configured
	if p.isShortened && len(s.path) > unixsock.LongestPath {
		s.path = filepath.Join(p.run, filepath.Base(s.path))
	}
	dir := filepath.Dir(s.path)
	s.dirIsOwn = dir == p.run || isNamedByHost(dir, h)
	if !s.dirIsOwn {
		err = ownedtree.Make(dir)
		s.dirIsOwn = err == nil
		if _, isForeign := errors.AsType[*ownedtree.ForeignError](err); isForeign {
			err = nil
		}
	}
	if err == nil {
		err = makeOrCheckPrivateDir(dir, tamper.GuardFor(h.Root))
	}
	if err != nil {
		return s, fmt.Errorf("cannot use %s as the directory of the socket %s: %w", dir, filepath.Base(s.path), err)
	}
	return s, nil
}

// writeAddressFile writes the address at which the host listens into a file in root. The error
// wraps errNoAddressFile if the disk is full.
func (p *hostDirs) writeAddressFile(root, address string) error {
	path := filepath.Join(root, addressName)
	err := atomicfile.Write(path, []byte(address+"\n"), 0o600)
	if err == nil {
		err = writePID(p.locks[0]) // of the root, which may have been full
	}
	if atomicfile.IsNoRoom(err) {
		_ = os.Remove(path) // an earlier host listened elsewhere
		return fmt.Errorf("%w: %w", errNoAddressFile, err)
	}
	if err != nil {
		return fmt.Errorf("cannot write the host's address: %w", err)
	}
	p.address = path
	return nil
}

// errNoAddressFile means that clients on this machine find the host only by its configuration.
var errNoAddressFile = errors.New("cannot write the host's address, which clients of this machine look up, before there is room on the disk")

// cleanUpAndUnlock removes the address file, removes a shortened run directory if it is
// empty, and unlocks the directories. The files of hibernated instances stay.
func (p *hostDirs) cleanUpAndUnlock() {
	if p.address != "" {
		_ = os.Remove(p.address)
	}
	if p.isShortened {
		_ = os.Remove(p.run) // unless a hibernated instance has files in it
	}
	for _, lock := range p.locks {
		_ = lock.Close()
	}
}

// lockRootAndWritePID makes this process the only host with that root, and writes its pid
// into the lock file. If another host has the root, the error names that host's pid.
func (p *hostDirs) lockRootAndWritePID(root string) error {
	lock, err := regularfile.OpenFile(filepath.Join(root, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("cannot lock the root directory: %w", err)
	}
	p.locks = append(p.locks, lock)
	text := make([]byte, 20)
	n, _ := lock.ReadAt(text, 0)
	err = filelock.Lock(lock, filelock.Moment)
	if errors.Is(err, filelock.ErrLocked) {
		return fmt.Errorf("cannot serve %s: the host with pid %s does already; end it, or choose another --root",
			root, strings.TrimSpace(string(text[:n])))
	}
	if err == nil {
		err = lock.Truncate(0)
	}
	if err == nil {
		err = writePID(lock)
	}
	if err != nil && !atomicfile.IsNoRoom(err) { // writeAddressFile tries again
		return fmt.Errorf("cannot lock the root directory: %w", err)
	}
	return nil
}

// writePID writes the PID of this process to the lock file.
func writePID(lock *os.File) error {
	_, err := lock.WriteAt(fmt.Appendln(nil, os.Getpid()), 0)
	return err
}

// makeAndLockDir makes a directory and locks it against hosts with another root.
func (p *hostDirs) makeAndLockDir(path string) error {
	err := os.MkdirAll(path, 0o700)
	var dir *os.File
	if err == nil {
		dir, err = os.Open(path)
	}
	if err != nil {
		return fmt.Errorf("cannot lock a directory: %w", err)
	}
	p.locks = append(p.locks, dir)
	err = filelock.Lock(dir, filelock.Moment)
	if errors.Is(err, filelock.ErrLocked) {
		return fmt.Errorf("cannot use %s: another host does, though its root is another one; choose another place in the configuration", path)
	}
	return err
}

// socketPathsFit reports whether the path of every plugin's socket below runDir has at
// most the 107 bytes that Linux allows (unix(7)).
func socketPathsFit(runDir string, plugins []configs.Plugin) bool {
	const limit, margin = 107, 8
	longest := 0
	for _, p := range plugins {
		longest = max(longest, len(p.Callsign))
	}
	return len(runDir)+len("/")+longest+len("/plugin0123456789")+margin <= limit
}

// checkSocketPathLength returns an error if the socket of an instance of that callsign
// would have too long a path.
func (p *hostDirs) checkSocketPathLength(callsign string) error {
	if socketPathsFit(p.run, []configs.Plugin{{Callsign: callsign}}) {
		return nil
	}
	return fmt.Errorf("%q is too long a callsign: the path of its socket below %s would have more than the 107 bytes that Linux allows", callsign, p.run)
}

// shortRunDirPath returns the path of a run directory that is short enough for sockets.
// It is always the same for a root, since images name the sockets in that directory.
func shortRunDirPath(root string) string {
	sum := sha256.Sum256([]byte(root))
	return filepath.Join(os.TempDir(), fmt.Sprintf("dormouse-%x", sum[:6]))
}

// makeOrCheckPrivateDir makes dir if it is missing. It returns an error if others could write
// or exchange dir, or it is not a directory.
func makeOrCheckPrivateDir(dir string, guard tamper.Guard) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err == nil {
		err = guard.Check(dir)
	}
	return err
}
