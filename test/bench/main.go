// Command bench measures what Dormouse does against the nearest plain way to do
// the same, in turn and in one run, and prints the ratios. Absolute times are
// those of one machine in one hour.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"

	"golang.org/x/sys/unix"
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
	plugins := flag.String("plugins", "bin/plugins", "where the example plugins are")
	flag.Parse()
	if err := run(*runs, *plugins); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(runs int, plugins string) error {
	// Trees that criu restores become children of this process when criu ends.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return err
	}
	ctx := context.Background()
	counter, err := filepath.Abs(filepath.Join(plugins, "counter"))
	if err != nil {
		return err
	}
	s, err := newStage(ctx, counter)
	if err != nil {
		return err
	}
	var rows []row
	for _, mib := range []int{10, 100, 500} {
		h, w, err := s.compareSleep(ctx, mib, runs)
		if err != nil {
			return err
		}
		rows = append(rows, h, w)
	}
	if err := s.close(); err != nil {
		return err
	}
	report(rows)
	return nil
}

func report(rows []row) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WHAT\tDORMOUSE\tYARDSTICK\tPLAIN\tRATIO\tAIM")
	for _, r := range rows {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%.2f\n", r.what, r.own, r.yardstick, r.plain, ratio(r.own, r.plain), r.aim)
	}
	_ = t.Flush()
}
