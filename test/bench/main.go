// Command bench measures what Dormouse does against the nearest plain way to do
// the same, in turn and in one run, and prints the ratios. Absolute times are
// those of one machine in one hour.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
)

// row compares one thing with its yardstick.
type row struct {
	what      string
	own       series
	yardstick string
	plain     series
	aim       float64
}

func main() {
	runs := flag.Int("runs", 9, "counted runs of each measurement")
	bin := flag.String("bin", "bin", "where make build put dormouse and the plugins")
	calls := flag.Bool("calls", false, "measure calls and events alone, which needs neither CRIU nor root")
	flag.Parse()
	if err := run(*runs, *bin, *calls); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(runs int, bin string, callsOnly bool) error {
	ctx := context.Background()
	bin, err := filepath.Abs(bin)
	if err != nil {
		return err
	}
	binary, plugins := filepath.Join(bin, "dormouse"), filepath.Join(bin, "plugins")
	var rows []row
	if !callsOnly {
		if rows, err = compareLives(ctx, plugins, runs); err != nil {
			return err
		}
	}
	ws, http, native, err := compareCalls(ctx, binary, plugins, runs)
	if err != nil {
		return err
	}
	many, err := compareWebsockets(ctx, binary, plugins, runs)
	if err != nil {
		return err
	}
	report(append(append(rows, ws, http, native), many...))
	return nil
}

// compareLives measures what begins and ends a plugin's life, and its sleep.
func compareLives(ctx context.Context, plugins string, runs int) (rows []row, err error) {
	// Trees that criu restores become children of this process when criu ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, err
	}
	// What this process inherited must not become part of what is dumped.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, err
	}
	s, err := newStage(ctx, filepath.Join(plugins, "counter"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for _, mib := range []int{10, 100, 500} {
		h, w, err := s.compareSleep(ctx, mib, runs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, h, w)
	}
	for _, mib := range []int{10, 100, 500, 1000} {
		for _, evicted := range []bool{false, true} {
			answer, all, err := s.compareLazy(ctx, mib, runs, evicted)
			if err != nil {
				return nil, err
			}
			rows = append(rows, answer, all)
		}
	}
	bySize, byEmpty, err := s.compareSizes(ctx, 10, 1000, runs)
	if err != nil {
		return nil, err
	}
	rows = append(rows, bySize, byEmpty)
	for _, mib := range []int{0, 100} {
		paged, err := s.comparePageOut(ctx, mib, runs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, paged...)
	}
	for _, p := range []struct {
		name    string
		packing hibernate.Packing
	}{
		{"", hibernate.Packing{}},
		{", encrypted", hibernate.Packing{Key: make([]byte, 32), Encrypt: true}},
		{", compressed", hibernate.Packing{Compress: true}},
	} {
		writing, err := s.compareWriting(ctx, p.name, p.packing, 500, runs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, writing)
	}
	for _, mib := range []int{0, 100, 500} {
		warm, kept, err := s.compareWarm(ctx, mib, runs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, warm, kept)
	}
	crowd, err := s.crowd(ctx, 100)
	if err != nil {
		return nil, err
	}
	fmt.Println(crowd)
	activation, err := s.compareActivation(ctx, filepath.Join(plugins, "echo"), 3*runs)
	return append(rows, activation), err
}

func report(rows []row) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WHAT\tDORMOUSE\tYARDSTICK\tPLAIN\tRATIO\tAIM")
	for _, r := range rows {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%.2f\n", r.what, r.own, r.yardstick, r.plain, ratio(r.own, r.plain), r.aim)
	}
	_ = t.Flush()
}
