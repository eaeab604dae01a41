package pageout

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestAdviceForMapsLine(t *testing.T) {
	for line, want := range map[string]int{
		"c000000000-c000400000 rw-p 00000000 00:00 0":                                  unix.MADV_PAGEOUT,
		"c000400000-c004000000 ---p 00000000 00:00 0":                                  unix.MADV_PAGEOUT,
		"55d000-57e000 rw-p 00000000 00:00 0                          [heap]":          unix.MADV_PAGEOUT,
		"00583000-005ac000 rw-p 00183000 fe:00 1234                       /bin/plugin": unix.MADV_PAGEOUT,
		"7f00-8f00 rw-s 00000000 00:01 77                       /memfd:x (deleted)":    unix.MADV_PAGEOUT,
		"7f00-8f00 rw-s 00000000 00:19 77                       /dev/shm/x":            unix.MADV_PAGEOUT,
		"00400000-00583000 r-xp 00000000 fe:00 1234                       /bin/plugin": unix.MADV_COLD,
		"7f00-8f00 rw-s 00000000 fe:00 99                       /var/lib/db":           unix.MADV_COLD,
		"7ffd00-7ffe00 r-xp 00000000 00:00 0                          [vdso]":          0,
		"7ffd00-7ffe00 r--p 00000000 00:00 0                          [vvar_vclock]":   0,
		"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0      [vsyscall]":      0,
		"":                                0,
		"8f00-7f00 rw-p 00000000 00:00 0": 0,
	} {
		if _, got := adviceForMapsLine(line); got != want {
			t.Errorf("%q: got advice %d, want %d", line, got, want)
		}
	}
	if area, _ := adviceForMapsLine("1000-3000 rw-p 00000000 00:00 0"); area != (mapping{0x1000, 0x2000}) {
		t.Errorf("got %+v", area)
	}
}
