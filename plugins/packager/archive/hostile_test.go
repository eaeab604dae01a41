package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// file returns the entry of a regular file.
func file(name, text string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text)), Uname: text}
}

// other returns an entry of another type.
func other(kind byte, name, target string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o755}
}

// tarOf returns a tar of the entries. Uname holds the text of a file. With sums it ends in the
// SHA256SUMS of all files.
func tarOf(tb testing.TB, sums bool, entries ...tar.Header) []byte {
	tb.Helper()
	var text bytes.Buffer
	w := tar.NewWriter(&text)
	found := make(map[string][sha256.Size]byte)
	add := func(h tar.Header) {
		content := h.Uname
		h.Uname = ""
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			tb.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			found[strings.TrimPrefix(h.Name, "./")] = sha256.Sum256([]byte(content))
		}
	}
	for _, h := range entries {
		add(h)
	}
	if sums {
		add(file(SumsName, string(formatSums(found))))
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return text.Bytes()
}

// compress returns the bytes in one of the forms.
func compress(tb testing.TB, text []byte, form Form) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := newCompressor(&out, form)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// withMode returns the entry with another mode.
func withMode(h tar.Header, mode int64) tar.Header {
	h.Mode = mode
	return h
}

// withRecord returns the entry with a PAX record.
func withRecord(h tar.Header, key, value string) tar.Header {
	h.PAXRecords = map[string]string{key: value}
	return h
}

// What a package must not have is refused, with the file and the reason.
func TestHostileEntriesAreRefused(t *testing.T) {
	good := file("a", "text")
	long := strings.Repeat("n", 256)
	deep := strings.Repeat("d/", 32) + "f"
	for want, entries := range map[string][]tar.Header{
		`"../a": its name has ".."`:                                                    {file("../a", "")},
		`"x/../../a": its name has ".."`:                                               {file("x/../../a", "")},
		`"x/../a": its name has ".."`:                                                  {file("x/../a", "")},
		`"..": its name has ".."`:                                                      {other(tar.TypeDir, "..", "")},
		`"/etc/a": its name is absolute`:                                               {file("/etc/a", "")},
		`"a//b": its name has an empty part`:                                           {file("a//b", "")},
		`"a/./b": its name has an empty part`:                                          {file("a/./b", "")},
		`it has no name`:                                                               {file("", "")},
		`"a\x01b": its name has a control character`:                                   {file("a\x01b", "")},
		`"a\nb": its name has a control character`:                                     {file("a\nb", "")},
		`"a\u009bb": its name has a control character`:                                 {file("a\u009bb", "")},
		`"a\xff": its name is not UTF-8`:                                               {file("a\xff", "")},
		`"a\\b": its name has a "\"`:                                                   {file(`a\b`, "")},
		`".dormouse": that name is the host's own`:                                     {file(".dormouse", "")},
		`"` + long[:64] + `…": its name has a part of more than 255 bytes`:             {file(long, "")},
		`"` + deep[:64] + `…": it is in more than 31 directories`:                      {file(deep, "")},
		`"` + strings.Repeat("n/", 600)[:64] + `…": its name has more than 1024 bytes`: {file(strings.Repeat("n/", 600)+"f", "")},
		`"d": it is a device`:                                                          {other(tar.TypeChar, "d", "")},
		`"b": it is a device`:                                                          {other(tar.TypeBlock, "b", "")},
		`"p": it is a named pipe`:                                                      {other(tar.TypeFifo, "p", "")},
		`"s": it is an entry of type 'g'; only files, directories and links may be in a package`:  {withRecord(tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "s"}, "comment", "x")},
		`"a": it is setuid, setgid or sticky`:                                                     {withMode(good, 0o4755)},
		`"a": it is setuid, setgid or sticky `:                                                    {withMode(good, 0o2755)},
		`"t": it is setuid, setgid or sticky`:                                                     {withMode(other(tar.TypeDir, "t", ""), 0o1777)},
		`"a": it has capabilities`:                                                                {withRecord(good, "SCHILY.xattr.security.capability", "x")},
		`"a": it is there twice`:                                                                  {good, good},
		`"a": it is there twice  `:                                                                {good, other(tar.TypeDir, "a", "")},
		`"d": it is there twice`:                                                                  {other(tar.TypeDir, "d", ""), other(tar.TypeDir, "d/", "")},
		`"l": it is there twice`:                                                                  {good, other(tar.TypeSymlink, "l", "a"), file("l", "")},
		`"A": its name differs from that of "a" in case only`:                                     {good, file("A", "")},
		`"X": its name differs from that of "x" in case only`:                                     {file("x/a", ""), file("X/b", "")},
		`"ſ": its name differs from that of "s" in case only`:                                     {file("s", ""), file("ſ", "")},
		`"a/b": it is below "a", which is not a directory`:                                        {good, file("a/b", "")},
		`"l/b": it is below "l", which is not a directory`:                                        {good, other(tar.TypeSymlink, "l", "a"), file("l/b", "")},
		`"l/passwd": it is below "l", which is not a directory`:                                   {other(tar.TypeSymlink, "l", "../../etc"), file("l/passwd", "")},
		`"l": it is a link to "/etc/passwd", which is absolute or empty`:                          {good, other(tar.TypeSymlink, "l", "/etc/passwd")},
		`"l": it is a link to "../a", which is outside of the package`:                            {good, other(tar.TypeSymlink, "l", "../a")},
		`"x/l": it is a link to "../../a", which is outside of the package`:                       {good, other(tar.TypeSymlink, "x/l", "../../a")},
		`"l": it is a link to "b", which is not in the package`:                                   {good, other(tar.TypeSymlink, "l", "b")},
		`"l": it is a link that leads to no file after 40 others`:                                 {good, other(tar.TypeSymlink, "l", "l")},
		`"l": it is a link through "a", which is not a directory`:                                 {good, other(tar.TypeSymlink, "l", "a/../a")},
		`"l": it is a link to a directory, for which SHA256SUMS can't vouch; put the files there`: {file("d/a", ""), other(tar.TypeSymlink, "l", "d")},
		`"l": it is a link to "a\nb", which is not a name that a file may have`:                   {good, other(tar.TypeSymlink, "l", "a\nb")},
		// Where names seem to stay inside, and links lead out.
		`"a/b/e": it is a link to "z/../x", which is outside of the package`:       {file("a/b/x", ""), other(tar.TypeSymlink, "a/b/z", "../.."), other(tar.TypeSymlink, "a/b/e", "z/../x")},
		`"h": it is a hard link to "../a", which is outside of the package`:        {good, other(tar.TypeLink, "h", "../a")},
		`"h": it is a hard link to "/etc/passwd", which is outside of the package`: {good, other(tar.TypeLink, "h", "/etc/passwd")},
		`"h": it is a hard link to "b", which is not a file that precedes it`:      {other(tar.TypeLink, "h", "b"), file("b", "")},
		`"h": it is a hard link to "l", which is not a file that precedes it`:      {good, other(tar.TypeSymlink, "l", "a"), other(tar.TypeLink, "h", "l")},
		`the archive has more than 50 files`:                                       many(51, 0),
		`"f4": with it the files have more than 4.0 MiB`:                           many(5, 1<<20),
	} {
		for _, form := range []Form{TarZstd, TarGzip} {
			limits := testLimits
			limits.RatioFrom = 1 << 30
			_, _, err := unpack(t, compress(t, tarOf(t, true, entries...), form), limits)
			if refused, ok := errors.AsType[*RefusedError](err); !ok || refused.Error() != strings.TrimRight(want, " ") {
				t.Errorf("got  %v\nwant %s", err, want)
			}
		}
	}
}

// many returns that many files, each of size bytes of zero.
func many(n, size int) (entries []tar.Header) {
	for i := range n {
		entries = append(entries, file(fmt.Sprintf("f%d", i), string(make([]byte, size))))
	}
	return entries
}

// What is allowed comes out: links to files, also hard ones, directories, names with "./".
func TestHarmlessEntriesAreUnpacked(t *testing.T) {
	raw := tarOf(t, false,
		other(tar.TypeDir, "./", ""), other(tar.TypeDir, "./d/", ""), other(tar.TypeDir, "./empty", ""),
		file("./d/a b", "text"), other(tar.TypeSymlink, "./d/l", "../d/./a b"), other(tar.TypeSymlink, "m", "d/l"), other(tar.TypeLink, "./h", "./d/a b"),
		file(SumsName, fmt.Sprintf("%[1]x  d/a b\n%[1]x *d/l\n%[1]X  h\n%[1]x  ./m\n", sha256.Sum256([]byte("text")))))
	dir, _, err := unpack(t, compress(t, raw, TarGzip), testLimits)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(path, dir))
		return err
	})
	if diff := cmp.Diff([]string{"", "/SHA256SUMS", "/d", "/d/a b", "/d/l", "/h", "/m"}, names); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, name := range []string{"d/a b", "d/l", "m", "h"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); string(text) != "text" {
			t.Errorf("%s holds %q, %v", name, text, err)
		}
	}
}

// SHA256SUMS must name exactly the files that are there.
func TestWrongSumsAreRefused(t *testing.T) {
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("text")))
	zero := strings.Repeat("0", 64)
	for sums, want := range map[string]string{
		"":                                     `"SHA256SUMS": it names no file`,
		zero + "  a\n":                         `"a": it is not as SHA256SUMS says: its SHA-256 is ` + sum,
		sum + "  a\n" + sum + "  b\n":          `"b": it is missing, although SHA256SUMS names it`,
		sum + "  a\n" + sum + "  a\n":          `"SHA256SUMS": line 2 names "a" again`,
		sum + "  a\n" + sum + "  ./a\n":        `"SHA256SUMS": line 2 names "a" again`,
		sum + "  a":                            `"SHA256SUMS": line 1 is not a SHA-256, two spaces and a name, as ` + "`sha256sum` writes it",
		sum + " a\n":                           `"SHA256SUMS": line 1 is not a SHA-256, two spaces and a name, as ` + "`sha256sum` writes it",
		`\` + sum + "  a\n":                    `"SHA256SUMS": line 1 is not a SHA-256, two spaces and a name, as ` + "`sha256sum` writes it",
		strings.Repeat("x", 64) + "  a\n":      `"SHA256SUMS": line 1 does not begin with a SHA-256`,
		sum + "  ../a\n":                       `"SHA256SUMS": line 1: "../a": its name has ".."`,
		sum + "  a\n" + sum + "  SHA256SUMS\n": `"SHA256SUMS": it names "SHA256SUMS", which it can't vouch for`,
		sum + "  a\n" + sum + "  SHA256SUMS.minisig\n": `"SHA256SUMS": it names "SHA256SUMS.minisig", which it can't vouch for`,
	} {
		_, _, err := unpack(t, compress(t, tarOf(t, false, file("a", "text"), file(SumsName, sums)), TarZstd), testLimits)
		if err == nil || err.Error() != want {
			t.Errorf("%q\ngot  %v\nwant %s", sums, err, want)
		}
	}
	for want, entries := range map[string][]tar.Header{
		`"b": SHA256SUMS does not name it`:                                           {file("a", "text"), file(SumsName, sum+"  a\n"), file("b", "")},
		"the archive has no SHA256SUMS; `dormouse package build` makes one that has": {file("a", "text")},
		`"SHA256SUMS": it is not a regular file`:                                     {file("a", "text"), other(tar.TypeSymlink, SumsName, "a")},
		`"SHA256SUMS.minisig": it is not a regular file`:                             {file("a", "text"), file(SumsName, sum+"  a\n"), other(tar.TypeLink, SignatureName, "a")},
		`"SHA256SUMS.minisig": it has more than 8.0 KiB`:                             {file("a", "text"), file(SignatureName, string(make([]byte, 9000)))},
	} {
		_, _, err := unpack(t, compress(t, tarOf(t, false, entries...), TarZstd), testLimits)
		if err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// Bombs are refused before they have filled the disk.
func TestBombsAreRefused(t *testing.T) {
	bomb := tarOf(t, true, many(3, 1<<20)...)
	limits := Limits{Archive: 1 << 20, Unpacked: 1 << 30, Files: 50, Ratio: 100, RatioFrom: 1 << 20}
	for _, form := range []Form{TarZstd, TarGzip} {
		_, _, err := unpack(t, compress(t, bomb, form), limits)
		if err == nil || err.Error() != "its files are more than 100 times as large as the archive" {
			t.Errorf("%s: got %v", form, err)
		}
	}
	limits.Archive = 1000
	noise := make([]byte, 2000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	var stored bytes.Buffer
	w, err := gzip.NewWriterLevel(&stored, gzip.NoCompression)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(tarOf(t, true, file("a", string(noise))))
	_ = w.Close()
	if _, _, err := unpack(t, stored.Bytes(), limits); err == nil || err.Error() != "the archive has more than 1000 B, see max-size in [packages]" {
		t.Errorf("got %v", err)
	}
	var wide bytes.Buffer
	z, err := zstd.NewWriter(&wide, zstd.WithWindowSize(64<<20), zstd.WithSingleSegment(false))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(z, bytes.NewReader(make([]byte, 100<<20)))
	_ = z.Close()
	if _, _, err := unpack(t, wide.Bytes(), testLimits); err == nil || err.Error() != "the archive was compressed with a window of more than 8.0 MiB; compress it with `zstd -19` at most" {
		t.Errorf("got %v", err)
	}
}

// What lies about its size, has something behind its end or is not an archive is refused.
func TestMalformedArchivesAreRefused(t *testing.T) {
	raw := tarOf(t, true, file("a", "text"))
	lying := bytes.Clone(raw)
	copy(lying[124:], "77777777777\x00") // 8 GiB
	fixChecksum(lying)
	longer := bytes.Clone(raw)
	copy(longer[124:], "00000002000\x00") // over the next header
	fixChecksum(longer)
	whole := compress(t, raw, TarZstd)
	for name, test := range map[string]struct {
		archive []byte
		want    string
	}{
		"empty":               {nil, "the archive is empty"},
		"text":                {[]byte("hello, world"), "it is not an archive: it must be a tar.zst or tar.gz"},
		"plain tar":           {raw, "it is not an archive: it must be a tar.zst or tar.gz"},
		"garbage behind":      {append(bytes.Clone(whole), "garbage"...), "the archive is damaged: invalid input: magic number mismatch"},
		"garbage behind gzip": {append(compress(t, raw, TarGzip), "garbage garbage"...), "the archive is damaged: gzip: invalid header"},
		"garbage in the tar":  {compress(t, append(bytes.Clone(raw), "garbage"...), TarZstd), "something follows the end of the archive"},
		"another tar behind":  {compress(t, append(bytes.Clone(raw), raw...), TarZstd), "something follows the end of the archive"},
		"zeros without end":   {compress(t, append(bytes.Clone(raw), make([]byte, 2<<20)...), TarZstd), "something follows the end of the archive"},
		"no end of tar":       {compress(t, raw[:len(raw)-1024], TarZstd), "the archive is cut short"},
		"half an end":         {compress(t, raw[:len(raw)-512], TarZstd), "the archive is cut short"},
		"size of 8 GiB":       {compress(t, lying, TarZstd), `"a": with it the files have more than 4.0 MiB`},
		"size over the next":  {compress(t, longer, TarZstd), "the archive is damaged: archive/tar: invalid tar header"},
		"wrong checksum":      {compress(t, append([]byte("b"), raw[1:]...), TarZstd), "the archive is damaged: archive/tar: invalid tar header"},
		"damaged in transit":  {flip(whole, len(whole)/2), "the archive is damaged"},
	} {
		_, _, err := unpack(t, test.archive, testLimits)
		if refused, ok := errors.AsType[*RefusedError](err); !ok || !strings.HasPrefix(refused.Error(), test.want) {
			t.Errorf("%s\ngot  %v\nwant %s", name, err, test.want)
		}
	}
}

// fixChecksum writes the checksum of the first header of a tar.
func fixChecksum(raw []byte) {
	copy(raw[148:156], "        ")
	sum := 0
	for _, b := range raw[:512] {
		sum += int(b)
	}
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
}

// flip returns the bytes with one of them changed.
func flip(whole []byte, at int) []byte {
	changed := bytes.Clone(whole)
	changed[at] ^= 0x55
	return changed
}

// An archive that is cut anywhere is refused, or reads as damaged, and nothing is left; one
// byte that differs makes no other package. All bytes are changed with DORMOUSE_FAULTS=all, else
// one of eleven.
func TestEveryCutAndEveryFlip(t *testing.T) {
	chosen, of := rand.IntN(11), 11
	if os.Getenv("DORMOUSE_FAULTS") == "all" {
		chosen, of = 0, 1
	}
	t.Logf("changing each byte whose number modulo %d is %d", of, chosen)
	for _, form := range []Form{TarZstd, TarGzip} {
		whole, digest := build(t, writeFiles(t, pkg), form)
		parent := t.TempDir()
		try := func(name string, archive []byte) (Digest, error) {
			dir := filepath.Join(parent, "d")
			got, err := Unpack(context.Background(), bytes.NewReader(archive), dir, testLimits, nil)
			if err == nil {
				err = os.RemoveAll(dir)
				return got, err
			}
			if left, rerr := os.ReadDir(parent); rerr != nil || len(left) > 0 {
				t.Fatalf("%s: after %v there is %v, %v", name, err, left, rerr)
			}
			return "", err
		}
		for n := range whole {
			if _, err := try("cut", whole[:n]); err == nil {
				t.Fatalf("%s: cut at %d of %d it was accepted", form, n, len(whole))
			}
			if n%of != chosen {
				continue
			}
			if got, err := try("flip", flip(whole, n)); err == nil && got != digest {
				t.Fatalf("%s: with byte %d changed it was accepted as %s", form, n, got)
			}
		}
		if got, err := try("whole", whole); got != digest {
			t.Fatalf("%s: the whole is %s, %v", form, got, err)
		}
	}
}

// Nothing outside of the directory is touched by any of them.
func TestNothingOutsideIsTouched(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"victim", "dir/victim"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(outside, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outside, name), []byte("precious"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, outside)
	victim := filepath.Join(outside, "victim")
	for i, entries := range [][]tar.Header{
		{file("../victim", "x")}, {file(victim, "x")}, {file("d/../../victim", "x")},
		{other(tar.TypeSymlink, "l", "../victim"), file("l", "x")},
		{other(tar.TypeSymlink, "l", victim), file("l", "x")},
		{other(tar.TypeSymlink, "l", ".."), file("l/victim", "x")},
		{other(tar.TypeSymlink, "l", "../dir"), other(tar.TypeDir, "l/new", "")},
		{other(tar.TypeLink, "l", "../victim"), file("l", "x")},
		{other(tar.TypeLink, "l", victim), file("l", "x")},
		{other(tar.TypeDir, "../new", "")}, {other(tar.TypeFifo, "../new", "")}, {other(tar.TypeSymlink, "../new", "victim")},
		{withMode(other(tar.TypeDir, "./", ""), 0o777), withMode(other(tar.TypeDir, "../", ""), 0)},
	} {
		_, err := Unpack(t.Context(), bytes.NewReader(compress(t, tarOf(t, true, entries...), TarZstd)), filepath.Join(outside, "unpacked"), testLimits, nil)
		if err == nil {
			t.Errorf("the archive %d was accepted", i)
		}
		if diff := cmp.Diff(before, snapshot(t, outside)); diff != "" {
			t.Errorf("the archive %d has changed what is outside (-before +after):\n%s", i, diff)
		}
	}
}

// snapshot returns all that is below a directory, with modes, contents and times.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		text := fmt.Sprint(info.Mode())
		if info.Mode().IsRegular() {
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprint(" ", info.ModTime(), " ", string(content))
		}
		all[path] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A directory that exists is left as it is, and errors of the source are not the archive's.
func TestOtherErrors(t *testing.T) {
	whole, _ := build(t, writeFiles(t, pkg), TarZstd)
	dir := t.TempDir()
	if _, err := Unpack(t.Context(), bytes.NewReader(whole), dir, testLimits, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	cause := errors.New("the network broke")
	source := io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), iotest.ErrReader(cause))
	_, err := Unpack(t.Context(), source, filepath.Join(dir, "x"), testLimits, nil)
	if _, refused := errors.AsType[*RefusedError](err); refused || !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := Unpack(ctx, bytes.NewReader(whole), filepath.Join(dir, "x"), testLimits, nil); !errors.Is(err, cause) {
		t.Errorf("got %v", err)
	}
	var read []int64
	if _, err := Unpack(t.Context(), iotest.OneByteReader(bytes.NewReader(whole)), filepath.Join(dir, "x"), testLimits, func(n int64) { read = append(read, n) }); err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(read) || len(read) < len(whole) || read[len(read)-1] != int64(len(whole)) {
		t.Errorf("progress ended with %d of %d bytes", read[len(read)-1], len(whole))
	}
}

// FuzzUnpack holds that nothing comes out of any bytes but a package that Verify accepts.
func FuzzUnpack(f *testing.F) {
	raw := tarOf(f, true, file("plugin.toml", "name"), file("bin/a", "text"), other(tar.TypeDir, "d", ""))
	for _, form := range []Form{TarZstd, TarGzip} {
		f.Add(compress(f, raw, form), false)
	}
	f.Add(raw, true)
	f.Add(tarOf(f, true, file("a", ""), other(tar.TypeSymlink, "l", "../a"), other(tar.TypeLink, "h", "a")), true)
	f.Fuzz(func(t *testing.T, text []byte, isTar bool) {
		if isTar { // what is inside is found sooner without the compression
			text = compress(t, text, TarZstd)
		}
		outside := t.TempDir()
		dir := filepath.Join(outside, "d")
		digest, err := Unpack(t.Context(), bytes.NewReader(text), dir, testLimits, nil)
		if err == nil {
			if verified, err := Verify(t.Context(), dir); err != nil || verified != digest {
				t.Errorf("unpacked %s, then verified %s, %v", digest, verified, err)
			}
		}
		left, rerr := os.ReadDir(outside)
		if rerr != nil || len(left) > 1 || len(left) == 1 && (err != nil || left[0].Name() != "d") {
			t.Errorf("after %v there is %v, %v", err, slices.Collect(maps.Keys(snapshot(t, outside))), rerr)
		}
	})
}
