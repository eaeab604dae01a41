package procfs

import "slices"

// kernelMappings are the names of the mappings that the kernel itself makes and may seal.
var kernelMappings = []string{"[sigpage]", "[uprobes]", "[vdso]", "[vectors]", "[vsyscall]", "[vvar]", "[vvar_vclock]"}

// IsMadeByKernel reports whether the kernel itself has made the mapping.
func (m Mapping) IsMadeByKernel() bool { return slices.Contains(kernelMappings, m.Name) }

// IsSealedByProgram reports whether the mapping is sealed, see mseal(2), and not one of the
// kernel's. It returns false without flags, see MappingsWithFlags.
func (m Mapping) IsSealedByProgram() bool {
	return slices.Contains(m.Flags, "sl") && !m.IsMadeByKernel()
}
