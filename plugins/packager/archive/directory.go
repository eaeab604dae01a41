package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/internal/ownedtree"
)

// Verify returns the digest of the package that is unpacked in dir, if its files are exactly
// those that its SHA256SUMS names, with these contents. It is a *RefusedError if they are not.
func Verify(ctx context.Context, dir string) (Digest, error) {
	d, err := openDirectory(ctx, dir)
	if err != nil {
		return "", err
	}
	defer d.close()
	sums, err := d.readSmall(SumsName, maxSumsSize)
	if errors.Is(err, fs.ErrNotExist) {
		return "", refuse("", "%s has no SHA256SUMS", dir)
	}
	if err != nil {
		return "", err
	}
	if err := d.compareWith(sums); err != nil {
		return "", err
	}
	return DigestOf(sums), nil
}

// Sums returns the SHA256SUMS of the files in dir: the one that is there if it is right, else
// a new one.
func Sums(ctx context.Context, dir string) ([]byte, error) {
	d, err := openDirectory(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.sums()
}

// directory is a directory with the files of a package.
type directory struct {
	ctx   context.Context
	root  *os.Root
	tree  tree
	modes map[string]fs.FileMode
	sizes map[string]int64
}

// openDirectory reads the names of the files, without what they hold. It must be closed.
func openDirectory(ctx context.Context, dir string) (*directory, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read the package: %w", err)
	}
	d := &directory{ctx: ctx, root: root, modes: make(map[string]fs.FileMode), sizes: make(map[string]int64)}
	if err := d.list("."); err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return d, nil
}

func (d *directory) close() { _ = d.root.Close() }

// list adds all that is in a directory to the tree, and what is below it.
func (d *directory) list(dir string) error {
	if err := context.Cause(d.ctx); err != nil {
		return err
	}
	f, err := d.root.Open(dir)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	entries, err := f.ReadDir(-1)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		if name == ownedtree.MarkName {
			continue
		}
		if err := d.addEntry(name); err != nil {
			return err
		}
	}
	return nil
}

// addEntry adds one file, link or directory to the tree.
func (d *directory) addEntry(name string) error {
	if _, err := cleanName(name); err != nil {
		return err
	}
	info, err := d.root.Lstat(name)
	if err != nil {
		return fmt.Errorf("cannot read the package: %w", err)
	}
	switch mode := info.Mode(); {
	case mode&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0:
		return refuse(name, "it is setuid, setgid or sticky")
	case mode.IsDir():
		if err := d.tree.add(name, &entry{kind: kindDir}); err != nil {
			return err
		}
		return d.list(name)
	case mode.IsRegular():
		d.modes[name], d.sizes[name] = fileMode(int64(mode.Perm())), info.Size()
		return d.tree.add(name, &entry{kind: kindFile})
	case mode&fs.ModeSymlink != 0:
		target, err := d.root.Readlink(name)
		if err != nil {
			return fmt.Errorf("cannot read the package: %w", err)
		}
		if err := checkTarget(name, target); err != nil {
			return err
		}
		return d.tree.add(name, &entry{kind: kindLink, target: target})
	default:
		return refuse(name, "it is neither a file nor a directory nor a link")
	}
}

// files returns the names of the files, sorted.
func (d *directory) files() (names []string) {
	for name, e := range d.tree.entries {
		if e.kind == kindFile {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// open opens a regular file of the directory.
func (d *directory) open(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot read the package: %w", err)
	}
	return f, nil
}

// readSmall returns the contents of a file, which is refused if it is larger than most bytes.
func (d *directory) readSmall(name string, most int64) ([]byte, error) {
	f, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the package: %w", err)
	}
	if int64(len(text)) > most {
		return nil, refuse(name, "it has more than %d bytes", most)
	}
	return text, nil
}

// hashFiles computes the SHA-256 of each file.
func (d *directory) hashFiles() error {
	buffer := make([]byte, 256<<10)
	for _, name := range d.files() {
		if err := context.Cause(d.ctx); err != nil {
			return err
		}
		f, err := d.open(name)
		if err != nil {
			return err
		}
		hash := sha256.New()
		_, err = io.CopyBuffer(hash, struct{ io.Reader }{f}, buffer)
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot read the package: %w", err)
		}
		hash.Sum(d.tree.entries[name].sum[:0])
	}
	return nil
}

// compareWith refuses files that differ from what SHA256SUMS says.
func (d *directory) compareWith(sums []byte) error {
	listed, err := parseSums(sums)
	if err != nil {
		return err
	}
	if err := d.hashFiles(); err != nil {
		return err
	}
	found, err := d.tree.sums()
	if err != nil {
		return err
	}
	return compareSums(listed, found)
}

// sums returns the SHA256SUMS of the directory if it is right, else a new one.
func (d *directory) sums() ([]byte, error) {
	if err := d.hashFiles(); err != nil {
		return nil, err
	}
	found, err := d.tree.sums()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, refuse("", "the directory has no files")
	}
	if _, there := d.tree.entries[SumsName]; there {
		text, err := d.readSmall(SumsName, maxSumsSize)
		if err != nil {
			return nil, err
		}
		if listed, err := parseSums(text); err == nil && compareSums(listed, found) == nil {
			return text, nil
		}
	}
	return formatSums(found), nil
}
