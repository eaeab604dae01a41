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

// kernelCache is where CRIU looks for what it once found out about the kernel.
const kernelCache = "/run/criu.kdat"

// seedKernelCache makes CRIU's cache on machines whose /run is no tmpfs. CRIU
// refuses to write it there, as it might survive a reboot, but reads it; without
// it every operation takes about 30 ms longer. It is made anew at each start of
// the host, since CRIU would trust one of an older kernel.
func (e *Engine) seedKernelCache(ctx context.Context) error {
	var fs unix.Statfs_t
	if err := unix.Statfs("/run", &fs); err != nil || fs.Type == unix.TMPFS_MAGIC {
		return err
	}
	cmd := exec.CommandContext(ctx, "unshare", "-m", "sh", "-c",
		`mount -t tmpfs tmpfs /run && { "$0" check >/dev/null 2>&1; cat /run/criu.kdat; }`, e.path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // CRIU, too
	cmd.WaitDelay = time.Second                                                          // what it started may have left the group and hold its output
	var data bytes.Buffer
	cmd.Stdout = &data
	err := cmd.Start()
	if err == nil {
		err = cmd.Wait()
	}
	if err == nil {
		err = atomicfile.Write(kernelCache, data.Bytes(), 0o600)
	}
	if err != nil {
		_ = os.Remove(kernelCache) // slow is better than wrong
		return fmt.Errorf("cannot make %s: %w", kernelCache, err)
	}
	return nil
}
