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
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/pager"
)

// row compares one thing with its yardstick.
type row struct {
	what      string
	own       series
	yardstick string
	plain     series
	aim       float64       // for the ratio, 0 for none
	within    time.Duration // the aim for the time itself, if there is one
}

// group is what can be measured alone.
type group struct {
	name    string
	measure func(ctx context.Context, b *bench) ([]row, error)
}

var groups = []group{
	{"sleep", measureSleep},
	{"answers", measureAnswers},
	{"sizes", measureSizes},
	{"pageout", measurePageOut},
	{"disk", measureDisk},
	{"unpack", measureUnpack},
	{"install", measureInstall},
	{"synchronize", measureSynchronize},
	{"warm", measureWarm},
	{"idle", measureIdle},
	{"queue", measureQueue},
	{"backlog", measureBacklog},
	{"flows", measureFlows},
	{"tasks", measureTasks},
	{"webhooks", measureWebhooks},
	{"activation", measureActivation},
	{"switch", measureSwitch},
	{"store", measureStore},
	{"state", measureState},
	{"calls", measureCalls},
	{"virtual", measureVirtual},
	{"websockets", measureWebsockets},
}

// bench is what all groups have in common.
type bench struct {
	runs            int
	binary, plugins string
	stage           *stage // nil until a group needs it
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == pager.LoaderVerb { // started by this program, for a plugin that outlives it
		if err := pager.RunLoader(hibernate.ReceiveMemory); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 1 && os.Args[1] == storeMemoryVerb { // started by this program
		if err := printStoreMemory(); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == openVerb { // started by this program
		if err := printOpening(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if len(os.Args) > 2 && os.Args[1] == deliverVerb { // likewise
		if err := printDelivering(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	var names []string
	for _, g := range groups {
		names = append(names, g.name)
	}
	runs := flag.Int("runs", 9, "counted runs of each measurement")
	bin := flag.String("bin", "bin", "where make build put dormouse and the plugins")
	rows := flag.String("rows", "", "measure only the groups that this expression matches, of "+strings.Join(names, ", ")+"; unpack, install, synchronize, queue, backlog, flows, tasks, webhooks, store, state, calls, virtual and websockets need neither CRIU nor root")
	limit := flag.Duration("limit", 12*time.Minute, "no group begins later than this")
	flag.Parse()
	signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) // a reader that has seen enough must not end the clearing away
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, *runs, *bin, *rows, *limit); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, runs int, bin, wanted string, limit time.Duration) (err error) {
	only, err := regexp.Compile(wanted)
	if err != nil {
		return err
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	b := &bench{runs: runs, binary: filepath.Join(bin, "dormouse"), plugins: filepath.Join(bin, "plugins")}
	defer func() { err = errors.Join(err, b.close()) }()
	begun := time.Now()
	var rows []row
	defer func() { report(rows) }() // also when the rest could not be measured
	for _, g := range groups {
		if !only.MatchString(g.name) {
			continue
		}
		if time.Since(begun) > limit {
			fmt.Printf("There was no time left for the rows of %s.\n", g.name)
			continue
		}
		say("%s, after %v", g.name, time.Since(begun).Round(time.Second))
		measured, err := g.measure(ctx, b)
		if err != nil {
			return fmt.Errorf("cannot measure %s: %w", g.name, err)
		}
		rows = append(rows, measured...)
	}
	say("done after %v", time.Since(begun).Round(time.Second))
	return nil
}

// say prints how far the bench is.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func report(rows []row) {
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "WHAT\tDORMOUSE\tYARDSTICK\tPLAIN\tRATIO\tAIM")
	for _, r := range rows {
		aim := ""
		switch {
		case r.within > 0:
			aim = r.within.String()
		case r.aim > 0:
			aim = fmt.Sprintf("%.2f", r.aim)
		}
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%s\n", r.what, r.own, r.yardstick, r.plain, ratio(r.own, r.plain), aim)
	}
	_ = t.Flush()
}

func measureCalls(ctx context.Context, b *bench) ([]row, error) {
	ws, http, native, err := compareCalls(ctx, b.binary, b.plugins, b.runs)
	return []row{ws, http, native}, err
}

func measureWebsockets(ctx context.Context, b *bench) ([]row, error) {
	return compareWebsockets(ctx, b.binary, b.plugins, b.runs)
}

func measureActivation(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.compareActivation(ctx, filepath.Join(b.plugins, "echo"), 3*b.runs)
	return []row{r}, err
}
