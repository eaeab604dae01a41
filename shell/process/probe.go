package process

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/internal/fileid"
	"dormouse/internal/regularfile"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// probeSuffix ends the name of a probe's run directory and cgroup. No callsign can contain
// it, and it is short since it becomes part of a socket's path.
const probeSuffix = "~probe"

// ProgramCache keeps what programs say of themselves. Backends make the keys. Get returns
// false for a key that Put was not called with.
type ProgramCache interface {
	Get(key string) (p CachedProgram, found bool, err error)
	Put(key string, p CachedProgram) error
}

// ownCache is the ProgramCache of one backend, which uses it from one goroutine at a
// time.
type ownCache map[string]CachedProgram

func (c ownCache) Get(key string) (CachedProgram, bool, error) {
	p, found := c[key]
	return p, found, nil
}

func (c ownCache) Put(key string, p CachedProgram) error { c[key] = p; return nil }

// CachedProgram is what one program said of itself when it was started with certain
// arguments, environment and limits.
type CachedProgram struct {
	// File identifies the program's file; while it is the same, Digest need not be
	// compared.
	File        fileFields `json:"file"`
	Digest      string     `json:"digest"`      // SHA-256 of the file
	Information []byte     `json:"information"` // a shellpb.InformationResponse
}

// fileFields is a fileid.ID with the names that it has in the cache on disk.
type fileFields struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Changed  int64  `json:"changed"`
	Modified int64  `json:"written"`
}

// ProbeProgram asks the program for its description, unless that is in the cache, see
// shell.Process. The program runs in directories of its own and is not initialized.
func (b *Backend) ProbeProgram(ctx context.Context) (shell.Information, error) {
	c := b.config()
	program, err := b.host.findTrustedExecutable(c.Executable)
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	info := b.cachedInformation(program, c)
	if info == nil {
		if info, err = b.host.startForInformation(ctx, b.callsign+probeSuffix, b.config); err != nil {
			return shell.Information{}, err
		}
	}
	b.setInformation(info)
	return b.information(), nil
}

// probesOfHost numbers the probes of programs that are of no instance.
var probesOfHost atomic.Int64

// ProbeProgram starts the program of a plugin once, whatever is cached, and returns what it
// says of itself, without a client for its state control. The program runs in directories of
// its own, also beside the instance of its callsign; it is not initialized, and nothing is left
// of it. The error wraps shell.ErrInstantiation.
func (h Host) ProbeProgram(ctx context.Context, c configs.Plugin) (shell.Information, error) {
	config := func() configs.Plugin { return c }
	info, err := h.startForInformation(ctx, fmt.Sprintf("~%d%s", probesOfHost.Add(1), probeSuffix), config)
	if err != nil {
		return shell.Information{}, err
	}
	about := newBackend(c.Callsign, h, config, discardSink{})
	about.setInformation(info)
	told := about.information()
	told.StateControl = nil // the process that served it has ended
	return told, nil
}

// startForInformation starts the program in the run directory dirName, ends it, and returns
// what it said of itself.
func (h Host) startForInformation(ctx context.Context, dirName string, config func() configs.Plugin) (*shellpb.InformationResponse, error) {
	p := newBackend(dirName, h, config, discardSink{})
	p.log = p.log.With().Bool("probe", true).Logger()
	_, err := p.Launch(ctx)
	if err = errors.Join(err, p.Stop(ctx)); err != nil {
		return nil, err
	}
	return p.info, nil
}

// KnownInformation returns the description of the plugin that sleeps, or else that of the
// program if it is in the cache, see shell.Process.
func (b *Backend) KnownInformation() (_ shell.Information, known bool) {
	var info *shellpb.InformationResponse
	if b.Sleep() != nil {
		info = b.info
	}
	c := b.config()
	if program, err := findExecutable(c.Executable); info == nil && err == nil {
		info = b.cachedInformation(program, c)
	}
	if info == nil {
		return shell.Information{}, false
	}
	b.setInformation(info)
	return b.information(), true
}

// runsProbe reports whether this backend was made for one probe, and not for an instance.
func (b *Backend) runsProbe() bool { return isProbeDirName(b.dirName) }

// isProbeDirName reports whether a run directory of that name is of a probe.
func isProbeDirName(name string) bool { return strings.HasSuffix(name, probeSuffix) }

// cachedInformation returns what the program, started as c says, said of itself. It returns
// nil if that is not in the cache or the content of the program's file has changed. A
// failure is logged.
func (b *Backend) cachedInformation(program string, c configs.Plugin) *shellpb.InformationResponse {
	key := programCacheKey(program, c)
	p, found, err := b.host.Programs.Get(key)
	if now := fileFields(fileid.OfUnlessJustChanged(program)); err == nil && found && p.File != now {
		var digest string
		digest, err = fileSHA256(program)
		found = digest == p.Digest
		p.File = now
		if found && err == nil {
			err = b.host.Programs.Put(key, p)
		}
	}
	info := &shellpb.InformationResponse{}
	if err == nil && found {
		err = proto.Unmarshal(p.Information, info)
	}
	if err == nil && found {
		err = checkInformation(info)
	}
	if err != nil {
		b.log.Warn().Err(err).Msg("could not use what is kept of the program's information")
	}
	if err != nil || !found {
		return nil
	}
	return info
}

// cacheUnlessProgramReplaced caches what the plugin said of itself, unless the same is
// cached already or the program's file was replaced since it was executed. file is the
// identity of that file before the program was executed.
func (b *Backend) cacheUnlessProgramReplaced(program string, file fileid.ID) error {
	b.mu.Lock()
	info, err := proto.MarshalOptions{Deterministic: true}.Marshal(b.info)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	key := programCacheKey(program, b.startConfig)
	known, found, err := b.host.Programs.Get(key)
	if err == nil && found && known.File == fileFields(file) && bytes.Equal(known.Information, info) {
		return nil
	}
	digest, err := fileSHA256(program)
	if err != nil || fileid.OfUnlessJustChanged(program) != file { // the file was replaced while the program started
		return err
	}
	return b.host.Programs.Put(key, CachedProgram{File: fileFields(file), Digest: digest, Information: info})
}

// programCacheKey returns the key in the ProgramCache of the program, executed as c says.
func programCacheKey(program string, c configs.Plugin) string {
	c.Executable = program
	return jsonChecksum(c.ValuesOfKeysFor(configs.UseExec)...)
}

// fileSHA256 returns the SHA-256 of the file in hexadecimal.
func fileSHA256(path string) (string, error) {
	f, err := regularfile.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// discardSink drops the reports of a probe, which waits for its program itself.
type discardSink struct{}

var _ shell.Sink = discardSink{}

func (discardSink) Exited(error)                      {}
func (discardSink) Notify(shell.Notification)         {}
func (discardSink) Lost(shell.Loss)                   {}
func (discardSink) ControlChanged(statecontrol.State) {}
