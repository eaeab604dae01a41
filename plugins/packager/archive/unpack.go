package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/bytesize"
	"dormouse/internal/ownedtree"
)

// Unpack unpacks an archive into dir, which must not exist, and returns the digest of what it
// has unpacked, once all of it is on the disk and is as its SHA256SUMS says. It calls progress
// with the bytes read so far, unless that is nil: one call at a time, from any goroutine, and
// none after it has returned. On an error nothing is left of dir; it is a
// *RefusedError if it is the archive's fault.
//
// Files have the mode 0644 or 0755 and belong to this process. Directories are made as far as
// files are in them.
func Unpack(ctx context.Context, r io.Reader, dir string, limits Limits, progress func(read int64)) (_ Digest, err error) {
	s, err := openStream(ctx, r, limits, progress)
	if err != nil {
		return "", err
	}
	defer s.close()
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("cannot unpack into %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return "", errors.Join(fmt.Errorf("cannot unpack into %s: %w", dir, err), os.Remove(dir))
	}
	defer func() {
		if cerr := root.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			if rerr := ownedtree.Remove(dir); rerr != nil {
				err = errors.Join(err, rerr)
			}
		}
	}()
	if err := root.Chmod(".", 0o755); err != nil { // whatever the umask is
		return "", err
	}
	u := &unpacking{root: root, stream: s, hash: sha256.New(), buffer: make([]byte, 256<<10)}
	if err := u.unpackAll(); err != nil {
		return "", err
	}
	digest, err := u.compareWithSums()
	if err != nil {
		return "", err
	}
	return digest, syncAll(root)
}

// unpacking is one archive while it is unpacked.
type unpacking struct {
	root   *os.Root
	stream *stream
	tree   tree
	files  int
	bytes  int64
	made   map[string]bool // directories
	sums   bytes.Buffer    // SHA256SUMS

	hash   hash.Hash
	buffer []byte
}

// unpackAll unpacks each entry of the tar.
func (u *unpacking) unpackAll() error {
	tr := tar.NewReader(u.stream)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return u.stream.finish()
		}
		if err != nil {
			return u.stream.explain(err)
		}
		if err := u.unpackEntry(h, tr); err != nil {
			return err
		}
	}
}

// unpackEntry checks one entry of the tar, and unpacks it.
func (u *unpacking) unpackEntry(h *tar.Header, contents io.Reader) error {
	if u.files++; u.files > u.stream.limits.Files {
		return refuse("", "the archive has more than %d files", u.stream.limits.Files)
	}
	name, err := cleanName(h.Name)
	if err != nil {
		return err
	}
	if err := checkHeader(h); err != nil {
		return err
	}
	if name == "" { // the top directory
		if h.Typeflag != tar.TypeDir {
			return refuse(h.Name, "it has no name")
		}
		return nil
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.tree.add(name, &entry{kind: kindDir, named: true})
	case tar.TypeSymlink:
		return u.unpackLink(name, h.Linkname)
	case tar.TypeLink:
		return u.unpackHardLink(name, h.Linkname)
	}
	return u.unpackFile(name, h, contents)
}

// checkHeader refuses what is neither a regular file, a directory nor a link, and rights that
// a package must not give.
func checkHeader(h *tar.Header) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
	case tar.TypeChar, tar.TypeBlock:
		return refuse(h.Name, "it is a device")
	case tar.TypeFifo:
		return refuse(h.Name, "it is a named pipe")
	default:
		return refuse(h.Name, "it is an entry of type %q; only files, directories and links may be in a package", h.Typeflag)
	}
	if h.Mode&0o7000 != 0 {
		return refuse(h.Name, "it is setuid, setgid or sticky")
	}
	for key := range h.PAXRecords {
		switch {
		case strings.HasPrefix(key, "GNU.sparse."):
			return refuse(h.Name, "it is a sparse file; make the archive without --sparse")
		case key == "SCHILY.xattr.security.capability":
			return refuse(h.Name, "it has capabilities")
		}
	}
	if h.Typeflag != tar.TypeReg && h.Size != 0 {
		return refuse(h.Name, "it has a size, although it is not a file")
	}
	return nil
}

// unpackFile writes a regular file, and notes its SHA-256.
func (u *unpacking) unpackFile(name string, h *tar.Header, contents io.Reader) error {
	if u.bytes += h.Size; h.Size > u.stream.limits.Unpacked || u.bytes > u.stream.limits.Unpacked {
		return refuse(name, "with it the files have more than %s", bytesize.Format(u.stream.limits.Unpacked))
	}
	if most, bounded := map[string]int64{SumsName: maxSumsSize, SignatureName: maxSignatureSize}[name]; bounded && h.Size > most {
		return refuse(name, "it has more than %s", bytesize.Format(most))
	}
	e := &entry{kind: kindFile}
	if err := u.tree.add(name, e); err != nil {
		return err
	}
	f, err := u.create(name, fileMode(h.Mode))
	if err != nil {
		return err
	}
	u.hash.Reset()
	to := io.Writer(u.hash)
	if name == SumsName {
		to = io.MultiWriter(&u.sums, u.hash)
	}
	written, err := u.copy(f, to, contents)
	if err == nil && written != h.Size {
		err = refuse(name, "it has %d bytes, although the archive says %d", written, h.Size)
	}
	if err == nil && written >= largeFile {
		beginWriting(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	u.hash.Sum(e.sum[:0])
	return nil
}

// copy copies the contents of a file to both writers.
func (u *unpacking) copy(f *os.File, to io.Writer, contents io.Reader) (written int64, err error) {
	for {
		n, err := contents.Read(u.buffer)
		if n > 0 {
			_, _ = to.Write(u.buffer[:n]) // in memory
			if _, werr := f.Write(u.buffer[:n]); werr != nil {
				return written, fmt.Errorf("cannot unpack: %w", werr)
			}
			written += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return written, nil
		}
		if err != nil {
			return written, u.stream.explain(err)
		}
	}
}

// largeFile is the size from which a file is worth a write of its own; the kernel writes small ones
// together.
const largeFile = 256 << 10

// beginWriting has the kernel write a file to the disk beside the further work, so that less is left
// to wait for at its end. What goes wrong is found there, too.
func beginWriting(f *os.File) {
	_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
}

// unpackLink makes a symbolic link. Where it leads is checked when all files are known.
func (u *unpacking) unpackLink(name, target string) error {
	if err := checkTarget(name, target); err != nil {
		return err
	}
	if err := u.tree.add(name, &entry{kind: kindLink, target: target}); err != nil {
		return err
	}
	if err := u.makeParents(name); err != nil {
		return err
	}
	if err := u.root.Symlink(target, name); err != nil {
		return fmt.Errorf("cannot unpack: %w", err)
	}
	return nil
}

// unpackHardLink makes a second name for a file that was unpacked before.
func (u *unpacking) unpackHardLink(name, target string) error {
	of, err := cleanName(target)
	if err != nil {
		return refuse(name, "it is a hard link to %q, which is outside of the package", target)
	}
	file, known := u.tree.entries[of]
	if !known || file.kind != kindFile {
		return refuse(name, "it is a hard link to %q, which is not a file that precedes it", target)
	}
	if err := u.tree.add(name, &entry{kind: kindFile, sum: file.sum}); err != nil {
		return err
	}
	if name == SumsName || name == SignatureName {
		return refuse(name, "it is not a regular file")
	}
	if err := u.makeParents(name); err != nil {
		return err
	}
	if err := u.root.Link(of, name); err != nil {
		return fmt.Errorf("cannot unpack: %w", err)
	}
	return nil
}

// create creates a file and the directories that it is in. Nothing may be there.
func (u *unpacking) create(name string, mode fs.FileMode) (*os.File, error) {
	if err := u.makeParents(name); err != nil {
		return nil, err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return nil, fmt.Errorf("cannot unpack: %w", err)
	}
	if err := f.Chmod(mode); err != nil { // whatever the umask is
		return nil, errors.Join(fmt.Errorf("cannot unpack: %w", err), f.Close())
	}
	return f, nil
}

// makeParents makes the directories that a file is in.
func (u *unpacking) makeParents(name string) error {
	if dir := path.Dir(name); dir == "." || u.made[dir] {
		return nil
	}
	for _, dir := range parents(name) {
		if u.made[dir] {
			continue
		}
		err := u.root.Mkdir(dir, 0o755)
		if err == nil {
			err = u.root.Chmod(dir, 0o755)
		}
		if err != nil {
			return fmt.Errorf("cannot unpack: %w", err)
		}
		if u.made == nil {
			u.made = make(map[string]bool)
		}
		u.made[dir] = true
	}
	return nil
}

// compareWithSums returns the digest of what was unpacked, or refuses what is not as
// SHA256SUMS says.
func (u *unpacking) compareWithSums() (Digest, error) {
	found, err := u.tree.sums()
	if err != nil {
		return "", err
	}
	if _, there := u.tree.entries[SumsName]; !there {
		return "", refuse("", "the archive has no SHA256SUMS; `dormouse package build` makes one that has")
	}
	listed, err := parseSums(u.sums.Bytes())
	if err != nil {
		return "", err
	}
	if err := compareSums(listed, found); err != nil {
		return "", err
	}
	return DigestOf(u.sums.Bytes()), nil
}

// fileMode returns the mode of a file that had another in the archive: 0755 if any user could
// execute it, else 0644.
func fileMode(mode int64) fs.FileMode {
	if mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

// syncAll returns when all that was written is on the disk, the name of the directory too.
func syncAll(root *os.Root) error {
	top, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("cannot unpack: %w", err)
	}
	// One call for all files is several times as quick as one for each, and has returned
	// errors of the disk since Linux 5.8.
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Syncfs(int(top.Fd()))
	}
	if err != nil {
		err = fmt.Errorf("cannot unpack: the disk did not take the files: %w", err)
	}
	return errors.Join(err, top.Close())
}
