package main

import (
	"fmt"
	"os"
	"strings"

	"dormouse/shell"
	"dormouse/statecontrol"
)

// wantsBanner reports whether the host prints its banner: not under a service manager, and
// not with a log for programs.
func wantsBanner(logFormat string) bool {
	return logFormat != "json" && logFormat != "journal" && os.Getenv("NOTIFY_SOCKET") == ""
}

// bannerText returns a text for a person who started the host by hand: its address, the
// ways of sleep that are supported, the instances, and commands to try, which reach the host
// at the address toTry.
func (h *hostServer) bannerText(address, toTry string, supported sleepSupport) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nDormouse %s listens on %s; %s.\n\n", version, address, supported.summaryLine(h.host.Engine.Name(), os.Args[0]+" doctor"))
	rows := table{}
	for _, s := range h.host.PluginShells() {
		st := s.Status()
		pid := ""
		if st.Figures.PID != 0 {
			pid = fmt.Sprintf("pid %d", st.Figures.PID)
		}
		rows.addRow("  "+st.Config.Callsign, stateOrControlText(st), pid)
	}
	b.WriteString(rows.alignedText(0) + "\nTry in another terminal:\n\n")
	c := newClient(toTry)
	for _, line := range c.suggestedCommands(h.host.PluginShells(), supported.canHibernate()) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	return b.String() + "\n"
}

// stateOrControlText returns the state of an instance; for an active plugin with state
// control, it is suspended or resumed.
func stateOrControlText(st shell.Status) string {
	if st.State == shell.Activated && st.Control != "" {
		return string(st.Control)
	}
	return string(st.State)
}

// suggestedCommands returns command lines for the user to try, which work in the present
// state of the plugins. Without canHibernate none of them hibernates.
func (c *client) suggestedCommands(plugins []*shell.Shell, canHibernate bool) []string {
	lines := []string{c.commandLineForSameHost("plugin list")}
	for _, s := range plugins {
		st := s.Status()
		name := st.Config.Callsign
		if st.State == shell.Activated && st.Information.Class == "counter" {
			lines[0] = c.commandLineForSameHost("call " + name + `.increment '{"by":1}'`)
		}
		if st.State != shell.Activated || st.Control == "" || !canHibernate {
			continue
		}
		hibernate := c.commandLineForSameHost("plugin hibernate " + name)
		if st.Control == statecontrol.Resumed {
			hibernate = c.commandLineForSameHost("plugin suspend "+name) + " && " + hibernate
		}
		return append(lines, hibernate, c.commandLineForSameHost("plugin activate "+name))
	}
	return append(lines, c.commandLineForSameHost("plugin list -o json"), c.commandLineForSameHost("events"))
}
