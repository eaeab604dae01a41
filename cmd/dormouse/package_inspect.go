package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/trust"
)

// packageInspectVerb returns the action that shows what a package is, and what this machine
// would have against it.
func packageInspectVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	path := flags.String("config", "", "the configuration `FILE` whose [packages] counts, "+configs.DefaultPath+" if not given")
	return func(ctx context.Context, t *terminal, args []string) error {
		config, err := configs.Load(*path, os.Getenv, configs.Overrides{})
		if err != nil && *path != "" {
			return err
		}
		if err != nil {
			t.printErrf("The defaults count, since the configuration of this machine can't be read:\n%v\n", err)
			config = configs.Default()
		}
		r, err := inspect(ctx, t, args[0], config)
		if err != nil {
			return fmt.Errorf("cannot inspect %s: %w", args[0], err)
		}
		if format.isJSON() {
			return t.printIndentedJSON(r)
		}
		t.printf("%s", r.text(t.width))
		return nil
	}
}

// inspection is a package as -o json prints it.
type inspection struct {
	Name        string            `json:"name"`
	Version     string            `json:"version"`
	Description string            `json:"description,omitempty"`
	Digest      string            `json:"digest"`
	Signature   string            `json:"signature"` // in words
	Key         string            `json:"key,omitempty"`
	Comment     string            `json:"comment,omitempty"`
	Provides    []string          `json:"provides,omitempty"`
	Uses        []string          `json:"uses,omitempty"`
	Programs    map[string]string `json:"programs,omitempty"`
	Instances   []string          `json:"instances,omitempty"`
	Flows       []string          `json:"flows,omitempty"`
	Data        int               `json:"data"`
	Limits      string            `json:"limits"`
	Environment []string          `json:"environment,omitempty"`
	Subsystems  []string          `json:"subsystems,omitempty"`
	Objections  []string          `json:"objections,omitempty"` // of this machine
}

// inspect reads a package, an archive or a directory, and checks all of it.
func inspect(ctx context.Context, t *terminal, path string, config configs.Config) (inspection, error) {
	info, err := os.Stat(path)
	if err != nil {
		return inspection{}, err
	}
	dir := path
	if !info.IsDir() {
		scratch, err := os.MkdirTemp("", "dormouse-inspect-")
		if err != nil {
			return inspection{}, err
		}
		defer func() { _ = ownedtree.Remove(scratch) }()
		dir = filepath.Join(scratch, "package")
		if _, err := unpackArchive(ctx, t, path, dir); err != nil {
			return inspection{}, err
		}
	}
	m, err := manifest.Read(dir)
	if err != nil {
		return inspection{}, err
	}
	head, err := archive.PeekDirectory(ctx, dir, manifest.FileName)
	if err != nil {
		return inspection{}, err
	}
	r := inspectionOf(m)
	r.Digest = string(head.Digest())
	r.judge(m, head, dir, config)
	if _, err := os.Stat(filepath.Join(dir, archive.SumsName)); err == nil {
		if _, err := archive.Verify(ctx, dir); err != nil {
			r.Objections = append(r.Objections, fmt.Sprintf("it is not as its SHA256SUMS says, until it is built or signed again: %v", err))
		}
	}
	return r, nil
}

// inspectionOf returns what the manifest says.
func inspectionOf(m manifest.Manifest) inspection {
	r := inspection{
		Name: m.Name, Version: m.Version, Description: m.Description, Programs: m.Programs, Instances: m.Callsigns(), Data: m.Data,
		Limits: limitsText(m.Privileges.Limits), Environment: m.Privileges.Environment, Subsystems: m.Privileges.Subsystems,
	}
	for _, p := range m.Provides {
		r.Provides = append(r.Provides, p.String())
	}
	for _, u := range m.Uses {
		r.Uses = append(r.Uses, u.String())
	}
	for _, t := range m.Profile.Provides[len(m.Provides):] {
		r.Provides = append(r.Provides, strings.TrimSpace(t.Name+" "+t.Version))
	}
	for _, u := range m.Profile.Uses {
		r.Uses = append(r.Uses, u.String())
	}
	for _, f := range m.Flows {
		r.Flows = append(r.Flows, flowText(f))
	}
	return r
}

// judge notes the package's signature, and what this machine would have against it.
func (r *inspection) judge(m manifest.Manifest, head archive.Head, dir string, config configs.Config) {
	keys, err := trust.ReadKeys(config.Packages.Keys)
	object := func(err error) {
		if err != nil {
			r.Objections = append(r.Objections, strings.Split(err.Error(), "\n")...)
		}
	}
	object(err)
	r.Signature = "good, by one of this machine's keys"
	if _, err := trust.Verify(head.Sums, head.Signature, keys); err != nil {
		r.Signature = err.Error()
	}
	if len(head.Signature) > 0 {
		r.Key, r.Comment, _ = trust.SignerOf(head.Signature) // the text above says what is wrong
	}
	_, err = trust.Admit(head.Sums, head.Signature, keys, config.Packages.Unsigned, true)
	object(err)
	object(m.CheckFor(manifest.Platform(), config.Packages.Caps, config.Host.AllSubsystems()))
	if _, err := m.Plugins(dir, config.Overlays); err != nil && !errors.Is(err, manifest.ErrPlatform) { // told already
		object(errors.New(strings.ReplaceAll(err.Error(), dir+"/", "")))
	}
}

// limitsText says what instances may take at most.
func limitsText(l configs.Limits) string {
	swap := "any swap"
	if l.Swap != nil {
		swap = fmt.Sprintf("%s swap", *l.Swap)
	}
	text := func(n int64, number, what string) string {
		if n == 0 {
			return "any " + what
		}
		return number + " " + what
	}
	return strings.Join([]string{
		text(int64(l.Memory), l.Memory.String(), "memory"), swap,
		text(int64(l.Pids), fmt.Sprint(l.Pids), "threads"), text(int64(l.OpenFiles), fmt.Sprint(l.OpenFiles), "open files"),
	}, ", ")
}

// flowText describes a flow in one line.
func flowText(f configs.Flow) string {
	text := fmt.Sprintf("%s (%s of %s)", f.Name, f.Kind, f.Receiver())
	if len(f.Takes) > 0 {
		text += " takes " + strings.Join(f.Takes, ", ")
	}
	if len(f.Gives) > 0 {
		text += " gives " + strings.Join(f.Gives, ", ")
	}
	return text
}

// text returns the inspection as a table.
func (r *inspection) text(width int) string {
	rows := table{}
	rows.addRow("package", r.Name+" "+r.Version)
	rows.addTextRows("", r.Description)
	rows.addRow("digest", r.Digest)
	rows.addRow("signature", r.Signature)
	if r.Key != "" {
		rows.addRow("", fmt.Sprintf("key %s, %q", r.Key, r.Comment))
	}
	var programs []string
	for _, platform := range slices.Sorted(maps.Keys(r.Programs)) {
		programs = append(programs, platform+"  "+r.Programs[platform])
	}
	for _, list := range []struct {
		name  string
		lines []string
	}{
		{"provides", r.Provides}, {"uses", r.Uses}, {"programs", programs}, {"instances", r.Instances}, {"flows", r.Flows},
		{"limits", []string{r.Limits}}, {"variables", r.Environment}, {"controls", r.Subsystems},
	} {
		rows.addTextRows(list.name, strings.Join(list.lines, "\n"))
	}
	rows.addRow("data", fmt.Sprintf("format %d", r.Data))
	if len(r.Objections) == 0 {
		rows.addRow("here", "nothing is against installing it from this machine")
	}
	rows.addTextRows("refused", strings.Join(r.Objections, "\n"))
	return rows.alignedText(width)
}
