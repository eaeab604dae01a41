package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
)

// verb is one command of the program. The help texts are made from the verbs.
type verb struct {
	name string
	// args names the arguments, as the usage text shows them: an argument in brackets may
	// be left out, one with dots may be repeated. checkArgumentCount enforces this.
	args    string
	summary string
	doc     string
	example string
	// prepare declares the flags and returns the action that uses them.
	prepare func(*flag.FlagSet) action
}

// action carries out a verb, given its positional arguments.
type action func(ctx context.Context, t *terminal, args []string) error

// verbs returns all verbs, in the order of the help text.
func verbs() []verb {
	return slices.Concat(hostAndPluginVerbs(), packageVerbs(), flowVerbs(), taskVerbs(), stateVerbs(), webhookVerbs(), otherVerbs())
}

// hostAndPluginVerbs returns the verbs that run the host and change instances.
func hostAndPluginVerbs() []verb {
	return []verb{
		{
			name: "serve", summary: "run the host",
			doc: "Runs the host until it gets SIGTERM or Ctrl-C, then ends every plugin in order.\n" +
				"Flags are stronger than DORMOUSE_* variables, which are stronger than the file.",
			example: "dormouse serve --config configs/sample.toml --root .run",
			prepare: serveVerb,
		},
		{
			name: "plugin list", summary: "every instance and where it stands",
			example: "dormouse plugin list",
			prepare: listVerb,
		},
		{
			name: "plugin show", args: "NAME", summary: "all that is known of one instance, with its history",
			example: "dormouse plugin show Counter",
			prepare: showVerb,
		},
		{
			name: "plugin activate", args: "NAME...", summary: "start a plugin, or wake a hibernated one",
			doc: "A hibernated plugin that can't be woken now stays hibernated, and the host tries again by itself.\n" +
				"With --cold it is started anew instead, and what it slept in is given up for ever.",
			example: "dormouse plugin activate Counter",
			prepare: operationVerb(activating),
		},
		{
			name: "plugin deactivate", args: "NAME...", summary: "end a plugin",
			doc: "A hibernated plugin is woken first, so that it can store what it wants to keep. If that can't be\n" +
				"now it stays hibernated; with --cold it is ended without that.",
			example: "dormouse plugin deactivate Counter",
			prepare: operationVerb(deactivating),
		},
		{
			name: "plugin restart", args: "NAME...", summary: "end a plugin and start it anew",
			doc: "Calls wait meanwhile, whatever on-call says, and plugins that require it stay active. One that does\n" +
				"not run is started; a hibernated one is woken first, so that it can store what it wants to keep.\n" +
				"The name of a package stands for its instances.",
			example: "dormouse plugin restart Counter",
			prepare: operationVerb(restarting),
		},
		{
			name: "plugin suspend", args: "NAME...", summary: "ask a plugin to pause its work",
			doc:     "Only a suspended plugin can be hibernated.",
			example: "dormouse plugin suspend Counter",
			prepare: operationVerb(suspending),
		},
		{
			name: "plugin resume", args: "[NAME...]", summary: "ask a plugin to go on; starts or wakes it if it must",
			doc:     "With --all it resumes every plugin that is suspended or hibernated, a few at the same time.",
			example: "dormouse plugin resume Counter",
			prepare: operationVerb(resuming),
		},
		{
			name: "plugin wake", args: "[NAME...]", summary: "wake a hibernated plugin; starts none",
			doc: "With --all it wakes every plugin that sleeps, a few at the same time, goes on when one fails, and\n" +
				"lists the failures at the end: as before an update of what the plugins run from. With --for the\n" +
				"host does not put them back to sleep by itself meanwhile.",
			example: "dormouse plugin wake --all --for 1h",
			prepare: operationVerb(waking),
		},
		{
			name: "plugin explain", args: "NAME", summary: "why a plugin is awake or asleep, and what comes next",
			doc: "Says what keeps the plugin awake, when the host will put it to sleep by itself, what that would\n" +
				"save, and what would stop it. It wakes nothing.",
			example: "dormouse plugin explain Counter",
			prepare: explainVerb,
		},
		{
			name: "plugin hibernate", args: "[NAME...]", summary: "put a suspended plugin to sleep on disk",
			doc: "The plugin's processes are written to disk and ended, which frees their memory.\n" +
				"`dormouse plugin activate NAME` brings them back as they were. With --all every plugin that is\n" +
				"suspended is put to sleep, a few at the same time; a resumed one is at work and stays awake.",
			example: "dormouse plugin suspend Counter && dormouse plugin hibernate Counter",
			prepare: operationVerb(hibernating),
		},
		{
			name: "plugin acknowledge", args: "NAME...", summary: "say that you know what a plugin has lost",
			doc: "When what a plugin slept in had to be given up, the host says so in list, show, events and metrics,\n" +
				"and at each activation, until this is called. What is kept of it stays: `dormouse images list`.",
			example: "dormouse plugin acknowledge Counter",
			prepare: acknowledgeVerb,
		},
		{
			name: "plugin unavailable", args: "NAME...", summary: "bar a deactivated plugin from being started",
			doc:     "`dormouse plugin deactivate NAME` lifts the bar.",
			example: "dormouse plugin unavailable Counter",
			prepare: operationVerb(makingUnavailable),
		},
		{
			name: "plugin clone", args: "NAME NEW", summary: "make another instance of a plugin",
			doc: "It has the configuration of the first, also when that changes, except for what is set on it\n" +
				"itself, and is there after a restart of the host too.",
			example: "dormouse plugin clone Counter Counter2",
			prepare: cloneVerb,
		},
		{
			name: "plugin destroy", args: "NAME...", summary: "end a clone for good, with all that is kept of it",
			example: "dormouse plugin destroy Counter2",
			prepare: destroyVerb,
		},
		{
			name: "plugin configure", args: "NAME [CONFIGURATION]", summary: "show or replace a plugin's own configuration",
			doc: "CONFIGURATION is a JSON object, @FILE or - and holds for the next activation; the\n" +
				"plugin must not be active. Without --keep it is forgotten when the host ends.",
			example: `dormouse plugin configure Counter '{"start":100}' --keep`,
			prepare: configureVerb,
		},
		{
			name: "plugin verify", args: "PROGRAM [ARGUMENT...]", summary: "take a program through a plugin's whole life",
			doc: "Runs the program in a host of its own, which touches nothing else: starts it, calls it, puts it\n" +
				"to sleep and wakes it, ends it, and looks for what it left. Each step that fails says what its\n" +
				"author must do. Exits with 0 if none did and with 1 otherwise. Arguments of the program that\n" +
				"begin with a dash come after --.",
			example: `dormouse plugin verify --method get --config '{"start":1}' bin/plugins/counter`,
			prepare: verifyVerb,
		},
	}
}

// otherVerbs returns the verbs about images, calls, tokens and the machine.
func otherVerbs() []verb {
	return []verb{
		{
			name: "images list", summary: "what is stored of sleeping plugins, and what can still be woken",
			doc: "Lists the image of each plugin that sleeps on disk (image), golden images, and those that are kept\n" +
				"for a while: images that could not be trusted (refused), and ones that did not fit the machine any\n" +
				"more (aside), which `dormouse images restore` puts back. USABLE says why nothing can be woken from\n" +
				"an image. The host need not run.",
			example: "dormouse images list",
			prepare: imagesListVerb,
		},
		{
			name: "images check", args: "[FILE...]", summary: "which sleeping plugins an update has made unwakeable, or would make",
			doc: "A plugin wakes only with the files, the CRIU and the kernel that it went to sleep with. Without FILE\n" +
				"this lists the plugins that can't be woken any more. With --against it lists those that can, but could\n" +
				"not if each FILE were replaced or removed: PATH; PATH=NEWFILE to compare the contents; or - to read\n" +
				"such lines from standard input. A kernel among them counts as booted. Exits with 0 if nothing is listed\n" +
				"and with 1 otherwise, for use in hooks of package managers. The host need not run.",
			example: "dormouse images check --against /usr/lib/x86_64-linux-gnu/libssl.so.3 || dormouse plugin wake --all",
			prepare: imagesCheckVerb,
		},
		{
			name: "images restore", args: "NAME", summary: "let a plugin sleep again in an image that was put aside",
			doc: "An image that did not fit this machine any more, after an update of its program, a library, CRIU\n" +
				"or the kernel, is put aside for seven days. Once the machine is again what it was, this puts the\n" +
				"image back. The plugin must be deactivated, and the host must run; it refuses an image that was\n" +
				"used, can't be trusted, or still does not fit. `dormouse plugin wake NAME` then wakes the plugin.",
			example: "dormouse plugin deactivate Counter && dormouse images restore Counter",
			prepare: imagesRestoreVerb,
		},
		{
			name: "store check", summary: "whether the host's store is damaged, and how much is in it",
			doc: "Reads all of the store: the file in the root in which the host keeps clones, changed configurations,\n" +
				"packages, messages and other records. Prints the rows of each table. Exits with 0 if nothing is damaged\n" +
				"and with 1 otherwise. Nothing is changed, and the host may run or not.",
			example: "dormouse store check",
			prepare: storeCheckVerb,
		},
		{
			name: "store backup", args: "FILE", summary: "copy the host's store to a new file",
			doc: "The copy holds what the store holds at this moment, whole, though the host runs and goes on writing;\n" +
				"cp would not give that. To go back to it, end the host, move store.db, store.db-wal and store.db-shm\n" +
				"out of the root, and put the copy there as store.db.",
			example: "dormouse store backup /var/backups/dormouse-$(date +%F).db",
			prepare: storeBackupVerb,
		},
		{
			name: "call", args: "CALLSIGN.METHOD [PARAMS]", summary: "call a method of a plugin, or of the Controller",
			doc:     "PARAMS is JSON, @FILE to read it from a file, or - to read it from standard input.",
			example: `dormouse call Counter.increment '{"by":1}'`,
			prepare: callVerb,
		},
		{
			name: "events", args: "[CALLSIGN[.EVENT]...]", summary: "follow what happens until Ctrl-C",
			doc:     "Shows every event, or only those of the callsigns and events named.",
			example: "dormouse events Counter.changed",
			prepare: eventsVerb,
		},
		{
			name: "subsystems", summary: "the conditions of the platform that plugins wait for",
			example: "dormouse subsystems",
			prepare: subsystemsVerb,
		},
		{
			name: "reload", summary: "have the host read its configuration again",
			doc: "Only what differs is changed: new instances are made, missing ones ended, changed\n" +
				"ones restarted. With an error in the configuration nothing is.",
			example: "dormouse reload",
			prepare: reloadVerb,
		},
		{
			name: "package build", args: "DIR", summary: "make a package of a directory with a plugin.toml",
			doc: "Writes an archive of all files in DIR, with a SHA256SUMS that names them. The same files make the same\n" +
				"bytes, on each machine. plugin.toml says what the package is:\n\n" +
				"  name = \"counter\"\n  version = \"1.0.0\"\n\n  [program]\n  linux-amd64 = \"bin/counter\"\n\n" +
				"  [[instance]]\n  callsign = \"Counter\"\n  start-mode = \"activated\"\n\n" +
				"docs/packages.md has all keys. `sha256sum -c SHA256SUMS` checks the files of an unpacked archive.",
			example: "dormouse package build counter -o counter-1.0.0.tar.zst",
			prepare: packageBuildVerb,
		},
		{
			name: "package inspect", args: "FILE|DIR", summary: "what a package is, and what this machine has against it",
			doc: "Reads all of an archive, or of a directory with the files of a package, as an install would: its files,\n" +
				"signature, plugin.toml, what its instances ask for. Nothing is run or installed, no host need run.",
			example: "dormouse package inspect counter-1.0.0.tar.zst",
			prepare: packageInspectVerb,
		},
		{
			name: "package sign", args: "FILE|DIR", summary: "sign a package with a key of minisign",
			doc: "Adds SHA256SUMS.minisig to an archive, or to a directory of which one is to be built. `minisign -G` makes\n" +
				"a key; its password is asked for, or read from the standard input. The digest stays as it was.\n" +
				"`minisign -V -p minisign.pub -m SHA256SUMS` checks the signature in an unpacked archive.",
			example: "dormouse package sign counter-1.0.0.tar.zst -k ~/.minisign/minisign.key",
			prepare: packageSignVerb,
		},
		{
			name: "package push", args: "FILE REFERENCE", summary: "write a package into an OCI registry",
			doc: "REFERENCE is oci://HOST/REPOSITORY[:TAG]; the tag is the version if it is left out. With --catalogue it is\n" +
				"a catalogue, in which `package browse` then shows the package. Logins come from docker's config.json,\n" +
				"or with --user from the standard input. Prints the reference with its digest. No host need run.",
			example: "dormouse package push counter-1.0.0.tar.zst oci://registry.example/plugins --catalogue",
			prepare: packagePushVerb,
		},
		{
			name: "package want", args: "REFERENCE CENTRAL", summary: "wish that many machines have a package",
			doc: "Every host whose configuration names the repository CENTRAL installs what REFERENCE is now, or changes\n" +
				"to it, up or down. An earlier wish for the same package is replaced. `package wishes` on a machine\n" +
				"shows what became of it.",
			example: "dormouse package want oci://registry.example/plugins/counter:1.0.0 oci://registry.example/wishes",
			prepare: packageWantVerb,
		},
		{
			name: "package wishes", summary: "what the central repository wishes, and what became of it",
			example: "dormouse package wishes --again",
			prepare: packageWishesVerb,
		},
		{
			name: "token add", args: "NAME", summary: "make a token by which a client is known, and print it once",
			doc: "The client sends it as \"Authorization: Bearer TOKEN\", or a websocket as ?token=TOKEN. Rows\n" +
				"[[access]] of the configuration say what it may do. The host need not run.",
			example: "dormouse token add phone > phone.token",
			prepare: tokenAddVerb,
		},
		{
			name: "token list", summary: "the names of the tokens, and since when there are",
			example: "dormouse token list",
			prepare: tokenListVerb,
		},
		{
			name: "token revoke", args: "NAME...", summary: "make tokens invalid, and end the connections that use them",
			example: "dormouse token revoke phone",
			prepare: tokenRevokeVerb,
		},
		{
			name: "config check", summary: "say what is wrong with a configuration",
			doc:     "Prints every problem with its file and line, and exits with 1 if there is one. Programs, files, directories, users and groups that the configuration names must exist.",
			example: "dormouse config check --config configs/sample.toml",
			prepare: configCheckVerb,
		},
		{
			name: "config show", summary: "the configuration that counts, with all defaults",
			doc: "Prints what files, DORMOUSE_* variables and defaults come to, as a file that a host could read. With\n" +
				"--origin each value has behind it where it was set.",
			example: "dormouse config show --origin",
			prepare: configShowVerb,
		},
		{
			name: "doctor", summary: "check whether this machine can hibernate plugins",
			doc: "Dumps and restores a process of its own, since nothing less proves that it works.\n" +
				"Exits with 0 if plugins can sleep on disk, and with 1 if they can't or only in the swap.",
			example: "dormouse doctor",
			prepare: doctorVerb,
		},
		{name: "version", summary: "the version of this program", example: "dormouse version", prepare: versionVerb},
		{name: "help", args: "[VERB...]", summary: "this list, or how a verb is used", example: "dormouse help plugin hibernate", prepare: helpVerb},
	}
}

// runVerb carries out the verb that args begin with, or prints the help that they ask for.
// An error about the command line is a *usageError.
func runVerb(ctx context.Context, t *terminal, args []string) error {
	if len(args) == 0 {
		t.printErrf("%s", verbOverview(""))
		return &usageError{}
	}
	switch args[0] {
	case "-h", "-help", "--help":
		args = []string{"help"}
	case "-version", "--version":
		args = []string{"version"}
	}
	v, rest, err := findVerbOrGroup(args)
	if err != nil {
		return err
	}
	if v == nil { // only the first word of several verbs is given
		if len(rest) == 0 {
			t.printErrf("%s", verbOverview(args[0]))
			return &usageError{}
		}
		t.printf("%s", verbOverview(args[0]))
		return nil
	}
	command := "dormouse " + v.name
	flags := flag.NewFlagSet(command, flag.ContinueOnError)
	act := v.prepare(flags)
	positional, err := parseFlags(flags, rest)
	if errors.Is(err, flag.ErrHelp) {
		t.printf("%s", v.helpText())
		return nil
	}
	if err == nil {
		err = checkArgumentCount(v.args, positional)
	}
	if err != nil {
		return &usageError{command, err}
	}
	err = act(ctx, t, positional)
	if usage, ok := errors.AsType[*usageError](err); ok && usage.command == "" {
		usage.command = command
	}
	return err
}

// findVerbOrGroup returns the verb that args begin with and the words after its name.
// When only the first word of several verbs is given, found is nil without an error, and
// rest is a request for help or empty. The error lists similar verbs.
func findVerbOrGroup(args []string) (found *verb, rest []string, err error) {
	all := verbs()
	group := false
	var names []string
	for i, v := range all {
		name := strings.Fields(v.name)
		names = append(names, v.name)
		if len(args) >= len(name) && slices.Equal(args[:len(name)], name) {
			return &all[i], args[len(name):], nil
		}
		group = group || len(name) > 1 && name[0] == args[0]
	}
	command := strings.Join(args[:min(2, len(args))], " ")
	switch {
	case group && len(args) == 1, group && (args[1] == "-h" || args[1] == "-help" || args[1] == "--help"):
		return nil, args[1:], nil
	case strings.HasPrefix(args[0], "-"):
		return nil, nil, &usageError{"dormouse", fmt.Errorf("the verb comes before its flags, %s stands first", args[0])}
	case !group:
		command = args[0]
	}
	return nil, nil, &usageError{"dormouse", fmt.Errorf("there is no verb %q%s", command, similarOrKnownWordsText(command, names))}
}

// checkArgumentCount returns an error if there are fewer or more arguments than usage,
// the args of a verb, allows.
func checkArgumentCount(usage string, args []string) error {
	words := strings.Fields(usage)
	least, endless := 0, false
	for _, word := range words {
		if !strings.HasPrefix(word, "[") {
			least++
		}
		endless = endless || strings.Contains(word, "...")
	}
	switch {
	case len(args) < least:
		return fmt.Errorf("%s is missing", words[len(args)])
	case !endless && len(args) > len(words):
		return fmt.Errorf("%q is one argument too many", args[len(words)])
	}
	return nil
}
