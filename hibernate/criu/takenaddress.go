package criu

import (
	"fmt"
	"regexp"
	"strconv"

	"dormouse/hibernate/criu/images"
	"dormouse/internal/procfs"
	"dormouse/internal/sockdiag"
)

// bindError matches CRIU's words for an address that it can't give back to a socket, with the
// number of the socket in the image.
var bindError = regexp.MustCompile(`Can't bind inet socket \(id (\d+)\): Address already in use`)

// explainTakenAddress returns err, the error of a restore of the image in dir, in plain words
// if an address of the tree is taken: which one, and as far as /proc says, which process has
// it. It returns other errors as they are.
func explainTakenAddress(dir string, err error) error {
	match := bindError.FindStringSubmatch(err.Error())
	if match == nil {
		return err
	}
	id, _ := strconv.ParseUint(match[1], 10, 32) // they are digits
	network, address, ferr := images.FindInetSocket(dir, uint32(id))
	if ferr != nil {
		return err
	}
	holder := "another process"
	if inode := sockdiag.FindBoundInode(network, address); inode != 0 {
		if pid := procfs.FindSocketHolder(inode); pid != 0 {
			holder = fmt.Sprintf("process %d (%s)", pid, procfs.ProcessName(pid))
		}
	}
	return fmt.Errorf("the plugin's %s address %s is taken by %s: end that, or let it use another address", network, address, holder)
}
