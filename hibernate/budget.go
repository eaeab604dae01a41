package hibernate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// Limits bound what all images of a host take together. The zero value bounds
// nothing but the space that there is.
type Limits struct {
	// Budget is how many bytes the images may have, 0 for any; Reserve is how many
	// must stay free on their disk.
	Budget, Reserve int64
	// Parallel is how many may be written at the same time, 0 for any.
	Parallel int
	// Evict ends the instance whose image is the oldest for the reason that is
	// given, and removes the image. With nil a checkpoint beyond the budget is
	// refused.
	Evict func(ctx context.Context, callsign string, why error) error
	// Yielded is told of each golden image that was removed to make room, which
	// Evict is not asked for. It may be nil.
	Yielded func(golden Stored, why error)
}

// SetLimits sets the limits of all later checkpoints. It must not be called during a
// checkpoint.
func (s *Store) SetLimits(l Limits) {
	s.limits, s.turns = l, nil
	if l.Parallel > 0 {
		s.turns = make(chan struct{}, l.Parallel)
	}
}

// Stored is an image that lies in a store.
type Stored struct {
	Callsign string
	Bytes    int64
	Written  time.Time
	// Refused ones will never be woken, Golden ones hold nobody's state.
	Refused, Golden bool
}

func (s Stored) String() string {
	switch {
	case s.Refused:
		return fmt.Sprintf("%s %s (refused)", s.Callsign, mebibytes(s.Bytes))
	case s.Golden:
		return fmt.Sprintf("%s %s (golden)", s.Callsign, mebibytes(s.Bytes))
	}
	return s.Callsign + " " + mebibytes(s.Bytes)
}

// Stored lists the images: golden ones first, and the oldest first of each kind.
func (s *Store) Stored() ([]Stored, error) {
	var all []Stored
	for _, name := range []string{imageName, refusedName, goldenName} {
		dirs, err := filepath.Glob(filepath.Join(s.dir, "*", name))
		if err != nil {
			return nil, err
		}
		for _, dir := range dirs {
			info, err := os.Stat(dir)
			if errors.Is(err, os.ErrNotExist) {
				continue // woken meanwhile
			}
			if err != nil {
				return nil, err
			}
			all = append(all, Stored{
				Callsign: filepath.Base(filepath.Dir(dir)), Bytes: sizeOf(dir), Written: info.ModTime(),
				Refused: name == refusedName, Golden: name == goldenName,
			})
		}
	}
	slices.SortFunc(all, func(a, b Stored) int {
		switch {
		case a.Golden && !b.Golden:
			return -1
		case b.Golden && !a.Golden:
			return 1
		}
		return cmp.Or(a.Written.Compare(b.Written), cmp.Compare(a.Callsign, b.Callsign))
	})
	return all, nil
}

// sizeOf adds up the files of a directory.
func sizeOf(dir string) (total int64) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// admit waits for a turn to write an image of the tree, and sets aside the space
// that it may need until release is called. For a golden one nothing is removed.
func (s *Store) admit(ctx context.Context, slot *Slot, tree []int, golden bool) (release func(), err error) {
	if s.turns != nil {
		select {
		case s.turns <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d other images are being written: %w", cap(s.turns), ctx.Err())
		}
	}
	release = func() {
		s.mu.Lock()
		delete(s.pending, slot)
		s.mu.Unlock()
		if s.turns != nil {
			<-s.turns
		}
	}
	for {
		oldest, err := s.book(slot, tree)
		if err == nil {
			return release, nil
		}
		if golden || oldest.Callsign == "" || s.limits.Evict == nil && !oldest.Golden {
			release()
			return nil, err
		}
		if err := s.evict(ctx, oldest, err); err != nil {
			release()
			return nil, err
		}
	}
}

func (s *Store) evict(ctx context.Context, oldest Stored, why error) error {
	slot := s.Slot(oldest.Callsign)
	if oldest.Golden {
		return s.yield(oldest, why)
	}
	if oldest.Refused {
		return s.trash(slot.path(refusedName))
	}
	if err := s.limits.Evict(ctx, oldest.Callsign, why); err != nil {
		return fmt.Errorf("%w; and %s can't make room: %w", why, oldest.Callsign, err)
	}
	if _, err := os.Lstat(slot.path(imageName)); err == nil {
		return fmt.Errorf("%w; and %s still has its image", why, oldest.Callsign)
	}
	return nil
}

// book sets space aside. With an ErrBudget or ErrSpace comes what has to go for it,
// unless that would not help.
func (s *Store) book(slot *Slot, tree []int) (oldest Stored, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	need, err := s.estimate(slot, tree)
	if errors.Is(err, ErrSpace) {
		if stored, serr := s.Stored(); serr == nil && len(stored) > 0 && stored[0].Golden {
			oldest = stored[0]
		}
	}
	if err != nil {
		return oldest, err
	}
	if s.limits.Budget > 0 {
		stored, err := s.Stored()
		if err != nil {
			return Stored{}, err
		}
		if err := s.within(stored, need); err != nil {
			if len(stored) > 0 && need <= s.limits.Budget {
				oldest = stored[0]
			}
			return oldest, err
		}
	}
	s.pending[slot] = need
	return Stored{}, nil
}

// within returns an ErrBudget that says what has used the budget up.
func (s *Store) within(stored []Stored, need int64) error {
	total := need
	var users []string
	for _, one := range stored {
		total += one.Bytes
		users = append(users, one.String())
	}
	for slot, bytes := range s.pending {
		total += bytes
		users = append(users, fmt.Sprintf("%s %s (being written)", slot.callsign, mebibytes(bytes)))
	}
	if total <= s.limits.Budget {
		return nil
	}
	used := "nothing is used yet"
	if len(users) > 0 {
		used = "in use: " + strings.Join(users, ", ")
	}
	return fmt.Errorf("%w: the image needs about %s, [hibernate] budget is %s, %s; raise it, wake one of them, or set on-budget = \"evict\"",
		ErrBudget, mebibytes(need), mebibytes(s.limits.Budget), used)
}

// estimate returns what an image of the tree may take: it is about as large as the
// memory that is in no file. It refuses early what could not be written.
func (s *Store) estimate(slot *Slot, tree []int) (int64, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return 0, err
	}
	free := int64(fs.Bavail)*fs.Bsize - s.limits.Reserve
	for other, bytes := range s.pending {
		if other != slot {
			free -= max(0, bytes-other.Written())
		}
	}
	if s.limits.Budget == 0 {
		if need := procfs.RSS(tree) + margin; need <= free { // more than it will be, and quicker to have
			return need, nil
		}
	}
	need := procfs.UnbackedBytes(tree) + margin
	if need > free {
		return need, fmt.Errorf("%w: the image needs about %s, %s has %s free beyond what is set aside",
			ErrSpace, mebibytes(need), s.dir, mebibytes(max(0, free)))
	}
	return need, nil
}

func mebibytes(n int64) string { return fmt.Sprintf("%d MiB", (n+1<<20-1)>>20) }
