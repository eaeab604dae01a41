package criu_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// paintedMemory is memory whose contents the subject knows and can check.
type paintedMemory struct {
	pages []page
}

// page is the address of a page and the first of its words, which count up; 0 for a page
// of zeros. The address 0 is an unmapped page.
type page struct {
	place uintptr
	paint uint64
}

const (
	pageBytes = 4096
	pageWords = pageBytes / 8
)

// do carries out an order: a verb, the first page, and the page after the last.
func (c *paintedMemory) do(words []string) string {
	var from, to int
	if len(words) > 2 {
		from, _ = strconv.Atoi(words[1])
		to, _ = strconv.Atoi(words[2])
	}
	var err error
	switch words[0] {
	case "paint":
		err = c.paint(to)
	case "check":
		return c.check(from, to)
	case "together": // in several threads
		var all sync.WaitGroup
		answers := make([]string, 8)
		for i := range answers {
			all.Go(func() { answers[i] = c.check(from, to) })
		}
		all.Wait()
		for _, a := range answers {
			if a != "ok" {
				return a
			}
		}
		return "ok"
	case "storm":
		return c.storm(from, to)
	case "empty":
		err = c.call(from, to, func(start, length uintptr) error {
			return madvise(start, length, unix.MADV_DONTNEED)
		})
		for i := from; i < to; i++ {
			c.pages[i].paint = 0
		}
	case "private":
		err = c.call(from, to, func(start, length uintptr) error {
			return madvise(start, length, unix.MADV_WIPEONFORK)
		})
	case "unmap":
		err = c.call(from, to, func(start, length uintptr) error {
			_, _, errno := syscall.Syscall(unix.SYS_MUNMAP, start, length, 0)
			return errorOf(errno)
		})
		for i := from; i < to; i++ {
			c.pages[i].place = 0
		}
	case "move":
		err = c.call(from, to, func(start, length uintptr) error { return c.move(from, to, start, length) })
	case "swallow": // moves the pages onto as many pages before them
		err = c.call(from, to, func(start, length uintptr) error { return c.moveTo(from, to, start, length, c.pages[2*from-to].place) })
		for i := 2*from - to; i < from; i++ {
			c.pages[i].place = 0
		}
	case "write":
		for i := from; i < to; i++ {
			c.pages[i].fill(c.pages[i].paint + 1)
		}
	case "fork":
		return c.fork(from, to, false)
	case "forked-private":
		return c.fork(from, to, true)
	default:
		return "what is " + words[0] + "?"
	}
	if err != nil {
		return err.Error()
	}
	return "ok"
}

// storm makes threads read, write, empty and move pages, each thread its own.
func (c *paintedMemory) storm(from, to int) string {
	const threads, block = 6, 32
	var all sync.WaitGroup
	answers := make(chan string, threads)
	for n := range threads {
		all.Go(func() {
			dice := rand.New(rand.NewPCG(uint64(n), uint64(from)))
			first := from + (to-from)/threads*n
			for range 150 {
				start := first + dice.IntN((to-from)/threads/block)*block // whole blocks are moved
				part := start + dice.IntN(block)
				order := [...]string{"check", "check", "write", "empty", "move"}[dice.IntN(5)]
				if order == "move" {
					part = start
				}
				if answer := c.do([]string{order, strconv.Itoa(part), strconv.Itoa(start + block)}); answer != "ok" {
					answers <- order + ": " + answer
					return
				}
			}
		})
	}
	all.Wait()
	select {
	case answer := <-answers:
		return answer
	default:
		return "ok"
	}
}

func errorOf(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}

func madvise(start, length uintptr, advice int) error {
	_, _, errno := syscall.Syscall(unix.SYS_MADVISE, start, length, uintptr(advice))
	return errorOf(errno)
}

func (c *paintedMemory) call(from, to int, do func(start, length uintptr) error) error {
	return do(c.pages[from].place, uintptr(to-from)*pageBytes)
}

func (c *paintedMemory) paint(n int) error {
	memory, err := unix.Mmap(-1, 0, n*pageBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	for i := range n {
		p := page{place: uintptr(unsafe.Pointer(&memory[i*pageBytes]))}
		p.fill(uint64(i)*0x9e3779b97f4a7c15 + 1)
		c.pages = append(c.pages, p)
	}
	return nil
}

func (c *paintedMemory) move(from, to int, start, length uintptr) error {
	// An address that is free for certain.
	memory, err := unix.Mmap(-1, 0, int(length), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	return c.moveTo(from, to, start, length, uintptr(unsafe.Pointer(&memory[0])))
}

func (c *paintedMemory) moveTo(from, to int, start, length, target uintptr) error {
	place, _, errno := syscall.Syscall6(unix.SYS_MREMAP, start, length, length, unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED, target, 0)
	if errno != 0 {
		return errno
	}
	for i := from; i < to; i++ {
		c.pages[i].place = place + uintptr(i-from)*pageBytes
	}
	return nil
}

func (c *paintedMemory) check(from, to int) string {
	if bad := c.firstWrong(from, to); bad >= 0 {
		return fmt.Sprintf("page %d is wrong", bad)
	}
	return "ok"
}

// firstWrong returns the first page with wrong contents, -1 if there is none.
func (c *paintedMemory) firstWrong(from, to int) int {
	for i := from; i < to; i++ {
		if !c.pages[i].holds(c.pages[i].paint) {
			return i
		}
	}
	return -1
}

func (p *page) words() *[pageWords]uint64 {
	return *(**[pageWords]uint64)(unsafe.Pointer(&p.place))
}

func (p *page) fill(paint uint64) {
	p.paint = paint
	for i, words := 0, p.words(); i < pageWords; i++ {
		words[i] = word(paint, i)
	}
}

func (p *page) holds(paint uint64) bool {
	if p.place == 0 {
		return true
	}
	for i, words := 0, p.words(); i < pageWords; i++ {
		if words[i] != word(paint, i) {
			return false
		}
	}
	return true
}

func word(paint uint64, i int) uint64 {
	if paint == 0 {
		return 0
	}
	return paint + uint64(i)
}

// fork forks a child that checks the pages; private pages must be zeros there. The child
// must not need the Go runtime.
func (c *paintedMemory) fork(from, to int, private bool) string {
	child, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 {
		return errno.Error()
	}
	if child == 0 {
		status := uintptr(0)
		for i := from; i < to; i++ {
			paint := c.pages[i].paint
			if private {
				paint = 0
			}
			if !c.pages[i].holds(paint) {
				status = 1
			}
		}
		for {
			_, _, _ = syscall.RawSyscall(unix.SYS_EXIT_GROUP, status, 0, 0)
		}
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(int(child), &status, 0, nil); err != nil {
		return err.Error()
	}
	if status.ExitStatus() != 0 {
		return fmt.Sprintf("the child ended with %#x", int(status))
	}
	return "ok"
}
