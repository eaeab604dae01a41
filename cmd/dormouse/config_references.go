package main

import (
	"bufio"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/hibernate/pack"
	"dormouse/internal/regularfile"
	"dormouse/internal/tamper"
	"dormouse/plugins/packager/trust"
)

// brokenReferences returns a problem for each reference of a configuration to something that
// does not exist on this machine, or can't be used, and for each program that root must not
// run according to the guard.
func brokenReferences(references []configs.Reference, guard tamper.Guard) (problems configs.LoadErrors) {
	for _, r := range references {
		err := checkReference(r)
		if path, lerr := exec.LookPath(r.Name); err == nil && r.Kind == configs.ReferenceProgram && lerr == nil && os.Geteuid() == 0 {
			err = guard.CheckProgram(path)
		}
		if err != nil {
			problems = append(problems, configs.LoadError{Source: r.Source, Line: r.Line, Err: fmt.Errorf("key %q: %w", r.Key, err)})
		}
	}
	return problems
}

// unusableKeys returns a problem for each certificate and key that exists and can't be used: a
// host would not start with it, or clients would not trust it.
func unusableKeys(config configs.Config, references []configs.Reference) (problems configs.LoadErrors) {
	report := func(key, name string, err error) {
		i := slices.IndexFunc(references, func(r configs.Reference) bool { return r.Key == key && r.Name == name })
		if err != nil && i >= 0 {
			problems = append(problems, configs.LoadError{Source: references[i].Source, Line: references[i].Line, Err: err})
		}
	}
	for _, files := range allTLS(config) {
		if files.IsOn() {
			read, err := readTLSFiles(files, alpnHTTP1)
			if err == nil {
				err = checkValidNow(read.current.Load().Certificates[0].Leaf)
			}
			report("tls-certificate", files.Certificate, err)
		}
	}
	for _, key := range config.Packages.Keys {
		_, err := trust.ReadKeys([]string{key})
		report("keys", key, err)
	}
	if path := config.Hibernate.KeyFile; path != "" {
		_, err := pack.ReadKey(path)
		report("key-file", path, err)
	}
	return problems
}

// allTLS returns the files for TLS of all listeners.
func allTLS(config configs.Config) []configs.TLS {
	all := []configs.TLS{config.Host.TLS}
	for _, l := range config.Listeners {
		all = append(all, l.TLS)
	}
	return all
}

// checkValidNow returns an error if the time of the certificate is over, or not come yet.
func checkValidNow(c *x509.Certificate) error {
	switch now := time.Now(); {
	case now.After(c.NotAfter):
		return fmt.Errorf("the certificate has expired on %s", c.NotAfter.Format(time.DateOnly))
	case now.Before(c.NotBefore):
		return fmt.Errorf("the certificate is not valid before %s", c.NotBefore.Format(time.DateOnly))
	}
	return nil
}

// checkReference returns an error if what a configuration refers to does not exist, or can't
// be used.
func checkReference(r configs.Reference) error {
	switch r.Kind {
	case configs.ReferenceProgram:
		return checkProgram(r.Name)
	case configs.ReferenceFile:
		return checkFile(r.Name)
	case configs.ReferenceDir:
		return checkDir(r.Name)
	case configs.ReferenceUser:
		return checkAccount("user", r.Name, func(name string) error {
			_, err := user.Lookup(name)
			return err
		})
	case configs.ReferenceGroup:
		return checkAccount("group", r.Name, func(name string) error {
			_, err := user.LookupGroup(name)
			return err
		})
	}
	return nil
}

// checkProgram returns an error if there is no such program, it may not be executed, or it is
// a script whose interpreter is missing.
func checkProgram(name string) error {
	path, err := exec.LookPath(name)
	if err != nil && !strings.Contains(name, "/") {
		return fmt.Errorf("there is no program %q in PATH, which is %q here", name, os.Getenv("PATH"))
	}
	if err != nil {
		return cannotUseError(name, err)
	}
	file, err := regularfile.Open(path)
	if err != nil {
		return nil // a program that may be executed need not be readable
	}
	defer file.Close()
	line, _ := bufio.NewReader(file).ReadString('\n')
	if interpreter, isScript := strings.CutPrefix(line, "#!"); isScript {
		if words := strings.Fields(interpreter); len(words) > 0 {
			if _, err := os.Stat(words[0]); err != nil {
				return fmt.Errorf("the interpreter of %s is missing: %w", path, cannotUseError(words[0], err))
			}
		}
	}
	return nil
}

// checkFile returns an error if there is no such regular file, or this user may not read it.
func checkFile(path string) error {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		var file *os.File
		if file, err = regularfile.Open(path); err == nil {
			return file.Close()
		}
	}
	return cannotUseError(path, err)
}

// checkDir returns an error if there is no such directory.
func checkDir(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return cannotUseError(path, err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", path)
	}
	return nil
}

// checkAccount returns an error if look does not find the user or group of that name. A number
// needs no name.
func checkAccount(kind, name string, look func(name string) error) error {
	if _, err := strconv.ParseUint(name, 10, 32); err == nil {
		return nil
	}
	if look(name) != nil {
		return fmt.Errorf("there is no %s %q on this machine", kind, name)
	}
	return nil
}

// cannotUseError says that path can't be used because of err, without naming path twice.
func cannotUseError(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no %s", path)
	}
	return fmt.Errorf("cannot use %s: %w", path, innermostError(err))
}
