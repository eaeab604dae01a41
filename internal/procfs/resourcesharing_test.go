package procfs

import (
	"os"
	"slices"
	"testing"
)

func TestShared(t *testing.T) {
	own := os.Getpid()
	if pairs := PairsSharing([]int{own, os.Getppid(), 1 << 30}, SharedMemory); len(pairs) != 0 {
		t.Errorf("strangers share: %v", pairs)
	}
	if pairs := PairsSharing([]int{own, own}, SharedDirectory); !slices.Equal(pairs, [][2]int{{own, own}}) {
		t.Errorf("with itself it shares %v", pairs)
	}
	if HasUninterruptibleThread(1 << 30) {
		t.Error("a missing process waits")
	}
}
