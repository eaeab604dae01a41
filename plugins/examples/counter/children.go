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
	// childCommand is the hidden argument that makes the program a child.
	childCommand = "child"
	maxDepth     = 8
)

// family is a chain of processes, each the parent of the next. Each talks to
// its neighbors by two pipes and ends when the one above is gone.
type family struct {
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

type spawned struct {
	PIDs []int `json:"pids"`
}

type answered struct {
	Alive int `json:"alive"`
}

// spawn ends the chain from before, so that depth 0 leaves none.
func (c *counter) spawn(ctx context.Context, p spawnParams) (spawned, error) {
	pids, err := c.family.replace(ctx, p.Depth)
	return spawned{pids}, err
}

func (c *counter) children(ctx context.Context, _ none) (answered, error) {
	return answered{c.family.ask(ctx)}, nil
}

// replace returns the pids of the new chain, the oldest first.
func (f *family) replace(ctx context.Context, depth int) ([]int, error) {
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

// ask returns how many of the chain answer.
func (f *family) ask(ctx context.Context) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.first == nil {
		return 0
	}
	alive := f.first.ask(ctx)
	if alive == 0 {
		f.first.stop(ctx)
		f.first = nil
	}
	return alive
}

// child is a process as its parent has it.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	answers *json.Decoder
}

// startChild returns when the whole chain is running.
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
	defer c.killWhen(ctx)()
	var pids []int
	if err := c.answers.Decode(&pids); err != nil {
		c.stop(ctx)
		return nil, nil, fmt.Errorf("cannot start a chain of %d children: %w", depth, err)
	}
	return c, pids, nil
}

// ask returns how many of c and those below it answer. After 0 the child is of
// no more use and must be stopped.
func (c *child) ask(ctx context.Context) int {
	defer c.killWhen(ctx)()
	alive := 0
	if _, err := io.WriteString(c.in, "\n"); err != nil {
		return 0
	}
	if err := c.answers.Decode(&alive); err != nil {
		return 0
	}
	return alive
}

// stop ends the chain from c on and reaps c.
func (c *child) stop(ctx context.Context) {
	defer c.killWhen(ctx)()
	_ = c.in.Close()
	_ = c.cmd.Wait() // how it ended is its own business
}

// killWhen kills the child if ctx ends before the returned function is called.
func (c *child) killWhen(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = c.cmd.Process.Kill() })
}

// runChild is the life of a child: it writes the pids of its part of the chain,
// then for each line that it reads how many of that part are alive. It returns
// the exit status.
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
			alive += next.ask(ctx)
		}
		if answers.Encode(alive) != nil {
			return 1
		}
	}
	return 0
}
