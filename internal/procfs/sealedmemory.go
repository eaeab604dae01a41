package procfs

import "slices"

// kernelMappings are the names of the mappings that the kernel itself makes and may seal.
var kernelMappings = []string{"[sigpage]", "[uprobes]", "[vdso]", "[vectors]", "[vsyscall]", "[vvar]", "[vvar_vclock]"}

// HasSealedMemory reports whether the process has memory that its program has sealed, see
// mseal(2). It returns false when the process has ended.
func HasSealedMemory(pid int) (bool, error) {
	mappings, err := readMappings(pid, "smaps")
	return slices.ContainsFunc(mappings, mapping.isSealedByProgram), err
}

// isSealedByProgram reports whether the mapping is sealed and not one of the kernel's.
func (m mapping) isSealedByProgram() bool {
	return slices.Contains(m.flags, "sl") && !slices.Contains(kernelMappings, m.name)
}
