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

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// systemMethods returns the methods that delete files, restart the machine, or would
// search the network.
func systemMethods() []method {
	noDiscovery := []thunder.ErrorNumber{thunder.NotSupported}
	return []method{
		{
			name: "delete", access: access.Admin, missingParam: thunder.BadRequest, returns: "once it is deleted",
			params: []parameter{{name: "path", doc: "a file or directory of an instance, as Callsign/name, below the persistent directories"}},
			doc:    "Deletes a file of an instance.",
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
			returns: "never: the search is a multicast, and nothing of this host leaves the loopback addresses",
			doc:     "Searches other hosts in the network; refused.",
			errors:  append(noDiscovery, thunder.BadRequest),
			serve:   refuseDiscovery,
		},
		{
			name: "discoveryresults", access: access.Read, form: property,
			returns: "never: there is no search",
			doc:     "The hosts that a search found; refused.",
			errors:  noDiscovery,
			serve:   refuseDiscovery,
		},
	}
}

// refuseDiscovery answers the methods that would search the network.
func refuseDiscovery(context.Context, request) (any, error) {
	return nil, thunder.NewError(thunder.NotSupported, errors.New("this host does not search the network: it serves loopback addresses only"))
}

// serveDeleteFile deletes the file or directory that the parameter path names, as
// Callsign/name below the persistent directories, with all that is in it. A path that
// leads out of them, also by a link, or names a whole instance is refused with
// PrivilegedRequest, and one that does not exist with UnknownKey.
func serveDeleteFile(_ context.Context, r request) (any, error) {
	path := filepath.FromSlash(r.args["path"])
	if !filepath.IsLocal(path) || strings.Contains(path, "..") || filepath.Dir(filepath.Clean(path)) == "." {
		return nil, thunder.NewError(thunder.PrivilegedRequest, errors.New("the path must name something below an instance's directory"))
	}
	root, err := os.OpenRoot(filepath.Join(r.front.options.Host.Root, "persistent"))
	if err != nil {
		return nil, deletionError(err)
	}
	defer root.Close()
	if _, err := root.Lstat(path); err != nil {
		return nil, deletionError(err)
	}
	if err := root.RemoveAll(path); err != nil {
		return nil, thunder.NewError(thunder.DestructionFailed, err)
	}
	return nil, nil
}

// deletionError returns err, which says why a path to delete cannot be opened, with a
// number: the path does not exist, the host may not open it, or it leads out of the
// persistent directories.
func deletionError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return thunder.NewError(thunder.UnknownKey, errors.New("there is no such file"))
	case errors.Is(err, fs.ErrPermission):
		return thunder.NewError(thunder.DestructionFailed, err)
	}
	return thunder.NewError(thunder.PrivilegedRequest, errors.New("the path leads out of the instance's directory"))
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
