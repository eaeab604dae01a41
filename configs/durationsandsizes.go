package configs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time.Duration, in a file written as "1m30s". A file must not have zero, so
// that no timeout can be switched off by accident.
type Duration time.Duration

// String returns a text such as "1m30s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText returns a text that UnmarshalText reads back exactly.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a text such as "1m30s". Zero is an error. An error leaves d unchanged.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as \"1m30s\"", text)
	}
	if parsed <= 0 {
		return fmt.Errorf("%q must be more than zero", text)
	}
	*d = Duration(parsed)
	return nil
}

// IdleTime is the time without calls after which an instance is suspended or hibernated,
// 0 for never. A file has a text such as "5m", or "never".
type IdleTime time.Duration

const never = "never"

// String returns a text such as "5m0s", or "never" for 0.
func (i IdleTime) String() string {
	if i == 0 {
		return never
	}
	return time.Duration(i).String()
}

// MarshalText returns a text that UnmarshalText reads back exactly.
func (i IdleTime) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText reads a text such as "5m", or "never". An error leaves i unchanged.
func (i *IdleTime) UnmarshalText(text []byte) error {
	if string(text) == never {
		*i = 0
		return nil
	}
	var d Duration
	if err := d.UnmarshalText(text); err != nil {
		return fmt.Errorf("%w, or %q", err, never)
	}
	*i = IdleTime(d)
	return nil
}

// Bytes is a number of bytes, in a file written as "64MiB".
type Bytes int64

var byteUnits = []struct {
	name string
	size Bytes
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String returns b as a whole number of the largest possible unit, such as "64MiB", or
// without a unit if it is 0 or not a number of whole KiB.
func (b Bytes) String() string {
	for _, u := range byteUnits {
		if b != 0 && b%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText returns a text that UnmarshalText reads back exactly.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText reads a text such as "64MiB", or a number of bytes alone. An error leaves b
// unchanged.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, size := string(text), Bytes(1)
	for _, u := range byteUnits {
		if rest, ok := strings.CutSuffix(number, u.name); ok {
			number, size = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a size such as \"64MiB\"", text)
	case n < 0:
		return fmt.Errorf("%q must not be less than zero", text)
	case n > math.MaxInt64/int64(size):
		return fmt.Errorf("%q is too large", text)
	}
	*b = Bytes(n) * size
	return nil
}
