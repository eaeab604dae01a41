package process

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/internal/fileid"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// probeSuffix sets a probe apart from its instance. It is in no callsign, and
// short, for it is part of a socket's path.
const probeSuffix = "~probe"

// Memory is where backends keep what programs have said of themselves, by keys
// of the backends' making.
type Memory interface {
	Get(key string) (r Remembered, found bool, err error)
	Put(key string, r Remembered) error
}

// ownMemory is that of a backend whose host has none. It is not used at two
// places at once: a backend's work is done one thing at a time.
type ownMemory map[string]Remembered

func (m ownMemory) Get(key string) (Remembered, bool, error) {
	r, found := m[key]
	return r, found, nil
}

func (m ownMemory) Put(key string, r Remembered) error { m[key] = r; return nil }

// Remembered is what one program said, started with certain arguments and a
// certain environment.
type Remembered struct {
	// File is how the program's file looked; as long as it looks the same, Digest
	// need not be compared.
	File        fingerprint `json:"file"`
	Digest      string      `json:"digest"`
	Information []byte      `json:"information"` // a shellpb.InformationResponse
}

// fingerprint is a fileid.ID with the names that it has in the records.
type fingerprint struct {
	Device   uint64 `json:"device"`
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Changed  int64  `json:"changed"`
	Modified int64  `json:"written"`
}

// Probe asks the program what it is, unless that is known, see shell.Process. The
// program runs beside the instance's own place and is not initialized.
func (b *Backend) Probe(ctx context.Context) (shell.Information, error) {
	program, err := executable(b.config().Executable)
	if err != nil {
		return shell.Information{}, fmt.Errorf("%w: %w", shell.ErrInstantiation, err)
	}
	info := b.recall(program, b.config())
	if info == nil {
		p := at(b.callsign+probeSuffix, b.host, b.config, bystander{})
		p.log = p.log.With().Bool("probe", true).Logger()
		_, err := p.Launch(ctx)
		if err = errors.Join(err, p.Stop(ctx)); err != nil {
			return shell.Information{}, err
		}
		info = p.info
	}
	return b.learn(info), nil
}

// KnownInformation is what the plugin that sleeps said, or else the program before, see
// shell.Process.
func (b *Backend) KnownInformation() (shell.Information, bool) {
	b.mu.Lock()
	said := b.image != nil && b.info != nil
	b.mu.Unlock()
	if said {
		return b.information(), true
	}
	program, err := executable(b.config().Executable)
	if err != nil {
		return shell.Information{}, false
	}
	info := b.recall(program, b.config())
	if info == nil {
		return shell.Information{}, false
	}
	return b.learn(info), true
}

// learn makes info what is known of the program.
func (b *Backend) learn(info *shellpb.InformationResponse) shell.Information {
	b.mu.Lock()
	b.info = info
	b.mu.Unlock()
	return b.information()
}

func (b *Backend) isProbe() bool { return strings.HasSuffix(b.place, probeSuffix) }

// recall returns what the program said before, nil when it has not been asked or
// is another one by now.
func (b *Backend) recall(program string, c configs.Plugin) *shellpb.InformationResponse {
	key := memoryKey(program, c)
	r, found, err := b.host.Memory.Get(key)
	if err == nil && found && r.File != fingerprint(fileid.OfSettled(program)) {
		found, err = r.stillOf(program)
		if found && err == nil {
			err = b.host.Memory.Put(key, r)
		}
	}
	info := &shellpb.InformationResponse{}
	if err == nil && found {
		err = proto.Unmarshal(r.Information, info)
	}
	if err != nil {
		b.log.Warn().Err(err).Msg("could not use what is kept of the program's information")
	}
	if err != nil || !found {
		return nil
	}
	return info
}

// stillOf compares the program's content, and takes on how its file looks now.
func (r *Remembered) stillOf(program string) (bool, error) {
	now := fileid.OfSettled(program)
	sum, err := digest(program)
	r.File = fingerprint(now)
	return sum == r.Digest, err
}

// remember keeps what the program said that was started when its file looked so.
func (b *Backend) remember(program string, started fileid.ID) {
	if err := b.keep(program, started); err != nil {
		b.log.Warn().Err(err).Msg("could not keep the program's information")
	}
}

func (b *Backend) keep(program string, started fileid.ID) error {
	b.mu.Lock()
	info, err := proto.MarshalOptions{Deterministic: true}.Marshal(b.info)
	b.mu.Unlock()
	if err != nil {
		return err
	}
	key := memoryKey(program, b.given)
	known, found, err := b.host.Memory.Get(key)
	if err == nil && found && known.File == fingerprint(started) && bytes.Equal(known.Information, info) {
		return nil
	}
	sum, err := digest(program)
	if err != nil || fileid.OfSettled(program) != started { // replaced while it was started: nobody knows what has run
		return err
	}
	return b.host.Memory.Put(key, Remembered{File: fingerprint(started), Digest: sum, Information: info})
}

// memoryKey returns the key of the program, as it is executed with the configuration.
func memoryKey(program string, c configs.Plugin) string {
	c.Executable = program
	return checksum(c.Given(configs.UseExec)...)
}

func digest(path string) (string, error) {
	f, err := os.Open(path)
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

// bystander hears what happens in a probe: whoever started it sees for himself.
type bystander struct{}

var _ shell.Sink = bystander{}

func (bystander) Exited(error)                      {}
func (bystander) Notify(shell.Notification)         {}
func (bystander) ControlChanged(statecontrol.State) {}
