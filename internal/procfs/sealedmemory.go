package procfs

import "slices"

// kernelMappings are the mappings that the kernel makes, and may seal itself.
var kernelMappings = []string{"[sigpage]", "[uprobes]", "[vdso]", "[vectors]", "[vsyscall]", "[vvar]", "[vvar_vclock]"}

// HasSealedMemory reports whether the process has sealed memory of its own, see
// mseal(2).
func HasSealedMemory(pid int) (bool, error) {
	mappings, err := readMappings(pid, "smaps")
	return slices.ContainsFunc(mappings, mapping.isSealedByProgram), err
}

// isSealedByProgram reports whether the mapping is sealed and not one of the kernel's.
func (m mapping) isSealedByProgram() bool {
	return slices.Contains(m.flags, "sl") && !slices.Contains(kernelMappings, m.name)
}
