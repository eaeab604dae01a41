package host

import (
	"runtime"

	"dormouse/configs"
	"dormouse/internal/memory"
	"dormouse/supervisor"
)

// autoSleep returns how the host puts plugins to sleep by itself. Where it does so when
// memory is short, it keeps ready what that needs: CRIU, itself, and some memory.
func (h *Host) autoSleep(c configs.Hibernate) supervisor.AutoSleep {
	a := supervisor.AutoSleep{Rules: c.Tiers, Parallel: runtime.NumCPU()}
	if c.Parallel > 0 {
		a.Parallel = min(a.Parallel, c.Parallel)
	}
	if c.Pressure == configs.PressureOn && !h.options.private {
		h.provision = &memory.Provision{
			Bytes: int64(c.MemoryReserve),
			Files: h.Engine.ProgramFiles,
		}
		a.Provision = h.provision
	}
	return a
}
