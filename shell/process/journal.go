package process

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/atomicfile"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/internal/reap"
	"dormouse/internal/regularfile"
	"dormouse/shell"
)

// journalName is the file in an instance's run directory from which the next host learns
// how far this host was with the plugin, should this host be killed. The run directory
// does not outlive a boot, so the file is not synced to disk: what a process has written
// stays when the process is killed.
const journalName = "instance.json"

// phase is how far a host has come with a plugin.
type phase string

const (
	phaseStarting    phase = "starting" // there may be processes, which are of no use yet
	phaseRunning     phase = "running"
	phaseHibernating phase = "hibernating" // the tree runs or is stopped, unless there is an image
	phaseWaking      phase = "waking"      // the image counts, unless it is spent
	phaseEnding      phase = "ending"
)

// journal describes a plugin's process tree for the next host. If there is also a valid
// image, the image counts and the tree is killed.
type journal struct {
	Phase  phase      `json:"phase"`
	Boot   string     `json:"boot"`
	Cgroup cgroup.Dir `json:"cgroup,omitempty"`
	// Bound means that the kernel kills the tree when the tree's host ends.
	Bound bool `json:"bound"`
	// Root is the PID of pid 1 of the tree in the host's namespace, 0 while it is not
	// known. RootStarted is its start time in clock ticks since the boot: a later process
	// with the same PID has another one.
	Root        int    `json:"root,omitempty"`
	RootStarted uint64 `json:"started,omitempty"`
	// ProgramNSPid is the PID of the program in the tree's namespace, Executing identifies
	// the program's file.
	ProgramNSPid int       `json:"number,omitempty"`
	Executing    string    `json:"executing,omitempty"`
	Begun        time.Time `json:"begun,omitzero"`
	Socket       string    `json:"socket,omitempty"`
	Information  []byte    `json:"information,omitempty"` // a shellpb.InformationResponse
	// Configuration is the checksum of what the plugin was started with.
	Configuration string       `json:"configuration"`
	Reason        shell.Reason `json:"reason,omitempty"`     // why the plugin is active
	Generation    uint64       `json:"generation,omitempty"` // of the image that is being restored
	// Warm is the golden image that the plugin began from, nil after a cold start.
	Warm *goldenStart `json:"warm,omitempty"`
	// LastEvent is the sequence number of the last event that a host passed on before it
	// left the plugin in order.
	LastEvent uint64 `json:"seen,omitempty"`
}

// goldenStart identifies a golden image in a journal.
type goldenStart struct {
	Created    time.Time `json:"created"`
	Generation uint64    `json:"generation"`
}

// maxJournal is how many bytes of a journal are read at most.
const maxJournal = 16 << 20

// readJournal returns the journal in a run directory, nil if there is none.
func readJournal(runDir string) (*journal, error) {
	text, err := regularfile.Read(filepath.Join(runDir, journalName), maxJournal)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	j := &journal{}
	if err == nil {
		err = json.Unmarshal(text, j)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what an earlier host left: %w", err)
	}
	return j, nil
}

// writeJournalUnlessProbe replaces the journal by j, with the boot and the checksum of
// the plugin's configuration added. A probe has no journal.
func (b *Backend) writeJournalUnlessProbe(j journal) error {
	if b.runsProbe() {
		return nil // a probe ends with its host, and the next host clears its cgroup
	}
	j.Boot, j.Configuration = procfs.BootID(), b.startedWith
	text, err := json.Marshal(j)
	if err != nil {
		return err
	}
	if err := atomicfile.WriteWithoutSync(filepath.Join(b.runDir(), journalName), text, 0o600); err != nil {
		return fmt.Errorf("cannot write down what the next host must know: %w", err)
	}
	return nil
}

// writeStartJournal writes j, with the instance's cgroup added, for a tree that is about to
// start in that cgroup.
func (b *Backend) writeStartJournal(j journal) error {
	if b.host.Cgroups != nil {
		j.Cgroup = b.host.Cgroups.dir.Child(b.dirName)
	}
	return b.writeJournalUnlessProbe(j)
}

// writeRestoreJournal writes a journal, in phase p, that says that the image is about to be
// restored. It makes the volatile directory first if that is missing.
func (b *Backend) writeRestoreJournal(image *hibernate.Image, note imageNote, p phase) error {
	if err := b.makeRunDirs(); err != nil { // a reboot may have emptied it
		return err
	}
	return b.writeStartJournal(journal{
		Phase: p, Bound: note.Bound, ProgramNSPid: note.ProgramNSPid, Socket: note.Socket, Information: note.Information,
		Generation: image.Generation, Reason: b.reason,
	})
}

// writeTreeJournal writes a journal that describes the tree as it is now, in phase p.
func (b *Backend) writeTreeJournal(t *tree, p phase) error {
	j, err := b.journalOfTree(t, p)
	if err == nil {
		err = b.writeJournalUnlessProbe(j)
	}
	return err
}

// journalOfTree returns a journal of the tree as it is now, in phase p.
func (b *Backend) journalOfTree(t *tree, p phase) (journal, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := proto.Marshal(b.info)
	j := journal{
		Phase: p, Cgroup: t.cgroup(), Bound: t.bound,
		Root: t.root.Pid, RootStarted: procfs.StartTicks(t.root.Pid),
		ProgramNSPid: t.programNSPid, Executing: procfs.ExecutableID(t.findProgramPID()), Begun: t.begun.Round(0),
		Socket: t.socket, Information: info, Reason: b.reason,
	}
	if from := b.golden.startedFrom; from != nil {
		j.Warm = &goldenStart{from.Created, from.Generation}
	}
	return j, err
}

// removeJournal removes the journal of a plugin of which only an image is left. A failure
// is logged.
func (b *Backend) removeJournal() {
	if err := os.Remove(filepath.Join(b.runDir(), journalName)); err != nil {
		b.log.Warn().Err(err).Msg("could not remove what the next host would read")
	}
}

// removeJournalIfAny removes the journal of a wake that has failed, if it was written.
func (b *Backend) removeJournalIfAny() error {
	if err := os.Remove(filepath.Join(b.runDir(), journalName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SaveActivationReason writes to the journal why the plugin is active, and that it runs
// now, see shell.Process. A failure is logged.
func (b *Backend) SaveActivationReason(why shell.Reason) {
	b.reason = why
	if err := b.writeTreeJournal(b.currentLife().tree, phaseRunning); err != nil {
		b.log.Warn().Err(err).Msg("the next host will not know this process")
	}
}

// loadImageAndClearLeftovers loads what an earlier host left. A valid image is kept: the
// plugin sleeps, and its tree and journal are removed. Otherwise the journal is kept for
// Adopt. A spent image is deleted if the journal shows that the plugin was being woken
// or ran; any other image that can't be trusted is quarantined.
func (b *Backend) loadImageAndClearLeftovers() error {
	left, err := readJournal(b.runDir())
	image, ierr := b.imageDir.Image()
	switch {
	case ierr == nil:
		b.life, b.inheritedImage = life{state: lifeStored, image: image}, image
		if n, nerr := decodeImageNote(image); nerr == nil { // Wake reports a note that can't be read
			b.info, _ = parseInformation(n.Information)
		}
		if left == nil {
			return err
		}
		if kerr := b.killTreeOfJournal(left); kerr != nil {
			return errors.Join(err, kerr) // the next host needs the journal
		}
		return errors.Join(err, b.host.endAndRemoveLoading(b.runDir()), os.Remove(filepath.Join(b.runDir(), journalName)))
	case errors.Is(ierr, hibernate.ErrSpent) && left != nil && (left.Phase == phaseWaking || left.Phase == phaseRunning):
		err = errors.Join(err, b.imageDir.DiscardSpent())
	case errors.Is(ierr, hibernate.ErrNoImage):
	case hibernate.ClassifyFailure(ierr) == hibernate.Passing:
		err = errors.Join(err, fmt.Errorf("cannot read the image now: %w", ierr))
		if left == nil {
			b.life = life{state: lifeStored} // Wake reads the image
		}
	default:
		kept, kerr := b.keepImageOutOfUse(hibernate.Untrusted)
		b.sink.Lost(shell.Loss{Cause: ierr, Class: hibernate.Untrusted, Kept: kept})
		err = errors.Join(err, fmt.Errorf("put an image aside that cannot be woken: %w", ierr), kerr)
	}
	b.inherited = left
	return err
}

// killTreeOfJournal kills and reaps what is left of the tree that the journal describes, and
// removes its cgroup. If it does not end, the error wraps shell.ErrUnended, and no tree of the
// instance starts before it has ended.
func (b *Backend) killTreeOfJournal(j *journal) error {
	err := j.killTreeAndRemoveCgroup(b.host.Cgroups)
	if errors.Is(err, shell.ErrUnended) {
		b.host.Remains.note(b.dirName, j.remains(b.host.Cgroups))
	}
	return err
}

// remains returns the tree of the journal as remains.
func (j *journal) remains(hostCgroups *Cgroups) remains {
	return remains{root: j.Root, started: j.RootStarted, group: j.Cgroup, release: func() error { return j.removeCgroup(hostCgroups) }}
}

// killTreeAndRemoveCgroup kills and reaps what is left of the tree and removes its
// cgroup. The cgroup may be below another one than hostCgroups, if the earlier host
// lived in another cgroup, and the root may have left it. It does nothing after a reboot.
// The error wraps shell.ErrUnended if the tree does not end.
func (j *journal) killTreeAndRemoveCgroup(hostCgroups *Cgroups) error {
	if j.Boot != procfs.BootID() {
		return nil
	}
	children := j.ownChildPIDs()
	killProcess(j.Root, j.RootStarted)
	if j.Cgroup.Exists() {
		if err := j.Cgroup.Kill(); err != nil {
			return err
		}
	}
	for _, pid := range children {
		_ = reap.Child(pid, killLimit) // awaitEnd says which has not ended
	}
	if err := j.remains(hostCgroups).awaitEnd(); err != nil {
		return err
	}
	return j.removeCgroup(hostCgroups)
}

// removeCgroup removes the cgroup of a tree that has ended, if it is there.
func (j *journal) removeCgroup(hostCgroups *Cgroups) error {
	if !j.Cgroup.Exists() {
		return nil
	}
	err := j.Cgroup.RemoveTreeWhenEmpty()
	if parent := j.Cgroup.Parent(); hostCgroups == nil || parent != hostCgroups.dir {
		_ = os.Remove(string(parent)) // works if this was the last cgroup in it
	}
	return err
}

// ownChildPIDs returns the PIDs of the tree's processes that are children of this process,
// which has executed another host before.
func (j *journal) ownChildPIDs() []int {
	pids := j.Cgroup.Members()
	if j.Root != 0 && procfs.StartTicks(j.Root) == j.RootStarted {
		pids = append(pids, j.Root) // a root that has ended is not in the cgroup any more
	}
	slices.Sort(pids)
	return slices.DeleteFunc(slices.Compact(pids), func(pid int) bool { return procfs.Parent(pid) != os.Getpid() })
}

// checksumOfStartConfig returns a checksum of all that a plugin with the configuration is
// given and can't be given anew while it runs.
func checksumOfStartConfig(c configs.Plugin) string {
	return jsonChecksum(c.ValuesOfKeysFor(configs.UseExec, configs.UseInitialize, configs.UseCgroup)...)
}

// jsonChecksum returns the SHA-256 of the values as JSON, in hexadecimal.
func jsonChecksum(values ...any) string {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err) // configurations hold only what JSON can hold
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// newTreesEndWithHost reports whether the kernel is to kill a new tree when the host ends:
// always for a probe, and unless the host adopts plugins.
func (b *Backend) newTreesEndWithHost() bool { return !b.host.Adopt || b.runsProbe() }
