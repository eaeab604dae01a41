package procfs

import (
	"fmt"
	"os"
)

// Hardening is how the processor is kept from giving a thread's secrets away, with values as
// in /proc/<pid>/status.
type Hardening struct {
	// StoreBypass and IndirectBranch say how speculation is limited, see
	// PR_SET_SPECULATION_CTRL in prctl(2).
	StoreBypass, IndirectBranch string
	// ShadowStack is the features of shadow stacks that are on, "" for none.
	ShadowStack string
	// IsFiltered means that the thread has a seccomp filter, which may limit speculation.
	IsFiltered bool
}

// HardeningOf returns the hardening of the thread, and an error if it has ended.
func HardeningOf(tid int) (Hardening, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return Hardening{}, err
	}
	status := string(text)
	return Hardening{
		StoreBypass:    findLineValue(status, "Speculation_Store_Bypass:"),
		IndirectBranch: findLineValue(status, "SpeculationIndirectBranch:"),
		ShadowStack:    findLineValue(status, "x86_Thread_features:"),
		IsFiltered:     findLineValue(status, "Seccomp:") != "0",
	}, nil
}
