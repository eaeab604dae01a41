package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// smallWithin is how soon a plugin that holds next to nothing answers after a wake
// from its image.
const smallWithin = 25 * time.Millisecond

// measureAnswers wakes up to the first answer.
func measureAnswers(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.open(ctx)
	for _, mib := range []int{0, 10, 100, 500, 1000} {
		for _, evicted := range []bool{false, true} {
			if err == nil {
				var more []row
				more, err = s.compareAnswers(ctx, mib, b.runs, evicted)
				rows = append(rows, more...)
			}
		}
	}
	return rows, err
}

// compareAnswers wakes a plugin of mib MiB, in turn with CRIU's own command on an
// equal process, connecting and a call, and with dd reading as many bytes. Evicted,
// none of that is in the page cache.
func (s *stage) compareAnswers(ctx context.Context, mib, runs int, evicted bool) (_ []row, err error) {
	own, err := s.usual(ctx, "Answering", mib)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.end(ctx)) }()
	other, err := s.plain(ctx, mib)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.end()) }()
	bytes, err := s.random(ctx, mib)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(bytes)) }()
	var answers, loads, restores, reads series
	err = rounds(ctx, runs, func() error {
		defer s.host.Processes.Images.Close() // no run pays for the removal of another's image
		err := errors.Join(own.sleep(ctx), other.dump())
		if evicted {
			err = errors.Join(err, evict(own.images, other.images, filepath.Dir(bytes)))
		}
		if err != nil {
			return err
		}
		return errors.Join(
			timed(&loads, func() error {
				return errors.Join(timed(&answers, func() error { return own.answer(ctx) }), own.loaded(ctx))
			}),
			timed(&restores, func() error { return errors.Join(other.restore(), other.call(ctx)) }),
			other.settle(ctx),
			timed(&reads, func() error { return dd(ctx, bytes, os.DevNull, mib) }),
			other.clean(),
		)
	}, &answers, &loads, &restores, &reads)

	what := fmt.Sprintf("%d MiB, cached", mib)
	if evicted {
		what = fmt.Sprintf("%d MiB, evicted", mib)
	}
	first := row{what: "first answer, " + what, own: answers, yardstick: "criu restore + call", plain: restores, aim: 1.3}
	read := row{what: "first answer, " + what, own: answers, yardstick: "dd", plain: reads}
	switch {
	case mib == 0 && !evicted:
		first.within = smallWithin
		return []row{first}, err
	case mib == 0:
		return []row{first}, err
	case mib < lazyFrom:
		return []row{first, read}, err
	}
	first.aim = 1
	last := row{what: "last page, " + what, own: loads, yardstick: "criu restore + call", plain: restores, aim: 3.5}
	return []row{first, read, last}, err
}

// lazyFrom is the size in MiB from which an instance wakes before its memory is read
// unless it is told otherwise.
const lazyFrom = 32

// measureSizes wakes a large plugin, a small one and, by CRIU's own command, an
// empty one in turn.
func measureSizes(ctx context.Context, b *bench) (_ []row, err error) {
	const small, large = 10, 1000
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	little, err := s.lazy(ctx, "Little", small)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, little.end(ctx)) }()
	big, err := s.lazy(ctx, "Big", large)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, big.end(ctx)) }()
	empty, err := s.plain(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, empty.end()) }()
	var littles, bigs, empties series
	err = rounds(ctx, b.runs, func() error {
		defer s.host.Processes.Images.Close()
		if err := errors.Join(little.sleep(ctx), big.sleep(ctx), empty.dump()); err != nil {
			return err
		}
		return errors.Join(
			timed(&littles, func() error { return little.answer(ctx) }),
			little.loaded(ctx),
			timed(&bigs, func() error { return big.answer(ctx) }),
			big.loaded(ctx),
			timed(&empties, empty.restore),
			empty.clean(),
		)
	}, &littles, &bigs, &empties)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("first answer, %d MiB", large)
	lasting, err := s.compareLasting(ctx, b.runs, big, large)
	return []row{
		{what: what, own: bigs, yardstick: fmt.Sprintf("the same with %d MiB, lazy", small), plain: littles, aim: 1.5},
		{what: what, own: bigs, yardstick: "criu restore, empty", plain: empties, aim: 3},
		lasting,
	}, err
}

// compareLasting wakes a plugin that outlives its host, whose memory is brought in by
// a process of its own, in turn with one that does not.
func (s *stage) compareLasting(ctx context.Context, runs int, other *sleeper, mib int) (_ row, err error) {
	s.adopt = true
	own, err := s.lazy(ctx, "Lasting", mib)
	s.adopt = false
	if err != nil {
		return row{}, err
	}
	defer func() { err = errors.Join(err, own.end(ctx)) }()
	var owns, others series
	err = rounds(ctx, runs, func() error {
		defer s.host.Processes.Images.Close()
		return errors.Join(
			own.sleep(ctx), other.sleep(ctx),
			timed(&owns, func() error { return own.answer(ctx) }),
			own.loaded(ctx),
			timed(&others, func() error { return other.answer(ctx) }),
			other.loaded(ctx),
		)
	}, &owns, &others)
	what := fmt.Sprintf("first answer, %d MiB, outliving host", mib)
	return row{what: what, own: owns, yardstick: "the same, ending with it", plain: others, aim: 1.5}, err
}
