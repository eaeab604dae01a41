package images

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/checkpoint-restore/go-criu/v7/crit"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/creds"
	criu_core "github.com/checkpoint-restore/go-criu/v7/crit/images/criu-core"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/rlimit"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/seccomp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/procfs"
)

// taskDead is the state of a task that ended and waits to be reaped.
const taskDead = 2

// Identities reads the core images, one of each thread.
func Identities(dir string) ([]procfs.Task, error) {
	filters, err := seccompFilters(dir)
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "core-*.img"))
	if err != nil {
		return nil, err
	}
	var tasks []procfs.Task
	for _, path := range paths {
		id, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path)[len("core-"):], ".img"))
		if err != nil {
			return nil, fmt.Errorf("%s names no task: %w", path, err)
		}
		var core criu_core.CoreEntry
		if err := readEntry(path, &core); err != nil {
			return nil, err
		}
		if core.GetTc().GetTaskState() == taskDead {
			continue
		}
		task, err := identity(&core, filters)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		task.ID = id
		tasks = append(tasks, task)
	}
	slices.SortFunc(tasks, func(a, b procfs.Task) int { return a.ID - b.ID })
	return tasks, nil
}

// readEntry fills entry with the only one of the file.
func readEntry(path string, entry proto.Message) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	image, err := crit.New(f, nil, "", false, true).Decode(entry)
	if err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	if len(image.Entries) != 1 {
		return fmt.Errorf("%s has %d entries, not one", path, len(image.Entries))
	}
	proto.Merge(entry, image.Entries[0].Message)
	return nil
}

// seccompFilters returns the filters that tasks refer to by their place.
func seccompFilters(dir string) ([]*seccomp.SeccompFilter, error) {
	path := filepath.Join(dir, "seccomp.img")
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return nil, nil
	}
	var all seccomp.SeccompEntry
	if err := readEntry(path, &all); err != nil {
		return nil, err
	}
	return all.GetSeccompFilters(), nil
}

// identity puts what the image says as /proc/<pid>/status would.
func identity(core *criu_core.CoreEntry, filters []*seccomp.SeccompFilter) (t procfs.Task, err error) {
	thread := core.GetThreadCore()
	c := thread.GetCreds()
	if c == nil {
		return t, errors.New("it has no credentials")
	}
	t.UID = fmt.Sprint(c.GetUid(), c.GetEuid(), c.GetSuid(), c.GetFsuid())
	t.GID = fmt.Sprint(c.GetGid(), c.GetEgid(), c.GetSgid(), c.GetFsgid())
	t.Groups = strings.Trim(fmt.Sprint(c.GetGroups()), "[]")
	t.CapInh, t.CapPrm = capabilities(c.GetCapInh()), capabilities(c.GetCapPrm())
	t.CapEff, t.CapBnd = capabilities(c.GetCapEff()), capabilities(c.GetCapBnd())
	ambient, noNewPrivs := newer(c)
	t.CapAmb, t.NoNewPrivs = capabilities(ambient), strconv.FormatUint(noNewPrivs, 10)
	t.Seccomp = strconv.Itoa(int(thread.GetSeccompMode()))
	count := 0
	for at := thread.SeccompFilter; at != nil; at = filters[*at].Prev {
		if count++; int(*at) >= len(filters) || count > len(filters) {
			return t, fmt.Errorf("its seccomp filter %d does not exist", *at)
		}
	}
	t.Filters = strconv.Itoa(count)
	if core.GetTc() != nil {
		t.Limits = limits(core.GetTc().GetRlimits().GetRlimits())
	}
	return t, nil
}

func limits(all []*rlimit.RlimitEntry) string {
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = limit(l.GetCur()) + ":" + limit(l.GetMax())
	}
	return strings.Join(texts, " ")
}

func limit(n uint64) string {
	if n == math.MaxUint64 {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// capabilities joins the 32 bit words of a set.
func capabilities(words []uint32) string {
	var set uint64
	for i, w := range words {
		if i < 2 {
			set |= uint64(w) << (32 * i)
		}
	}
	return fmt.Sprintf("%016x", set)
}

// newer reads the fields that CRIU writes and go-criu's description lacks.
func newer(c *creds.CredsEntry) (ambient []uint32, noNewPrivs uint64) {
	const fieldNoNewPrivs, fieldAmbient = 18, 19 // of creds.proto
	for raw := []byte(c.ProtoReflect().GetUnknown()); len(raw) > 0; {
		number, kind, header := protowire.ConsumeTag(raw)
		length := protowire.ConsumeFieldValue(number, kind, raw[max(header, 0):])
		if header < 0 || length < 0 {
			break // what is missing will be noticed
		}
		value, _ := protowire.ConsumeVarint(raw[header:])
		if number == fieldNoNewPrivs {
			noNewPrivs = value
		}
		if number == fieldAmbient {
			ambient = append(ambient, uint32(value))
		}
		raw = raw[header+length:]
	}
	return ambient, noNewPrivs
}
