package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/internal/atomicfile"
	"dormouse/internal/ownedtree"
	"dormouse/internal/regularfile"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/trust"
)

// packageSignVerb returns the action that signs a package.
func packageSignVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	keyPath := flags.String("k", "", "the private key: a `FILE` that minisign -G has made")
	comment := flags.String("comment", "", "a `TEXT` that the signature vouches for, the time if not given")
	return func(ctx context.Context, t *terminal, args []string) error {
		if *keyPath == "" {
			return &usageError{err: errors.New("-k KEYFILE is missing: the private key, as `minisign -G` makes")}
		}
		if strings.ContainsAny(*comment, "\r\n") {
			return &usageError{err: errors.New("--comment must be one line")}
		}
		info, err := os.Stat(args[0])
		if err != nil {
			return fmt.Errorf("cannot sign: %w", err)
		}
		key, err := trust.ReadPrivateKey(*keyPath, func() (string, error) { return readPassword(t, "Password of "+*keyPath+": ") })
		if err != nil {
			return err
		}
		text := cmp.Or(*comment, fmt.Sprintf("timestamp:%d\tfile:%s\thashed", time.Now().Unix(), archive.SumsName))
		sign := signDirectory
		if !info.IsDir() {
			sign = signArchive
		}
		m, digest, err := sign(ctx, t, args[0], func(sums []byte) []byte { return key.Sign(sums, text) })
		if err != nil {
			return fmt.Errorf("cannot sign %s: %w", args[0], err)
		}
		if format.isJSON() {
			return t.printIndentedJSON(packageRecord{Name: m.Name, Version: m.Version, Digest: string(digest), File: args[0], Key: key.Public().ID()})
		}
		t.printf("%s  %s %s, signed by the key %s\n%s\n", args[0], m.Name, m.Version, key.Public().ID(), digest)
		t.printErrf("Hosts accept it with this public key:\n\n  [packages]\n  keys = [%q]\n\n", key.Public())
		return nil
	}
}

// signDirectory writes SHA256SUMS and its signature into a directory with the files of a
// package.
func signDirectory(ctx context.Context, _ *terminal, dir string, sign func(sums []byte) []byte) (manifest.Manifest, archive.Digest, error) {
	m, err := manifest.Read(dir)
	if err != nil {
		return m, "", err
	}
	sums, err := archive.Sums(ctx, dir)
	if err != nil {
		return m, "", err
	}
	if err := atomicfile.Write(filepath.Join(dir, archive.SumsName), sums, 0o644); err != nil {
		return m, "", err
	}
	return m, archive.DigestOf(sums), atomicfile.Write(filepath.Join(dir, archive.SignatureName), sign(sums), 0o644)
}

// signArchive replaces an archive by one with the same files and a signature.
func signArchive(ctx context.Context, t *terminal, file string, sign func(sums []byte) []byte) (manifest.Manifest, archive.Digest, error) {
	var m manifest.Manifest
	scratch, err := os.MkdirTemp(filepath.Dir(file), ".sign-*")
	if err != nil {
		return m, "", err
	}
	defer func() { _ = ownedtree.Remove(scratch) }()
	dir := filepath.Join(scratch, "package")
	form, err := unpackArchive(ctx, t, file, dir)
	if err != nil {
		return m, "", err
	}
	m, digest, err := signDirectory(ctx, t, dir, sign)
	if err != nil {
		return m, "", err
	}
	_, err = writeArchive(ctx, t, dir, file, form)
	return m, digest, err
}

// unpackArchive unpacks an archive into dir, and returns its form.
func unpackArchive(ctx context.Context, t *terminal, file, dir string) (archive.Form, error) {
	f, err := regularfile.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	limits := archive.LimitsFor(max(info.Size(), int64(configs.Default().Packages.MaxSize)))
	head, err := archive.Peek(ctx, f, limits, manifest.FileName)
	if err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	progress, hide := byteProgress(t, "reading "+filepath.Base(file))
	defer hide()
	_, err = archive.Unpack(ctx, f, dir, limits, func(read int64) { progress(read, info.Size()) })
	return head.Form, err
}

// readPassword returns a line of the standard input. On a terminal it asks for it, and does
// not show what is typed.
func readPassword(t *terminal, question string) (string, error) {
	in, isFile := t.in.(*os.File)
	if !isFile || !isTerminal(in) {
		return firstLine(t.in)
	}
	fd := int(in.Fd())
	shown, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return "", err
	}
	hidden := *shown
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETSF, &hidden); err != nil {
		return "", err
	}
	defer func() {
		_ = unix.IoctlSetTermios(fd, unix.TCSETSF, shown)
		t.printErrf("\n")
	}()
	t.printErrf("%s", question)
	return firstLine(in)
}

// firstLine returns the first line of a text, without its end.
func firstLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, 4096)).ReadBytes('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("cannot read the password: %w", err)
	}
	if len(line) == 0 {
		return "", fmt.Errorf("cannot read the password: %w; give it on the standard input", fs.ErrNotExist)
	}
	return string(bytes.TrimRight(line, "\r\n")), nil
}
