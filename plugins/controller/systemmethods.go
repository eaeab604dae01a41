package controller

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"dormouse/configs"
	"dormouse/internal/ownedtree"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// systemMethods returns the methods that delete files, restart the machine, or in Thunder
// search the network.
func systemMethods() []method {
	return []method{
		{
			name: "delete", access: access.Admin, about: instanceOfPath, missingParam: thunder.BadRequest, returns: "once it is deleted",
			params: []parameter{{name: "path", doc: "a file or directory of the Controller's, or as Callsign/name one of that instance, below its persistent directory"}},
			doc:    "Deletes a file that the Controller or an instance keeps.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.BadRequest, thunder.PrivilegedRequest, thunder.DestructionFailed},
			serve:  serveDeleteFile,
		},
		{
			name: "reboot", access: access.Admin, aliases: []string{"harakiri"}, returns: "once the restart has begun",
			doc:    "Restarts the machine.",
			errors: []thunder.ErrorNumber{thunder.General, thunder.NotSupported},
			serve:  serveReboot,
		},
		{
			name: "startdiscovery", access: access.Operate,
			params:  []parameter{{name: "ttl", kind: hopCount, optional: true, doc: "how many networks away, 1 to 255"}},
			returns: "at once: a search would be a multicast, and nothing of this host leaves the loopback addresses",
			doc:     "Accepts a search for other hosts in the network, and searches none, as Thunder does without a probe.",
			errors:  []thunder.ErrorNumber{thunder.BadRequest},
			serve:   acceptDiscovery,
		},
		{
			name: "discoveryresults", access: access.Read, form: property,
			result: []discoveredHost{}, returns: "an empty list: there is no search",
			doc:   "The hosts that a search found.",
			serve: serveNoDiscoveryResults,
		},
	}
}

// acceptDiscovery answers null and does nothing.
func acceptDiscovery(context.Context, request) (any, error) { return nil, nil }

// discoveredHost is another host that a search found, as Thunder describes it.
type discoveredHost struct {
	Locator string `json:"locator"`
	Latency int64  `json:"latency"`
	Model   string `json:"model,omitempty"`
	Secure  bool   `json:"secure"`
}

// serveNoDiscoveryResults answers an empty list.
func serveNoDiscoveryResults(context.Context, request) (any, error) { return []discoveredHost{}, nil }

// serveDeleteFile deletes the file or directory that the parameter path names, with all
// that is in it. A path that leads out of the persistent directory of the Controller or
// of the instance, also by a link, or names the whole of it is refused with
// PrivilegedRequest, and one that does not exist with UnknownKey. What is mounted there stays,
// with all that is in it.
func serveDeleteFile(_ context.Context, r request) (any, error) {
	path := filepath.FromSlash(r.args["path"])
	switch {
	case path == "":
		return nil, thunder.NewError(thunder.EmptyPath, errors.New("the path is empty"))
	case !filepath.IsLocal(path) || strings.Contains(path, "..") || filepath.Clean(path) == ".":
		return nil, thunder.NewError(thunder.PrivilegedRequest, errors.New("the path must name something below a persistent directory"))
	}
	owner, path := r.front.ownerOfPersistentFile(filepath.Clean(path))
	root, err := os.OpenRoot(filepath.Join(r.front.options.Host.Root, "persistent", owner))
	if err != nil {
		return nil, deletionError(err)
	}
	defer root.Close()
	if _, err := root.Lstat(path); err != nil {
		return nil, deletionError(err)
	}
	parent, err := root.Open(filepath.Dir(path))
	if err != nil {
		return nil, deletionError(err)
	}
	defer parent.Close()
	if err := ownedtree.RemoveAt(parent, filepath.Base(path)); err != nil {
		return nil, thunder.NewError(thunder.DestructionFailed, err)
	}
	return nil, nil
}

// ownerOfPersistentFile returns the callsign of the instance that keeps the file, and the
// file's path below the instance's persistent directory: the instance that the path
// begins with, or the Controller, as in Thunder.
func (f *Front) ownerOfPersistentFile(path string) (callsign, below string) {
	first, rest, more := strings.Cut(path, string(filepath.Separator))
	if _, known := f.supervisor.Shell(first); known && more {
		return first, rest
	}
	return configs.ControllerCallsign, path
}

// deletionError returns err, which says why a path to delete cannot be opened, with a
// number: the path does not exist, the host may not open it, or it leads out of the
// persistent directory.
func deletionError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EINVAL), errors.Is(err, syscall.ENAMETOOLONG):
		return thunder.NewError(thunder.UnknownKey, errors.New("there is no such file"))
	case errors.Is(err, fs.ErrPermission):
		return thunder.NewError(thunder.DestructionFailed, err)
	}
	return thunder.NewError(thunder.PrivilegedRequest, errors.New("the path leads out of the persistent directory"))
}

// serveReboot restarts the machine and logs that a client did.
func serveReboot(ctx context.Context, r request) (any, error) {
	r.front.log.Warn().Msg("a client restarts the machine")
	return nil, renumberUnlessKept(r.front.options.Reboot(ctx), thunder.General, thunder.NotSupported)
}

// rebootLimit is the time that the command may take to begin the restart.
const rebootLimit = 10 * time.Second

// rebootWith returns a function that restarts the machine by the command, or by systemd
// if the command is empty. The command does not go through a shell. Without a command
// and systemd the function returns shell.ErrNotSupported.
func rebootWith(command []string) func(context.Context) error {
	return func(ctx context.Context) error {
		program := command
		if len(program) == 0 {
			if _, err := os.Stat("/run/systemd/system"); err != nil {
				return fmt.Errorf("%w: there is no systemd; set reboot in the configuration of the host", shell.ErrNotSupported)
			}
			program = []string{"systemctl", "reboot"}
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rebootLimit)
		defer cancel()
		said, err := exec.CommandContext(ctx, program[0], program[1:]...).CombinedOutput() //nolint:gosec // the operator's own command
		if err != nil {
			return fmt.Errorf("cannot restart the machine: %w: %.200s", err, strings.TrimSpace(string(said)))
		}
		return nil
	}
}
