// Command hog takes memory step by step, as a program does that is in need of it, and says
// "full" on a line when it has all. It ends with its standard input.
//
//	hog MIB STEP-MIB PAUSE
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	size, step, pause := number(1), number(2), must(time.ParseDuration(os.Args[3]))
	ticks := time.NewTicker(pause)
	var held [][]byte
	for taken := 0; taken < size; taken += step {
		part := make([]byte, step<<20)
		for i := 0; i < len(part); i += 4096 {
			part[i] = byte(i>>12) | 1
		}
		held = append(held, part)
		<-ticks.C
	}
	fmt.Println("full", len(held))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func number(i int) int { return must(strconv.Atoi(os.Args[i])) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
