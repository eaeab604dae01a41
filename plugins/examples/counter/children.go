package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
)

const (
	// childCommand is the argument that makes the program a child process.
	childCommand = "child"
	maxDepth     = 8
)

// childChain is a chain of processes, each the parent of the next. A process talks
// to its neighbors by two pipes, and ends when its parent is gone.
type childChain struct {
	mu    sync.Mutex
	first *child
}

type spawnParams struct {
	Depth int `json:"depth"`
}

func (p spawnParams) Validate() error {
	if p.Depth < 0 || p.Depth > maxDepth {
		return fmt.Errorf("depth must be from 0 to %d", maxDepth)
	}
	return nil
}

type spawnResult struct {
	PIDs []int `json:"pids"`
}

type aliveResult struct {
	Alive int `json:"alive"`
}

// spawn starts a chain of processes in place of the earlier one; depth 0 only ends
// that.
func (c *counter) spawn(ctx context.Context, p spawnParams) (spawnResult, error) {
	pids, err := c.children.restart(ctx, p.Depth)
	return spawnResult{pids}, err
}

func (c *counter) countChildren(ctx context.Context, _ noParams) (aliveResult, error) {
	return aliveResult{c.children.countAlive(ctx)}, nil
}

// restart ends the chain and starts a new one. It returns the pids of the new
// chain, parents first.
func (f *childChain) restart(ctx context.Context, depth int) ([]int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first != nil {
		f.first.stop(ctx)
		f.first = nil
	}
	if depth == 0 {
		return []int{}, nil
	}
	first, pids, err := startChild(ctx, depth)
	f.first = first
	return pids, err
}

// countAlive returns how many processes of the chain answer.
func (f *childChain) countAlive(ctx context.Context) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		return 0
	}
	alive := f.first.countAlive(ctx)
	if alive == 0 {
		f.first.stop(ctx)
		f.first = nil
	}
	return alive
}

// child is a child process as its parent sees it.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// startChild starts a chain of depth processes. It returns once all of them run.
func startChild(ctx context.Context, depth int) (*child, []int, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot find the program to start: %w", err)
	}
	cmd := exec.Command(self, childCommand, strconv.Itoa(depth))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a pipe: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, fmt.Errorf("cannot start a child: %w", err)
	}
	c := &child{cmd, in, json.NewDecoder(out)}
	defer c.killAtEndOf(ctx)()
	var pids []int
	if err := c.answers.Decode(&pids); err != nil {
		c.stop(ctx)
		return nil, nil, fmt.Errorf("cannot start a chain of %d children: %w", depth, err)
	}
	return c, pids, nil
}

// countAlive returns how many processes of the chain answer, from c on. After 0 the
// child must be stopped.
func (c *child) countAlive(ctx context.Context) int {
	defer c.killAtEndOf(ctx)()
	alive := 0
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return 0
	}
	if err := c.answers.Decode(&alive); err != nil {
		return 0
	}
	return alive
}

// stop ends the chain from c on, and waits for c.
func (c *child) stop(ctx context.Context) {
	defer c.killAtEndOf(ctx)()
	_ = c.in.Close()
	_ = c.cmd.Wait() // its exit status does not matter
}

// killAtEndOf kills the child if ctx ends before stop is called.
func (c *child) killAtEndOf(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
}

// runChild is the main function of a child process. It writes the pids of its part
// of the chain, and then for each line that it reads how many processes of that
// part answer. It returns the exit status.
func runChild(depth string, in io.Reader, out io.Writer) int {
	ctx := context.Background()
	answers := json.NewEncoder(out)
	pids := []int{os.Getpid()}
	var next *child
	if below, err := strconv.Atoi(depth); err != nil {
		return 2
	} else if below > 1 {
		var more []int
		if next, more, err = startChild(ctx, below-1); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer func() { next.stop(ctx) }()
		pids = append(pids, more...)
	}
	if answers.Encode(pids) != nil {
		return 1
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		alive := 1
		if next != nil {
			alive += next.countAlive(ctx)
		}
		if answers.Encode(alive) != nil {
			return 1
		}
	}
	return 0
}
