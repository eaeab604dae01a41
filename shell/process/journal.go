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
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/atomicfile"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// instanceName is the file in an instance's run directory from which the next
// host learns what this one was about to do, should it be killed. The directory
// does not outlive a boot, so nothing is synced: what a killed process has written
// stays written.
const instanceName = "instance.json"

// phase is how far a host has come with a plugin.
type phase string

const (
	starting    phase = "starting" // there may be processes, which nobody can use yet
	running     phase = "running"
	hibernating phase = "hibernating" // it runs, or stands still, unless there is an image
	waking      phase = "waking"      // the image is the truth until it is spent
	ending      phase = "ending"
)

// instance is a plugin's process tree as a host leaves it to the next. A valid
// image beside it is the truth whatever it says.
type instance struct {
	Phase  phase      `json:"phase"`
	Boot   string     `json:"boot"`
	Cgroup cgroup.Dir `json:"cgroup,omitempty"`
	// Bound tells that the kernel ends the tree with its host.
	Bound bool `json:"bound"`
	// Root is pid 1 of the tree as the host sees it, 0 before it is known;
	// Started, with the boot, tells it from another process of that number.
	Root    int    `json:"root,omitempty"`
	Started uint64 `json:"started,omitempty"`
	// Number is the program's PID in its own namespace, Executing its file.
	Number      int       `json:"number,omitempty"`
	Executing   string    `json:"executing,omitempty"`
	Begun       time.Time `json:"begun,omitzero"`
	Socket      string    `json:"socket,omitempty"`
	Information []byte    `json:"information,omitempty"`
	// Configuration stands for what the program was started with.
	Configuration string       `json:"configuration"`
	Reason        shell.Reason `json:"reason,omitempty"`
	Generation    uint64       `json:"generation,omitempty"` // of the image that is being woken
	// Warm is where the plugin began, nil after a cold start.
	Warm *beginning `json:"warm,omitempty"`
	// Seen is the last event that a host has passed on which left in order.
	Seen uint64 `json:"seen,omitempty"`
}

// beginning is a golden image as it was when a life began from it.
type beginning struct {
	Created    time.Time `json:"created"`
	Generation uint64    `json:"generation"`
}

func beginningOf(i *hibernate.Image) *beginning {
	if i == nil {
		return nil
	}
	return &beginning{i.Created, i.Generation}
}

func (b *beginning) image() *hibernate.Image {
	if b == nil {
		return nil
	}
	return &hibernate.Image{Created: b.Created, Generation: b.Generation}
}

// readInstance returns what an earlier host left in a run directory, nil when
// that is nothing.
func readInstance(runDir string) (*instance, error) {
	text, err := os.ReadFile(filepath.Join(runDir, instanceName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	i := &instance{}
	if err == nil {
		err = json.Unmarshal(text, i)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read what an earlier host left: %w", err)
	}
	return i, nil
}

// write replaces what the next host would find.
func (b *Backend) write(i instance) error {
	if b.isProbe() {
		return nil // it is bound to its host, and its cgroup is cleared
	}
	i.Boot, i.Configuration = procfs.BootID(), checksum(startedWith(b.given)...)
	text, err := json.Marshal(i)
	if err != nil {
		return err
	}
	if err := atomicfile.Replace(filepath.Join(b.runDir(), instanceName), text, 0o600); err != nil {
		return fmt.Errorf("cannot write down what the next host must know: %w", err)
	}
	return nil
}

// begin writes down that processes will be in the cgroup from now on.
func (b *Backend) begin(i instance) error {
	if b.host.Cgroups != nil {
		i.Cgroup = b.host.Cgroups.dir.Child(b.place)
	}
	return b.write(i)
}

// describe is the tree as it is now.
func (b *Backend) describe(t *tree, p phase) (instance, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := proto.Marshal(b.info)
	return instance{
		Phase: p, Cgroup: t.cgroup(), Bound: t.bound,
		Root: t.root.Pid, Started: procfs.StartTicks(t.root.Pid),
		Number: t.number, Executing: procfs.ExecutableID(t.program()), Begun: t.begun.Round(0),
		Socket: b.socket, Information: info, Reason: b.reason, Warm: beginningOf(b.golden.from),
	}, err
}

// enter writes down how far it is with the running tree.
func (b *Backend) enter(t *tree, p phase) error {
	i, err := b.describe(t, p)
	if err == nil {
		err = b.write(i)
	}
	return err
}

// NoteActivated notes why the plugin is active, see shell.Process.
func (b *Backend) NoteActivated(why shell.Reason) {
	b.mu.Lock()
	t := b.tree
	b.reason = why
	b.mu.Unlock()
	if t == nil {
		return
	}
	if err := b.enter(t, running); err != nil {
		b.log.Warn().Err(err).Msg("the next host will not know this process")
	}
}

// takeStock finds out what an earlier host left. An image that can't be trusted
// is put aside; of an image and processes, the image is the truth.
func (b *Backend) takeStock() error {
	left, err := readInstance(b.runDir())
	image, ierr := b.imageDir.Image()
	switch {
	case ierr == nil:
		b.image = image
		if r, rerr := recordOf(image); rerr == nil { // else its wake will say so
			b.info, _ = r.information()
		}
		if left == nil {
			return err
		}
		return errors.Join(err, left.end(b.host.Cgroups), b.host.endLoading(b.runDir()), os.Remove(filepath.Join(b.runDir(), instanceName)))
	case errors.Is(ierr, hibernate.ErrSpent) && left != nil && (left.Phase == waking || left.Phase == running):
		err = errors.Join(err, b.imageDir.DiscardSpent())
	case !errors.Is(ierr, hibernate.ErrNoImage):
		err = errors.Join(err, fmt.Errorf("put an image aside that cannot be woken: %w", ierr), b.imageDir.Quarantine())
	}
	b.left = left
	return err
}

// end kills what is left of the tree, which may be in the cgroup of a host that
// lived elsewhere than one with own.
func (i *instance) end(own *Cgroups) error {
	if i.Cgroup == "" || i.Boot != procfs.BootID() {
		return nil
	}
	defer reap(i.children())
	if !i.Cgroup.Exists() {
		return nil // it is gone, and so is what was in it
	}
	err := errors.Join(i.Cgroup.Kill(), i.Cgroup.Remove())
	if parent := i.Cgroup.Parent(); own == nil || parent != own.dir {
		_ = os.Remove(string(parent)) // if this was the last one in it
	}
	return err
}

// children are those of the tree that are this process's: it was another program
// when it started them.
func (i *instance) children() []int {
	pids := i.Cgroup.Members()
	if i.Root != 0 && procfs.StartTicks(i.Root) == i.Started {
		pids = append(pids, i.Root) // which may have ended by itself
	}
	slices.Sort(pids)
	return slices.DeleteFunc(slices.Compact(pids), func(pid int) bool { return procfs.Parent(pid) != os.Getpid() })
}

// reap collects children that have been killed.
func reap(pids []int) {
	for _, pid := range pids {
		_, _ = syscall.Wait4(pid, nil, 0, nil)
	}
}

// startedWith returns all that a plugin with the configuration is given and can't be
// given anew while it runs.
func startedWith(c configs.Plugin) []any {
	return c.Given(configs.UseExec, configs.UseInitialize, configs.UseCgroup)
}

// checksum returns a text that stands for the values, which JSON can hold.
func checksum(values ...any) string {
	raw, err := json.Marshal(values)
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}

// forget leaves nothing for the next host: the image says it all.
func (b *Backend) forget() {
	if err := os.Remove(filepath.Join(b.runDir(), instanceName)); err != nil {
		b.log.Warn().Err(err).Msg("could not remove what the next host would read")
	}
}

// bound tells whether the kernel is to end a new tree with the host.
func (b *Backend) bound() bool { return !b.host.Adopt || b.isProbe() }
