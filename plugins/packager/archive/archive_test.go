package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// The same files make the same bytes, however many processors there are.
func TestSameBytesOnAnyMachine(t *testing.T) {
	text := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range text {
		if text[i] = byte(random.IntN(9)); i > 1<<18 && random.IntN(3) > 0 {
			text[i] = text[i-1<<18]
		}
	}
	dir := writeFiles(t, map[string]string{"plugin.toml": "x", "big": string(text), "bin/tool": "y"})
	for form, want := range map[Form]string{TarZstd: "", TarGzip: ""} {
		for _, processors := range []int{1, 7} {
			before := runtime.GOMAXPROCS(processors)
			archive, _ := build(t, dir, form)
			runtime.GOMAXPROCS(before)
			if sum := string(DigestOf(archive)); want == "" {
				want = sum
			} else if sum != want {
				t.Errorf("%s on %d processors is %s, on one %s", form, processors, sum, want)
			}
		}
	}
	if err := os.Chtimes(filepath.Join(dir, "big"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	first, _ := build(t, dir, TarZstd)
	if err := os.Chmod(filepath.Join(dir, "bin/tool"), 0o711); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if again, _ := build(t, copied, TarZstd); !bytes.Equal(first, again) {
		t.Error("a copy with other times and modes makes other bytes")
	}
}

// A SHA256SUMS that is right is kept as it is, and so is the digest; another one is replaced,
// unless it was signed.
func TestKeepsRightSums(t *testing.T) {
	dir := writeFiles(t, pkg)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "find . -type f | sort -r | xargs -d '\\n' sha256sum -b >../sums && mv ../sums SHA256SUMS && sha256sum --strict -c SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	sums, err := os.ReadFile(filepath.Join(dir, SumsName))
	if err != nil {
		t.Fatal(err)
	}
	verified, err := Verify(t.Context(), dir)
	if err != nil || verified != DigestOf(sums) {
		t.Fatalf("verified %s, %v", verified, err)
	}
	if _, digest := build(t, dir, TarZstd); digest != verified {
		t.Errorf("built %s of %s", digest, verified)
	}
	if err := os.WriteFile(filepath.Join(dir, "more"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Verify(t.Context(), dir); err == nil || err.Error() != `"more": SHA256SUMS does not name it` {
		t.Errorf("got %v", err)
	}
	if _, digest := build(t, dir, TarZstd); digest == verified {
		t.Error("another file makes no other digest")
	}
	if err := os.WriteFile(filepath.Join(dir, SignatureName), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Build(t.Context(), dir, io.Discard, TarZstd, "plugin.toml", nil); !errors.Is(err, ErrOutdatedSignature) {
		t.Errorf("got %v", err)
	}
}

// What can't be in a package is refused when it is built, too.
func TestDirectoriesThatAreNoPackage(t *testing.T) {
	for want, spoil := range map[string]func(dir string) error{
		`"pipe": it is neither a file nor a directory nor a link`: func(dir string) error { return unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600) },
		`"l": it is a link to "../../etc/passwd", which is outside of the package`: func(dir string) error {
			return os.Symlink("../../etc/passwd", filepath.Join(dir, "l"))
		},
		`"empty": it is setuid, setgid or sticky`:                     func(dir string) error { return os.Chmod(filepath.Join(dir, "empty"), 0o755|os.ModeSetuid) },
		`"empty": its name differs from that of "EMPTY" in case only`: func(dir string) error { return os.WriteFile(filepath.Join(dir, "EMPTY"), nil, 0o600) },
		`"a\nb": its name has a control character`:                    func(dir string) error { return os.WriteFile(filepath.Join(dir, "a\nb"), nil, 0o600) },
	} {
		dir := writeFiles(t, pkg)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		_, err := Build(t.Context(), dir, io.Discard, TarZstd, "plugin.toml", nil)
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Build(t.Context(), t.TempDir(), io.Discard, TarZstd, "plugin.toml", nil); err == nil || err.Error() != "the directory has no files" {
		t.Errorf("got %v", err)
	}
}

// A disk that is full is not the archive's fault, and has as much room afterwards as before.
func TestDiskIsFull(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("cannot make a small disk, which needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	noise := make([]byte, 2<<20)
	random := rand.NewChaCha8([32]byte{})
	_, _ = random.Read(noise)
	archive, _ := build(t, writeFiles(t, map[string]string{"plugin.toml": "x", "big": string(noise)}), TarZstd)
	limits := LimitsFor(1 << 30)
	_, err := Unpack(t.Context(), bytes.NewReader(archive), filepath.Join(disk, "d"), limits, nil)
	if _, refused := errors.AsType[*RefusedError](err); refused || !errors.Is(err, unix.ENOSPC) {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left on the disk: %v, %v", left, err)
	}
}
