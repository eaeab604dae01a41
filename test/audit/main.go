// Command audit looks at a root from outside and says what is not in order. It
// takes only the states of instances from the host, and compares them with what
// the kernel and the disk have: processes, cgroups, sockets,
// descriptors, mounts, images. It changes nothing and does not know how the host
// works.
//
//	audit [--settle 30s] [--images DIR] ROOT
//
// It prints what it found as JSON, and its status is 1 if something is wrong. What
// was just ended or discarded may take a moment to go: it looks again until all is
// in order, or until the time is over.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Report is what audit found about a root.
type Report struct {
	// Host is nil when no host serves the root.
	Host      *Host      `json:"host"`
	Instances []Instance `json:"instances"`
	// PIDs are of all processes that have to do with the root, Cgroups the
	// directories of all cgroups, a parent before its children.
	PIDs    []int    `json:"pids"`
	Cgroups []string `json:"cgroups"`
	// Wrong are sentences, none when all is in order.
	Wrong []string `json:"wrong"`
}

// Host is the process that serves.
type Host struct {
	PID         int            `json:"pid"`
	Descriptors int            `json:"descriptors"`
	Kinds       map[string]int `json:"kinds"` // descriptors by kind, to find a leak
	Children    int            `json:"children"`
	Goroutines  int            `json:"goroutines"`
	RSS         int64          `json:"rss"`
}

// Instance is a plugin in a process of its own.
type Instance struct {
	Callsign string `json:"callsign"`
	// State is what the host reports, or "hibernated" without a host.
	State       string `json:"state"`
	Processes   int    `json:"processes"`
	Descriptors int    `json:"descriptors"`
	RSS         int64  `json:"rss"`
	Image       int64  `json:"image"`   // its bytes on disk, 0 without an image
	Refused     bool   `json:"refused"` // a quarantined image lies beside it
	Aside       int    `json:"aside"`   // how many images were put aside
}

func main() {
	settle := flag.Duration("settle", 10*time.Second, "how long to wait for all to be in order")
	images := flag.String("images", "", "where the images are, unless in the root")
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	root, err := filepath.Abs(flag.Arg(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	a := auditor{root: root, run: filepath.Join(root, "run"), images: *images}
	if a.images == "" {
		a.images = filepath.Join(root, "images")
	}
	var r Report
	tick := time.NewTicker(5 * time.Millisecond)
	for late := time.After(*settle); ; {
		if r = a.look(); len(r.Wrong) == 0 {
			break
		}
		select {
		case <-tick.C:
			continue
		case <-late:
		}
		break
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if len(r.Wrong) > 0 {
		os.Exit(1)
	}
}
