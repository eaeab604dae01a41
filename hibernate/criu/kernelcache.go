package criu

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/atomicfile"
)

// kernelCache is the file in which CRIU keeps what it has found out about the kernel.
const kernelCache = "/run/criu.kdat"

// writeKernelCacheIfNeeded writes CRIU's kernel cache on machines whose /run is not a tmpfs,
// and does nothing on others. CRIU reads the cache there but refuses to write it, since the
// file could survive a reboot; without the cache every dump or restore takes about 30 ms
// longer. The host writes it at each start, because CRIU would also believe a cache of
// another kernel. If it can't be written it is removed.
func (e *Engine) writeKernelCacheIfNeeded(ctx context.Context) error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/run", &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		return err
	}
	cmd := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c",
		`mount -t tmpfs tmpfs /run && { "$0" check >/dev/null 2>&1; cat /run/criu.kdat; }`, e.Path())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // the whole process group, with CRIU
	cmd.WaitDelay = time.Second                                                          // in case a process outside of the group holds the output
	var data bytes.Buffer
	cmd.Stdout = &data
	err := cmd.Run()
	if err == nil {
		err = atomicfile.Write(kernelCache, data.Bytes(), 0o600)
	}
	if err != nil {
		_ = os.Remove(kernelCache) // CRIU is slow without it, but not wrong
		return fmt.Errorf("cannot make %s: %w", kernelCache, err)
	}
	return nil
}
