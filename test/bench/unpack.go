package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
)

// measureUnpack unpacks the archive of a package of 50 MiB and checks its sums, in turn with cp
// of the archive, tar -x and sync.
func measureUnpack(ctx context.Context, b *bench) (rows []row, err error) {
	dir, err := os.MkdirTemp("", "dormouse-unpack-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source := filepath.Join(dir, "source")
	if err := writePackage(source, 50); err != nil {
		return nil, err
	}
	for _, form := range []archive.Form{archive.TarZstd, archive.TarGzip} {
		var text bytes.Buffer
		if _, err := archive.Build(ctx, source, &text, form, manifest.FileName, nil); err != nil {
			return nil, err
		}
		file := filepath.Join(dir, "package."+string(form))
		if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
			return nil, err
		}
		r := row{what: fmt.Sprintf("unpack 50 MiB, %s", form), yardstick: "cp, tar -x, sync", aim: 1.5}
		if r.own, r.plain, err = compareUnpacking(ctx, dir, file, b.runs); err != nil {
			return nil, err
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// compareUnpacking unpacks the file below dir in both ways.
func compareUnpacking(ctx context.Context, dir, file string, runs int) (own, plain series, err error) {
	unpacked := filepath.Join(dir, "unpacked")
	err = rounds(ctx, runs, func() error {
		unix.Sync() // no run pays for what an earlier one wrote
		cmd := exec.CommandContext(ctx, "sh", "-ec", `mkdir "$2"; cp "$1" "$2/copy"; tar -C "$2" -xf "$2/copy"; sync`, "sh", file, unpacked)
		if err := timed(&plain, cmd.Run); err != nil {
			return err
		}
		if err := os.RemoveAll(unpacked); err != nil {
			return err
		}
		unix.Sync()
		err := timed(&own, func() error {
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = archive.Unpack(ctx, f, unpacked, archive.LimitsFor(1<<30), nil)
			return err
		})
		return errors.Join(err, os.RemoveAll(unpacked))
	}, &own, &plain)
	return own, plain, err
}

// writePackage writes the files of a package of mib MiB, which compress to two thirds as
// programs do.
func writePackage(dir string, mib int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range mib {
		text := make([]byte, 1<<20)
		for j := range text {
			if text[j] = byte(random.IntN(64)); j > 100 && random.IntN(3) == 0 {
				text[j] = text[j-97]
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("f%d", i)), text, 0o600); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, manifest.FileName), []byte("name = \"bench\"\n"), 0o600)
}
