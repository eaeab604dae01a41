package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"dormouse/internal/atomicfile"
	"dormouse/internal/bytesize"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
)

// archiveEndings are the ends of the names of archives, and the forms they stand for.
var archiveEndings = map[string]archive.Form{".tar.zst": archive.TarZstd, ".tzst": archive.TarZstd, ".tar.gz": archive.TarGzip, ".tgz": archive.TarGzip}

// formOf returns the form that the name of an archive stands for, and false if it stands for
// none.
func formOf(path string) (archive.Form, bool) {
	for ending, form := range archiveEndings {
		if strings.HasSuffix(path, ending) {
			return form, true
		}
	}
	return "", false
}

// buildOutput is the value of -o of package build: the format of the result, as elsewhere, or
// the archive to write.
type buildOutput struct {
	format outputFormat
	file   string
}

func (o *buildOutput) String() string { return "" }

// Set implements flag.Value.
func (o *buildOutput) Set(text string) error {
	if _, isArchive := formOf(text); isArchive {
		o.file = text
		return nil
	}
	if o.format.Set(text) != nil {
		return errors.New("it must be a file that ends in .tar.zst or .tar.gz, or table or json for the format of the result")
	}
	return nil
}

// packageRecord is a package that was built or signed, as -o json prints it.
type packageRecord struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
	File    string `json:"file"`
	Size    int64  `json:"size,omitempty"`
	Key     string `json:"key,omitempty"` // that has signed
}

// packageBuildVerb returns the action that makes an archive of a directory.
func packageBuildVerb(flags *flag.FlagSet) action {
	output := buildOutput{format: "table"}
	flags.Var(&output, "o", "write the archive to `FILE`, which ends in .tar.zst or .tar.gz; NAME-VERSION.tar.zst if not given. "+
		"Or write the result as table or json")
	return func(ctx context.Context, t *terminal, args []string) error {
		m, err := manifest.Read(args[0])
		if err != nil {
			return cannotBuildError(args[0], err)
		}
		file := cmp.Or(output.file, m.Name+"-"+m.Version+".tar.zst")
		digest, err := buildArchive(ctx, t, args[0], file)
		if err != nil {
			return cannotBuildError(args[0], err)
		}
		if _, err := m.Plugins(args[0], nil); err != nil && !errors.Is(err, manifest.ErrPlatform) {
			t.printErrf("Until an operator sets what is missing, it can't be installed:\n%v\n", err)
		}
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if output.format.isJSON() {
			return t.printIndentedJSON(packageRecord{Name: m.Name, Version: m.Version, Digest: string(digest), File: file, Size: info.Size()})
		}
		t.printf("%s  %s\n%s\n", file, bytesize.Format(info.Size()), digest)
		return nil
	}
}

// cannotBuildError says that no package can be made of dir, and why.
func cannotBuildError(dir string, err error) error {
	return fmt.Errorf("cannot make a package of %s: %w", dir, err)
}

// buildArchive writes the archive of a directory to a file, whole or not at all.
func buildArchive(ctx context.Context, t *terminal, dir, file string) (_ archive.Digest, err error) {
	form, _ := formOf(file)
	return writeArchive(ctx, t, dir, file, form)
}

// writeArchive is buildArchive for a form that the name of the file need not stand for.
func writeArchive(ctx context.Context, t *terminal, dir, file string, form archive.Form) (_ archive.Digest, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	progress, hide := byteProgress(t, "writing "+filepath.Base(file))
	digest, err := archive.Build(ctx, dir, f, form, manifest.FileName, progress)
	hide()
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(f.Name(), file); err != nil {
		return "", err
	}
	return digest, atomicfile.SyncDir(filepath.Dir(file))
}

// byteProgress returns a function that shows on a terminal how many bytes of all are done, at
// each further percent, and one that removes that line.
func byteProgress(t *terminal, what string) (progress func(done, total int64), hide func()) {
	if !t.errIsTerminal {
		return func(int64, int64) {}, func() {}
	}
	shown := int64(-1)
	progress = func(done, total int64) {
		if percent := 100 * done / max(1, total); percent != shown {
			shown = percent
			t.printErrf(clearLine+"%s  %d of %d MiB", what, done>>20, total>>20)
		}
	}
	return progress, func() { t.printErrf(clearLine) }
}
