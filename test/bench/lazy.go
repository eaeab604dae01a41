package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/configs"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// sleeper is an instance of the counter with some memory.
type sleeper struct {
	*shell.Shell
	images string
}

// lazySleeper starts one that wakes before its memory is read.
func (s *stage) lazySleeper(ctx context.Context, callsign string, mib int) (*sleeper, error) {
	config := s.counterConfig()
	config.Callsign, config.Wake = callsign, configs.WakeLazy
	own := &sleeper{s.instanceOf(config), filepath.Join(s.dir, "images", callsign, "image")}
	err := own.Activate(ctx, shell.Requested)
	if err == nil {
		params, _ := json.Marshal(map[string]any{"mib": mib, "pattern": "random"})
		_, err = own.Invoke(ctx, shell.Call{Method: "fill", Params: params})
	}
	return own, err
}

// wake returns with the first answer.
func (o *sleeper) wake(ctx context.Context) error {
	if err := o.Activate(ctx, shell.Requested); err != nil {
		return err
	}
	_, err := o.Invoke(ctx, shell.Call{Method: "get"})
	return err
}

// loaded returns when all memory is in.
func (o *sleeper) loaded(ctx context.Context) error {
	return poll(ctx, func() (bool, error) { return o.Status().Facts.Loading == shell.Progress{}, nil })
}

func (o *sleeper) end(ctx context.Context) error {
	err := o.Deactivate(ctx, shell.Requested)
	o.Close()
	return err
}

// compareLazy wakes a plugin of mib MiB before its memory is read, up to the
// first answer and up to the last page, in turn with CRIU's own command on an
// equal process, connecting and a call. Evicted, the images are not in the page
// cache.
func (s *stage) compareLazy(ctx context.Context, mib, runs int, evicted bool) (answer, all row, err error) {
	own, err := s.lazySleeper(ctx, "Lazy", mib)
	if err != nil {
		return row{}, row{}, err
	}
	plainDir, err := os.MkdirTemp(s.dir, "p")
	if err != nil {
		return row{}, row{}, err
	}
	other, err := startPlain(ctx, s.engine.Path(), s.pidone, s.counter, plainDir, mib)
	if err != nil {
		return row{}, row{}, err
	}
	var answers, loads, restores series
	for run := range runs + 1 {
		err = errors.Join(own.Hibernate(ctx, shell.Requested, 0), other.dump())
		if evicted && err == nil {
			err = errors.Join(evict(own.images), evict(filepath.Join(plainDir, "images")))
		}
		if err == nil {
			err = timed(&loads, func() error {
				return errors.Join(timed(&answers, func() error { return own.wake(ctx) }), own.loaded(ctx))
			})
		}
		if err == nil {
			err = timed(&restores, func() error { return errors.Join(other.restore(), other.call(ctx)) })
		}
		if err = errors.Join(err, other.settle(ctx), other.clean()); err != nil {
			break
		}
		s.images.Close() // no run pays for the removal of another's image
		if run == 0 {
			answers, loads, restores = nil, nil, nil // warm-up
		}
	}
	err = errors.Join(err, other.end(), own.end(ctx))
	aim := 1.0
	if mib < 32 {
		aim = 2 // such an instance is not woken like this unless it is told to
	}
	how := "cached"
	if evicted {
		how = "evicted"
	}
	return row{fmt.Sprintf("lazy wake %d MiB, %s: first answer", mib, how), answers, "criu restore + call", restores, aim},
		row{fmt.Sprintf("lazy wake %d MiB, %s: last page", mib, how), loads, "criu restore + call", restores, 3.5}, err
}

// compareSizes wakes a large plugin, a small one and, by CRIU's own command, an
// empty one in turn.
func (s *stage) compareSizes(ctx context.Context, small, large, runs int) (bySize, byEmpty row, err error) {
	little, err := s.lazySleeper(ctx, "Little", small)
	if err != nil {
		return row{}, row{}, err
	}
	big, err := s.lazySleeper(ctx, "Big", large)
	if err != nil {
		return row{}, row{}, err
	}
	plainDir, err := os.MkdirTemp(s.dir, "p")
	if err != nil {
		return row{}, row{}, err
	}
	empty, err := startPlain(ctx, s.engine.Path(), s.pidone, s.counter, plainDir, 0)
	if err != nil {
		return row{}, row{}, err
	}
	var littles, bigs, empties series
	for run := range runs + 1 {
		err = errors.Join(little.Hibernate(ctx, shell.Requested, 0), big.Hibernate(ctx, shell.Requested, 0), empty.dump())
		if err == nil {
			err = errors.Join(
				timed(&littles, func() error { return little.wake(ctx) }),
				little.loaded(ctx),
				timed(&bigs, func() error { return big.wake(ctx) }),
				big.loaded(ctx),
				timed(&empties, empty.restore),
			)
		}
		if err = errors.Join(err, empty.clean()); err != nil {
			break
		}
		s.images.Close()
		if run == 0 {
			littles, bigs, empties = nil, nil, nil // warm-up
		}
	}
	err = errors.Join(err, empty.end(), little.end(ctx), big.end(ctx))
	what := fmt.Sprintf("lazy wake %d MiB: first answer", large)
	return row{what, bigs, fmt.Sprintf("the same with %d MiB", small), littles, 1.5},
		row{what, bigs, "criu restore, empty", empties, 3}, err
}

// evict drops the files in dir from the page cache.
func evict(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		f, oerr := os.Open(filepath.Join(dir, e.Name()))
		if oerr == nil {
			oerr = errors.Join(unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
		}
		err = errors.Join(err, oerr)
	}
	return err
}

// call connects to the restored plugin and asks it something.
func (p *plain) call(ctx context.Context) error {
	socket, err := p.socket(ctx)
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return err
	}
	_, err = shellpb.NewDispatcherClient(conn).Invoke(ctx, &shellpb.InvokeRequest{Method: "get"})
	return errors.Join(err, conn.Close())
}

// settle returns when nobody is connected to the plugin.
func (p *plain) settle(ctx context.Context) error {
	socket, err := p.socket(ctx)
	if err != nil {
		return err
	}
	return poll(ctx, func() (bool, error) {
		peers, err := procfs.UnixPeers(socket)
		return peers == 0, err
	})
}
