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

// memory is the memory of the last fill.
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

type fillResult struct {
	MiB    int    `json:"mib"`
	SHA256 string `json:"sha256"`
}

type digestResult struct {
	SHA256 string `json:"sha256"`
}

// fill allocates memory and fills it with a pattern. It frees the memory of the
// last fill first, also if it then fails.
func (c *counter) fill(ctx context.Context, p fillParams) (fillResult, error) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	if c.memory.data != nil {
		c.memory.data = nil
		debug.FreeOSMemory() // else the old memory would stay resident until the next collection
	}
	data := make([]byte, p.MiB*mebibyte)
	write := patterns[p.Pattern]
	random := rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	for chunk := range slices.Chunk(data, mebibyte) {
		if err := ctx.Err(); err != nil {
			return fillResult{}, fmt.Errorf("cannot fill %d MiB: %w", p.MiB, err)
		}
		write(chunk, random)
	}
	sum, err := sha256Hex(ctx, data)
	if err != nil {
		return fillResult{}, err
	}
	c.memory.data = data
	return fillResult{p.MiB, sum}, nil
}

func (c *counter) digest(ctx context.Context, _ noParams) (digestResult, error) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	sum, err := sha256Hex(ctx, c.memory.data)
	return digestResult{sum}, err
}

// sha256Hex returns the SHA-256 of data.
func sha256Hex(ctx context.Context, data []byte) (string, error) {
	hash := sha256.New()
	for chunk := range slices.Chunk(data, mebibyte) {
		if err := ctx.Err(); err != nil {
			return "", fmt.Errorf("cannot digest %d MiB: %w", len(data)/mebibyte, err)
		}
		hash.Write(chunk)
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// patterns writes every byte of a chunk, so that every page becomes resident.
var patterns = map[string]func(chunk []byte, random *rand.Rand){
	"zero":   func(chunk []byte, _ *rand.Rand) { clear(chunk) },
	"random": fillRandom,
	"text":   fillLogText,
}

func fillRandom(chunk []byte, random *rand.Rand) {
	for word := range slices.Chunk(chunk, 8) {
		binary.NativeEndian.PutUint64(word, random.Uint64())
	}
}

// fillLogText writes lines like those of a log, which compress as well.
func fillLogText(chunk []byte, random *rand.Rand) {
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
