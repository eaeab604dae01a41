package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"dormouse/plugins/state"
	"dormouse/plugins/state/statepb"
)

// blobMiB is the size of the blob of the measurements.
const blobMiB = 100

// measureState puts and reads a blob over gRPC, in turn with cp and sync, and sets keys, in turn
// with rows of the same bytes written by SQLite, which shares commits in the same way.
func measureState(ctx context.Context, b *bench) (rows []row, err error) {
	h, err := openFlowHost(ctx, filepath.Join(b.plugins, "lines"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }() //nolint:contextcheck // it ends what ctx may have ended
	s := stateBench{h.State, statepb.NewStateClient(h.conn), h.dir}
	rows, err = s.compareBlobs(ctx, b.runs)
	for _, writers := range []int{1, 64} {
		if err == nil {
			var r row
			r, err = s.compareSets(ctx, writers, b.runs)
			rows = append(rows, r)
		}
	}
	return rows, err
}

// stateBench is a host that keeps state for the instance "Lines".
type stateBench struct {
	state  *state.State
	client statepb.StateClient
	dir    string
}

// compareBlobs puts and reads a blob, in turn with cp and sync of the same file.
func (s stateBench) compareBlobs(ctx context.Context, runs int) (_ []row, err error) {
	source, target := filepath.Join(s.dir, "source"), filepath.Join(s.dir, "target")
	f, err := os.Create(source)
	if err != nil {
		return nil, err
	}
	_, err = io.CopyN(f, rand.Reader, blobMiB<<20)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	var in, out, copied, copiedAgain series
	err = rounds(ctx, runs, func() error {
		return errors.Join(
			s.alone(&copied, func() error { return copyAndSync(ctx, source, target) }, target),
			s.alone(&in, func() error { return s.putBlob(ctx, source) }),
			s.alone(&copiedAgain, func() error { return copyAndSync(ctx, source, target) }, target),
			s.alone(&out, func() error { return s.getBlob(ctx, target) }, target),
			s.deleteBlob(ctx), // as cp, no run replaces what is there
		)
	}, &in, &out, &copied, &copiedAgain)
	return []row{
		{what: fmt.Sprintf("put a blob of %d MiB", blobMiB), own: in, yardstick: "cp and sync", plain: copied, aim: 1 / 0.7},
		{what: fmt.Sprintf("read a blob of %d MiB into a file", blobMiB), own: out, yardstick: "cp and sync", plain: copiedAgain, aim: 1 / 0.7},
	}, errors.Join(err, os.Remove(source))
}

// alone measures work while nothing else is to be written, and removes what it has made.
func (s stateBench) alone(times *series, work func() error, made ...string) error {
	unix.Sync() // no run pays for what an earlier one wrote
	err := timed(times, work)
	for _, path := range made {
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// copyAndSync is cp, and sync of the copy with its directory.
func copyAndSync(ctx context.Context, from, to string) error {
	return exec.CommandContext(ctx, "sh", "-c", `cp "$0" "$1" && sync "$1" "$(dirname "$1")"`, from, to).Run()
}

// putBlob puts the content of a file.
func (s stateBench) putBlob(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	stream, err := s.client.PutBlob(ctx)
	if err == nil {
		err = stream.Send(&statepb.PutBlobRequest{Start: &statepb.PutBlobStart{Owner: "Lines", Name: "blob"}})
	}
	for buffer := make([]byte, 1<<20-64); err == nil; {
		var n int
		if n, err = f.Read(buffer); n > 0 {
			err = stream.Send(&statepb.PutBlobRequest{Data: buffer[:n]})
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	_, err = stream.CloseAndRecv()
	return err
}

// getBlob reads the blob into a file, and syncs the file.
func (s stateBench) getBlob(ctx context.Context, path string) (err error) {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	stream, err := s.client.GetBlob(ctx, &statepb.GetBlobRequest{Owner: "Lines", Name: "blob"})
	for err == nil {
		var part *statepb.GetBlobResponse
		if part, err = stream.Recv(); err == nil {
			_, err = f.Write(part.GetData())
		}
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	return f.Sync()
}

// deleteBlob deletes the blob.
func (s stateBench) deleteBlob(ctx context.Context) error {
	_, err := s.client.DeleteBlob(ctx, &statepb.DeleteBlobRequest{Owner: "Lines", Name: "blob"})
	return err
}

// compareSets sets keys from so many writers, in turn with SQLite.
func (s stateBench) compareSets(ctx context.Context, writers, runs int) (_ row, err error) {
	each := 100
	if writers > 1 {
		each = 16
	}
	var own, lite series
	err = rounds(ctx, runs, func() error {
		return errors.Join(
			timePutter(filepath.Join(s.dir, "keys"), func(string) (putter, error) { return keySetter{ctx, s.state}, nil }, &own, writers, each),
			timePutter(filepath.Join(s.dir, "plain.db"), openLitePutter, &lite, writers, each),
		)
	}, &own, &lite)
	return row{
		what: fmt.Sprintf("set %d keys, %d at a time", writers*each, writers),
		own:  own, yardstick: "SQLite, rows of the same bytes", plain: lite, aim: 1 / 0.5,
	}, err
}

// keySetter sets keys of the value that other putters put.
type keySetter struct {
	ctx   context.Context //nolint:containedctx // of one measurement
	state *state.State
}

func (k keySetter) put(key string) error {
	_, _, err := k.state.Change(k.ctx, "Lines", state.Change{Key: key, Value: keptJSON()})
	return err
}

func (keySetter) close() error { return nil }

// keptJSON returns the value of a record as JSON.
var keptJSON = sync.OnceValue(func() []byte {
	return fmt.Appendf(nil, `{"callsign":%q,"text":%q}`, keptRecord.Callsign, keptRecord.Text)
})
