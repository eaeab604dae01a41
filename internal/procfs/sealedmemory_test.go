package procfs

import (
	"slices"
	"strings"
	"testing"
)

func TestSealed(t *testing.T) {
	const (
		plain = "c000000000-c000400000 rw-p 00000000 00:00 0 \nSize:               4096 kB\nVmFlags: rd wr mr mw me ac sd \n"
		named = "7f0000000000-7f0000001000 r--p 00000000 08:01 42 /a sl b\nSize:                  4 kB\nVmFlags: rd mr mw me sd \n"
		vdso  = "7ffd00000000-7ffd00002000 r-xp 00000000 00:00 0                          [vdso]\nVmFlags: rd ex mr mw me de sl \n"
	)
	for text, want := range map[string]bool{
		plain + named + vdso: false, // the kernel seals its own
		strings.Replace(plain, "ac sd", "ac sd sl", 1) + vdso: true,
	} {
		mappings, err := parseMappings(text)
		if got := slices.ContainsFunc(mappings, Mapping.IsSealedByProgram); got != want || err != nil {
			t.Errorf("got %v, %v of\n%s", got, err, text)
		}
	}
}
