package archive

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dormouse/internal/leaktest"
)

func TestMain(m *testing.M) { os.Exit(leaktest.Run(m)) }

// pkg are the files of a small package.
var pkg = map[string]string{
	"plugin.toml":   "name = \"a\"\n",
	"bin/program":   "#!/bin/sh\n",
	"share/a b.txt": "text\n",
	"empty":         "",
}

// writeFiles writes files below a new directory; those in bin may be executed.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "source")
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o600)
		if filepath.Base(filepath.Dir(path)) == "bin" {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// build returns the archive of a directory.
func build(t *testing.T, dir string, form Form) ([]byte, Digest) {
	t.Helper()
	var archive bytes.Buffer
	digest, err := Build(t.Context(), dir, &archive, form, "plugin.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	return archive.Bytes(), digest
}

var testLimits = Limits{Archive: 1 << 20, Unpacked: 4 << 20, Files: 50, Ratio: 100, RatioFrom: 1 << 20}

// unpack unpacks an archive into a new directory.
func unpack(t *testing.T, archive []byte, limits Limits) (string, Digest, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "unpacked")
	digest, err := Unpack(context.Background(), bytes.NewReader(archive), dir, limits, nil)
	if _, serr := os.Lstat(dir); err != nil && !errors.Is(serr, os.ErrNotExist) {
		t.Errorf("after %v something is left", err)
	}
	return dir, digest, err
}

func TestBuildAndUnpack(t *testing.T) {
	for _, form := range []Form{TarZstd, TarGzip} {
		source := writeFiles(t, pkg)
		if err := os.Symlink("../bin/program", filepath.Join(source, "share/link")); err != nil {
			t.Fatal(err)
		}
		archive, digest := build(t, source, form)
		again, _ := build(t, source, form)
		if !bytes.Equal(archive, again) {
			t.Errorf("%s: the same files make other bytes", form)
		}
		dir, unpacked, err := unpack(t, archive, testLimits)
		if err != nil {
			t.Fatal(err)
		}
		verified, err := Verify(t.Context(), dir)
		if err != nil || unpacked != digest || verified != digest {
			t.Errorf("built %s, unpacked %s, verified %s, %v", digest, unpacked, verified, err)
		}
		for name, text := range pkg {
			got, err := os.ReadFile(filepath.Join(dir, name))
			info, serr := os.Stat(filepath.Join(dir, name))
			if err != nil || serr != nil || string(got) != text {
				t.Fatalf("%s: %q, %v, %v", name, got, err, serr)
			}
			want := os.FileMode(0o644)
			if name == "bin/program" {
				want = 0o755
			}
			if info.Mode() != want {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
		}
		if target, err := os.Readlink(filepath.Join(dir, "share/link")); err != nil || target != "../bin/program" {
			t.Errorf("the link leads to %q, %v", target, err)
		}
		again, _ = build(t, dir, form)
		if !bytes.Equal(archive, again) {
			t.Errorf("%s: what was unpacked makes another archive", form)
		}
		head, err := Peek(t.Context(), bytes.NewReader(archive), testLimits, "plugin.toml")
		if err != nil || head.Digest() != digest || string(head.File) != pkg["plugin.toml"] || head.Signature != nil || head.Form != form {
			t.Errorf("peeked %+v, %v", head, err)
		}
	}
}
