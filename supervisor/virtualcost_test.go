package supervisor

import (
	"encoding/json"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"

	"dormouse/configs"
	"dormouse/shell"
)

// heapInUse returns the bytes that are reachable on the heap.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what the first one has finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A thousand idle virtual plugins take at most 8 KiB each, also after many sleeps of their parents,
// and neither a goroutine nor processor time: nothing runs while they are idle.
func TestCostOfVirtual(t *testing.T) {
	const count, most = 1000, 8 << 10
	var instances []instance
	for i := range 4 {
		instances = append(instances, instance{fmt.Sprintf("P%d", i), configs.StartActivated, i, (*plugin).sleeps})
	}
	run(t, instances, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		synctest.Wait()
		heap, goroutines := heapInUse(), runtime.NumGoroutine()
		for i := range count {
			callsign := fmt.Sprintf("Virtual%03d", i)
			r.must(r.CreateVirtual(r.Context(), fmt.Sprintf("P%d", i%4), Virtual{
				Callsign: callsign, Configuration: json.RawMessage(`{"problem":"` + callsign + `","limit":10}`),
				Profile: shell.Profile{Description: "what it is for, in a sentence", Version: "1.0.0", Tags: []string{"optimizer", "fast"}},
			}))
		}
		cost := func(when string) {
			r.Helper()
			synctest.Wait()
			each := (heapInUse() - heap) / count
			r.Logf("%d bytes each %s", each, when)
			if each > most {
				r.Errorf("%s each takes %d bytes, more than %d", when, each, most)
			}
			if more := runtime.NumGoroutine() - goroutines; more > 0 {
				r.Errorf("%s there are %d goroutines more", when, more)
			}
		}
		cost("at first")
		for range 4 {
			for i := range 4 {
				r.must(r.putToSleep(fmt.Sprintf("P%d", i)))
				r.activate(fmt.Sprintf("P%d", i))
			}
		}
		cost("after many sleeps")
	})
}
