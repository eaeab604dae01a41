package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
)

const (
	mebibyte   = 1 << 20
	maxFillMiB = 4096
)

// memory is what fill allocated last.
type memory struct {
	mu   sync.Mutex
	data []byte
}

type fillParams struct {
	MiB     int    `json:"mib"`
	Pattern string `json:"pattern"`
}

func (p *fillParams) Validate() error {
	if p.MiB < 0 || p.MiB > maxFillMiB {
		return fmt.Errorf("mib must be from 0 to %d", maxFillMiB)
	}
	if p.Pattern == "" {
		p.Pattern = "random"
	}
	if patterns[p.Pattern] == nil {
		return fmt.Errorf("pattern must be random, zero or text, not %q", p.Pattern)
	}
	return nil
}

type filled struct {
	MiB    int    `json:"mib"`
	SHA256 string `json:"sha256"`
}

type digest struct {
	SHA256 string `json:"sha256"`
}

// fill gives up the memory of the fill before it, also when it ends early.
func (c *counter) fill(ctx context.Context, p fillParams) (filled, error) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	if c.memory.data != nil {
		c.memory.data = nil
		debug.FreeOSMemory() // or both would be resident until the next collection
	}
	data := make([]byte, p.MiB*mebibyte)
	paint := patterns[p.Pattern]
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for chunk := range slices.Chunk(data, mebibyte) {
		if err := ctx.Err(); err != nil {
			return filled{}, fmt.Errorf("cannot fill %d MiB: %w", p.MiB, err)
		}
		paint(chunk, random)
	}
	sum, err := sum(ctx, data)
	if err != nil {
		return filled{}, err
	}
	c.memory.data = data
	return filled{p.MiB, sum}, nil
}

func (c *counter) digest(ctx context.Context, _ none) (digest, error) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	sum, err := sum(ctx, c.memory.data)
	return digest{sum}, err
}

func sum(ctx context.Context, data []byte) (string, error) {
	hash := sha256.New()
	for chunk := range slices.Chunk(data, mebibyte) {
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("cannot digest %d MiB: %w", len(data)/mebibyte, err)
		}
		hash.Write(chunk)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// patterns write every byte, so that every page becomes resident.
var patterns = map[string]func(chunk []byte, random *rand.Rand){
	"zero":   func(chunk []byte, _ *rand.Rand) { clear(chunk) },
	"random": paintRandom,
	"text":   paintText,
}

func paintRandom(chunk []byte, random *rand.Rand) {
	for word := range slices.Chunk(chunk, 8) {
		binary.NativeEndian.PutUint64(word, random.Uint64())
	}
}

// paintText writes lines as of a log, which compress as logs do.
func paintText(chunk []byte, random *rand.Rand) {
	const longest = 128
	levels := [...]string{"DEBUG ", "INFO ", "INFO ", "WARN "}
	text := chunk[:0]
	for len(text) < len(chunk)-longest {
		text = append(text, "2026-11-22T21:14:"...)
		text = strconv.AppendInt(text, 10+random.Int64N(50), 10)
		text = append(text, "Z "...)
		text = append(text, levels[random.IntN(len(levels))]...)
		text = append(text, "request="...)
		text = strconv.AppendUint(text, random.Uint64(), 16)
		text = append(text, " path=/v1/items/"...)
		text = strconv.AppendInt(text, random.Int64N(5000), 10)
		text = append(text, " status=200 took="...)
		text = strconv.AppendInt(text, random.Int64N(300), 10)
		text = append(text, "ms\n"...)
	}
	for i := len(text); i < len(chunk); i++ {
		chunk[i] = '\n'
	}
}
