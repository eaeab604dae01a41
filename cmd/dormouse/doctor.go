package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/criu/obstacles"
	"dormouse/hibernate/pageout"
	"dormouse/internal/bytesize"
	"dormouse/internal/memory"
	"dormouse/internal/ownedtree"
	"dormouse/shell/process"
)

// finding is the outcome of one check of the machine.
type finding struct {
	Check string `json:"check"`
	OK    bool   `json:"ok"`
	Found string `json:"found"`
	// Means says what does not work if the check fails, and Mend how to repair that.
	Means string `json:"means,omitempty"`
	Mend  string `json:"mend,omitempty"`
}

// doctorVerb returns the action that checks whether this machine can hibernate plugins, and
// fails if it can't do so on disk, or if a host would start without some of its plugins.
func doctorVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	var o configs.Overrides
	path := flags.String("config", "", "the configuration `FILE` that names CRIU, "+configs.DefaultPath+" if not given")
	flags.StringVar(&o.Criu, "criu", "", "the `PATH` of CRIU's executable")
	return func(ctx context.Context, t *terminal, _ []string) error {
		config, err := configs.LoadWithoutBadDropIns(*path, os.Getenv, o)
		if err != nil {
			return fmt.Errorf("cannot look at this configuration:\n%w", err)
		}
		var found examination
		err = runAndClearAway(ctx, t, func(ctx context.Context) error {
			dir, err := os.MkdirTemp("", "dormouse-doctor-")
			if err != nil {
				return fmt.Errorf("cannot try anything: %w", err)
			}
			found = examineMachine(ctx, config.Hibernate.Criu, dir)
			return errors.Join(ownedtree.Remove(dir), ctx.Err())
		})
		if err != nil {
			return err
		}
		found.Findings = append(found.Findings, examineConfig(config))
		verdict := errReportedUnless(found.Checkpoint.Works && len(config.LeftOut) == 0)
		if format.isJSON() {
			return errors.Join(t.printIndentedJSON(found), verdict)
		}
		rows := table{}
		for _, f := range found.Findings {
			mark := "ok"
			if !f.OK {
				mark = "missing"
			}
			rows.addRow(f.Check, mark, joinLinesBySemicolon(f.Found))
			if !f.OK {
				rows.addRow("", "", "means: "+f.Means)
				rows.addRow("", "", "mend:  "+f.Mend)
			}
		}
		t.printf("%s\n%s", rows.alignedText(0), found.doctorVerdictLines())
		return verdict
	}
}

// examination holds the findings of all checks, and the ways of sleep that work.
type examination struct {
	sleepSupport
	Findings []finding `json:"findings"`
}

// examineMachine checks everything that hibernation needs, and tries a hibernation with the
// CRIU at criuPath in the directory trialDir.
func examineMachine(ctx context.Context, criuPath, trialDir string) examination {
	engine := criu.Open(criuPath, trialDir)
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, hibernationCheckTimeout)
	defer cancel()
	cgroups, limits := examineCgroups(trialDir)
	can := trySleepSupport(ctx, engine, cgroups.OK)
	trial := finding{
		Check: "dump and restore", OK: can.Checkpoint.Works, Found: "done in " + formatSeconds(time.Since(begun)),
		Means: "no plugin can be hibernated on disk",
		Mend:  "mend what is missing above; a CRIU that does not fit the kernel is replaced by `make setup`",
	}
	if !trial.OK {
		trial.Found = can.Checkpoint.Why
	}
	return examination{can, []finding{examineKernelVersion(), examineRootRights(), cgroups, limits, examinePressureReports(), examineCRIUPresence(engine), trial, examineOvercommit(), examineSwap(ctx)}}
}

// examineConfig checks whether a host would leave out files of the configuration.
func examineConfig(config configs.Config) finding {
	f := finding{
		Check: "configuration", OK: len(config.LeftOut) == 0, Found: "whole, " + pluginCountText(len(config.Plugins)),
		Means: "a host that starts now lacks the plugins of these files, and one that runs can't reload",
		Mend:  "mend the files, and reload",
	}
	var files []string
	for _, file := range config.LeftOut {
		files = append(files, file.String())
	}
	if !f.OK {
		f.Found = strings.Join(files, "; ")
	}
	return f
}

// pluginCountText returns a text that says how many plugins a configuration has.
func pluginCountText(n int) string {
	switch n {
	case 0:
		return "but it names no plugin"
	case 1:
		return "one plugin"
	}
	return fmt.Sprintf("%d plugins", n)
}

// examineKernelVersion checks whether the kernel is new enough to kill a cgroup at once.
func examineKernelVersion() finding {
	f := finding{
		Check: "kernel", Found: "unknown",
		Means: "a plugin's processes can't be ended all at once",
		Mend:  "run Linux 5.14 or newer",
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return f
	}
	f.Found = unix.ByteSliceToString(name.Sysname[:]) + " " + unix.ByteSliceToString(name.Release[:])
	var major, minor int
	_, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	f.OK = err == nil && (major > 5 || major == 5 && minor >= 14)
	return f
}

// examineRootRights checks whether this program runs as root.
func examineRootRights() finding {
	uid := os.Geteuid()
	return finding{
		Check: "root", OK: uid == 0, Found: fmt.Sprintf("user %d", uid),
		Means: "CRIU can't dump processes, and plugins share the host's PID namespace",
		Mend:  "run the host as root, as a service or with sudo",
	}
}

// examineCgroups makes a cgroup for a trial host in trialDir, and checks whether plugins
// can have cgroups, and whether limits can be set. It does so in the cgroup of this
// program, which may differ from the host's.
func examineCgroups(trialDir string) (cgroups, limits finding) {
	c, err := process.OpenAndClearCgroups(trialDir, false)
	limitsErr := err
	if err == nil {
		one := configs.Bytes(1)
		limitsErr = c.CheckLimits(configs.Limits{Memory: one, Swap: &one, Pids: 1, CPUWeight: 1})
		err = c.Close()
	}
	cgroups = finding{
		Check: "cgroup v2", Found: "can be used",
		Means: "plugins run without cgroups of their own, and can't be paged out",
		Mend:  "mount cgroup v2, and give the host's service Delegate=yes",
	}
	limits = finding{
		Check: "limits", Found: "can be enforced",
		Means: "an instance with limits does not start, unless it has open-files alone",
		Mend:  "give the host's service Delegate=yes, and boot without cgroup v1",
	}
	return cgroups.withCheckResult(err), limits.withCheckResult(limitsErr)
}

// examineSwap checks whether plugins can be paged out. The swap matters only for plugins
// that CRIU can't dump.
func examineSwap(ctx context.Context) finding {
	return finding{
		Check: "swap", Found: "can be used",
		Means: "plugins that can't be dumped can't be paged out instead",
		Mend:  "if that is wanted, make a swap in compressed memory with zramctl, mkswap and swapon",
	}.withCheckResult((pageout.Engine{}).Check(ctx))
}

// examinePressureReports checks whether the kernel reports memory pressure.
func examinePressureReports() finding {
	rules := configs.Default().Hibernate.Tiers
	return finding{
		Check: "memory pressure", Found: "the kernel tells of it",
		Means: "plugins sleep for want of memory only below memory-available",
		Mend:  "boot with psi=1, or set memory-available in [hibernate]",
	}.withCheckResult(memory.CheckPressureSupport(time.Duration(rules.PressureSome), time.Duration(rules.PressureWindow)))
}

// examineOvercommit checks whether the kernel gives CRIU what Go programs reserve: see the kind
// "overcommitted".
func examineOvercommit() finding {
	f := finding{
		Check: "reserved memory", Found: "CRIU gets as much as Go programs reserve",
		Means: "plugins in Go, which reserve more addresses than there is memory, can't be hibernated",
		Mend:  "set vm.overcommit_memory to 1, see sysctl.d(5), or add swap",
	}
	if largest := obstacles.LargestWritableMapping(); largest > 0 && largest < goReserves {
		return f.withCheckResult(fmt.Errorf("with vm.overcommit_memory = 0 the kernel gives CRIU %s at most", bytesize.Format(largest)))
	}
	return f.withCheckResult(nil)
}

// goReserves is the largest mapping of a Go program in bytes, which is mostly only reserved.
const goReserves = 512 << 20

// withCheckResult returns the finding with the outcome of its check: ok if err is nil,
// else the text of err.
func (f finding) withCheckResult(err error) finding {
	if f.OK = err == nil; !f.OK {
		f.Found = err.Error()
	}
	return f
}

// examineCRIUPresence checks whether there is an executable CRIU. It does not check
// whether that works.
func examineCRIUPresence(engine *criu.Engine) finding {
	f := finding{
		Check: "CRIU", OK: engine.Path() != "", Found: engine.Name() + " at " + engine.Path(),
		Means: "no plugin can be hibernated on disk",
		Mend:  "run `make setup`, install the package criu, or name one with --criu",
	}
	if !f.OK {
		f.Found = "none was found"
	}
	return f
}
