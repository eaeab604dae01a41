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

	"github.com/checkpoint-restore/go-criu/v7/crit/images/creds"
	criu_core "github.com/checkpoint-restore/go-criu/v7/crit/images/criu-core"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/pstree"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/rlimit"
	"github.com/checkpoint-restore/go-criu/v7/crit/images/seccomp"
	"google.golang.org/protobuf/proto"

	"dormouse/internal/filenames"
	"dormouse/internal/procfs"
)

// States of a process in its core image: it has ended and waits to be reaped, or a signal had
// stopped it before the dump.
const (
	stateDead    = 2
	stateStopped = 3
)

// ReadThreadIdentities returns the identity and rights that the image in dir would give each
// thread, ordered by ID, without threads that have ended. It reads them from the core image
// of each thread.
func ReadThreadIdentities(dir string) ([]procfs.ThreadIdentity, error) {
	filters, err := readSeccompFilters(dir)
	if err != nil {
		return nil, err
	}
	paths, err := filenames.PathsIn(dir, "core-", ".img")
	if err != nil {
		return nil, err
	}
	var threads []procfs.ThreadIdentity
	for _, path := range paths {
		id, err := strconv.Atoi(strings.TrimSuffix(filepath.Base(path)[len("core-"):], ".img"))
		if err != nil {
			return nil, fmt.Errorf("%s names no thread: %w", path, err)
		}
		var core criu_core.CoreEntry
		if err := readSingleEntry(path, magicCore, &core); err != nil {
			return nil, err
		}
		if core.GetTc().GetTaskState() == stateDead {
			continue
		}
		thread, err := threadIdentityOf(&core, filters)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		thread.ID = id
		threads = append(threads, thread)
	}
	slices.SortFunc(threads, func(a, b procfs.ThreadIdentity) int { return a.ID - b.ID })
	return threads, nil
}

// ReadStoppedProcesses returns the processes in the image in dir that a signal had stopped
// before the dump, by their numbers in their own PID namespace.
func ReadStoppedProcesses(dir string) (nsPIDs []int, err error) {
	entries, err := readRawEntries(filepath.Join(dir, "pstree.img"), magicPstree)
	if err != nil {
		return nil, err
	}
	for _, text := range entries {
		var process pstree.PstreeEntry
		if err := proto.Unmarshal(text, &process); err != nil {
			return nil, fmt.Errorf("cannot read the list of processes: %w", err)
		}
		id := int(process.GetPid())
		var core criu_core.CoreEntry
		if err := readSingleEntry(filepath.Join(dir, fmt.Sprintf("core-%d.img", id)), magicCore, &core); err != nil {
			return nil, err
		}
		if core.GetTc().GetTaskState() == stateStopped {
			nsPIDs = append(nsPIDs, id)
		}
	}
	return nsPIDs, nil
}

// readSeccompFilters returns the seccomp filters of the image in dir, nil if there are none.
// Threads refer to them by index.
func readSeccompFilters(dir string) ([]*seccomp.SeccompFilter, error) {
	path := filepath.Join(dir, "seccomp.img")
	if _, err := os.Stat(path); os.IsNotExist(err) {
		return nil, nil
	}
	var all seccomp.SeccompEntry
	if err := readSingleEntry(path, magicSeccomp, &all); err != nil {
		return nil, err
	}
	return all.GetSeccompFilters(), nil
}

// threadIdentityOf returns the identity and rights in a core image, without the ID, in the
// form of /proc/<pid>/status. filters are all seccomp filters of the image.
func threadIdentityOf(core *criu_core.CoreEntry, filters []*seccomp.SeccompFilter) (t procfs.ThreadIdentity, err error) {
	thread := core.GetThreadCore()
	c := thread.GetCreds()
	if c == nil {
		return t, errors.New("it has no credentials")
	}
	t.UID = fmt.Sprint(c.GetUid(), c.GetEuid(), c.GetSuid(), c.GetFsuid())
	t.GID = fmt.Sprint(c.GetGid(), c.GetEgid(), c.GetSgid(), c.GetFsgid())
	t.Groups = strings.Trim(fmt.Sprint(c.GetGroups()), "[]")
	t.CapInh, t.CapPrm = formatCapabilities(c.GetCapInh()), formatCapabilities(c.GetCapPrm())
	t.CapEff, t.CapBnd = formatCapabilities(c.GetCapEff()), formatCapabilities(c.GetCapBnd())
	ambient, noNewPrivs := fieldsUnknownToGoCRIU(c)
	t.CapAmb, t.NoNewPrivs = formatCapabilities(ambient), strconv.FormatUint(noNewPrivs, 10)
	t.Seccomp = strconv.Itoa(int(thread.GetSeccompMode()))
	count := 0
	for at := thread.SeccompFilter; at != nil; at = filters[*at].Prev {
		if count++; int(*at) >= len(filters) || count > len(filters) {
			return t, fmt.Errorf("its seccomp filter %d does not exist", *at)
		}
	}
	t.Filters = strconv.Itoa(count)
	if core.GetTc() != nil {
		t.Limits = formatLimits(core.GetTc().GetRlimits().GetRlimits())
	}
	return t, nil
}

// formatLimits returns the resource limits as soft:hard, in the order of their numbers.
func formatLimits(all []*rlimit.RlimitEntry) string {
	texts := make([]string, len(all))
	for i, l := range all {
		texts[i] = formatLimit(l.GetCur()) + ":" + formatLimit(l.GetMax())
	}
	return strings.Join(texts, " ")
}

// formatLimit returns the number, or "unlimited" for the highest.
func formatLimit(n uint64) string {
	if n == math.MaxUint64 {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

// formatCapabilities returns the set, given as words of 32 bits, as 16 hexadecimal
// digits.
func formatCapabilities(words []uint32) string {
	var set uint64
	for i, w := range words {
		if i < 2 {
			set |= uint64(w) << (32 * i)
		}
	}
	return fmt.Sprintf("%016x", set)
}

// fieldsUnknownToGoCRIU returns the fields of the credentials that CRIU writes but
// go-criu does not know.
func fieldsUnknownToGoCRIU(c *creds.CredsEntry) (ambient []uint32, noNewPrivs uint64) {
	const fieldNoNewPrivs, fieldAmbient = 18, 19 // of creds.proto
	for number, value := range unknownNumberFields(c) {
		if number == fieldNoNewPrivs {
			noNewPrivs = value
		}
		if number == fieldAmbient {
			ambient = append(ambient, uint32(value))
		}
	}
	return ambient, noNewPrivs
}
