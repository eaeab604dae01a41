package configs

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// StartMode is the state in which an instance is found once the host is up.
type StartMode string

// The start modes.
const (
	StartDeactivated StartMode = "deactivated"
	StartActivated   StartMode = "activated"
	StartUnavailable StartMode = "unavailable"
)

// OnCall is what a call meets when the instance is hibernated.
type OnCall string

// The answers to a call: refuse it, or hold it and wake the instance.
const (
	OnCallReject OnCall = "reject"
	OnCallWake   OnCall = "wake"
)

// WakeMode is when a woken instance runs.
type WakeMode string

// The values of the key "wake".
const (
	WakeAuto  WakeMode = "auto"  // lazy where that is quicker and possible
	WakeEager WakeMode = "eager" // after its memory was read and verified
	WakeLazy  WakeMode = "lazy"  // before: each piece is read and verified when it is needed
)

// Sleep is how an instance is hibernated.
type Sleep string

// The kinds of sleep. A checkpoint is an image on disk that outlives the host. A
// plugin that is paged out stays as it is, frozen and in the swap.
const (
	SleepAuto       Sleep = "auto" // a checkpoint if it can be had, else paged out
	SleepCheckpoint Sleep = "checkpoint"
	SleepPageOut    Sleep = "pageout"
)

// OnHostExit is what becomes of running plugins when their host is killed or hands
// over to the next.
type OnHostExit string

// The policies: the plugins end too, or run on until the next host adopts them.
const (
	HostExitStop  OnHostExit = "stop"
	HostExitAdopt OnHostExit = "adopt"
)

// OnFailedWake is what becomes of an instance whose image cannot be restored.
type OnFailedWake string

// The ways on from a failed wake: start afresh, or stay down with the reason kept.
const (
	FailedWakeColdStart  OnFailedWake = "cold-start"
	FailedWakeDeactivate OnFailedWake = "deactivate"
)

// OnBudget is what a hibernation meets for which the images' budget has no room.
type OnBudget string

// The ways on: it is refused, or the oldest image goes and its instance with it.
const (
	OnBudgetRefuse OnBudget = "refuse"
	OnBudgetEvict  OnBudget = "evict"
)

// Compression is how new images are compressed.
type Compression string

// The compressions.
const (
	CompressNone Compression = "none"
	CompressZstd Compression = "zstd"
)

// Dialect is a generation of Thunder's wire.
type Dialect string

// The dialects: what devices in the field speak, and the newer one.
const (
	DialectR4 Dialect = "thunder-r4"
	DialectR5 Dialect = "thunder-r5"
)

// RestartPolicy says after which ends a plugin is started again.
type RestartPolicy string

// The restart policies. On-failure leaves a plugin alone that ended with status 0.
const (
	RestartNever     RestartPolicy = "never"
	RestartOnFailure RestartPolicy = "on-failure"
	RestartAlways    RestartPolicy = "always"
)

var (
	logLevels  = []string{"trace", "debug", "info", "warn", "error"}
	logFormats = []string{"auto", "console", "json"}

	exitReasons = []string{
		"requested", "automatic", "failure", "memory exceeded", "startup", "shutdown", "conditions",
		"watchdog expired", "initialization failed", "instantiation failed",
	}
)

// Duration is a time.Duration that a file writes as "1m30s". As text it is
// always more than zero, so that no timeout can be switched off by accident.
type Duration time.Duration

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes what UnmarshalText reads back exactly.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText leaves d as it was when it returns an error.
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

// Bytes is a size that a file writes as "64MiB".
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String is b in the largest unit of which it is a whole number.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.size == 0 && u.size > 1 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// MarshalText writes what UnmarshalText reads back exactly.
func (b Bytes) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText leaves b as it was when it returns an error.
func (b *Bytes) UnmarshalText(text []byte) error {
	number, size := string(text), Bytes(1)
	for _, u := range units {
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

// ControllerCallsign is the callsign of the host itself, which no configured
// instance may have.
const ControllerCallsign = "Controller"

var callsignForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,63}$`)

// CheckCallsign says what keeps a name from being the callsign of an instance.
// A callsign that passes is safe as a file name and as one segment of a URL.
func CheckCallsign(name string) error {
	switch {
	case name == "":
		return errors.New("a callsign must not be empty")
	case !callsignForm.MatchString(name):
		return fmt.Errorf(`%q is not a callsign: it must be a letter, then at most 63 letters, digits, "_", "." or "-"`, name)
	case strings.Contains(name, "..") || strings.HasSuffix(name, "."):
		return fmt.Errorf(`%q is not a callsign: it must not hold ".." nor end in "."`, name)
	case strings.EqualFold(name, ControllerCallsign):
		return fmt.Errorf("the callsign %q is reserved: the host itself answers to it", name)
	case strings.EqualFold(name, "communicator"):
		return fmt.Errorf("the callsign %q is reserved: the native clients' socket is called so, beside the instances' directories", name)
	}
	return nil
}

func checkListen(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address such as \"127.0.0.1:9998\"", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("the port of %q must be a number from 0 to 65535", address)
	}
	if !IsLoopback(host) {
		return fmt.Errorf("cannot listen on %q: there is no token or TLS yet: "+
			"anyone who can reach it would control the box; listen on a loopback address", address)
	}
	return nil
}

// IsLoopback reports whether a host, a name or an address, is this machine alone.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	return addr.IsLoopback()
}

func checkOrigin(origin string) error {
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "*") || origin != u.Scheme+"://"+u.Host {
		return fmt.Errorf("%q is not a web origin such as \"https://tv.example:8443\"", origin)
	}
	return nil
}

func checkHostName(name string) error {
	if name == "" || strings.ContainsAny(name, "/@*, \t") {
		return fmt.Errorf("%q is not a host name such as \"tv.example\"", name)
	}
	return nil
}

func notEmpty(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// oneOf returns an error that names the nearest of the allowed words.
func oneOf[T ~string](word T, allowed []T) error {
	var names, quoted []string
	for _, a := range allowed {
		if word == a {
			return nil
		}
		names = append(names, string(a))
		quoted = append(quoted, strconv.Quote(string(a)))
	}
	last := len(quoted) - 1
	return fmt.Errorf("%q is not %s or %s%s", string(word),
		strings.Join(quoted[:last], ", "), quoted[last], didYouMean(string(word), names))
}
