package configs

// StartMode is the state that an instance has after the host has started.
type StartMode string

// The values of the key "start-mode".
const (
	StartDeactivated StartMode = "deactivated"
	StartActivated   StartMode = "activated"
	StartUnavailable StartMode = "unavailable"
)

// OnCall is what the host does with a call to a hibernated instance.
type OnCall string

// The values of the key "on-call": refuse the call, or hold it and wake the instance.
const (
	OnCallReject OnCall = "reject"
	OnCallWake   OnCall = "wake"
)

// WakeMode is how much memory a wake loads before the plugin runs again.
type WakeMode string

// The values of the key "wake".
const (
	WakeAuto  WakeMode = "auto"  // lazy if that is quicker and possible
	WakeEager WakeMode = "eager" // all, read and verified
	WakeLazy  WakeMode = "lazy"  // none: each piece is read and verified when it is needed
)

// Sleep is the kind of sleep into which the host puts an instance that it hibernates.
type Sleep string

// The values of the key "sleep". A checkpoint ends the plugin and leaves an image on disk
// that outlives the host. Page-out freezes the plugin and moves its memory to the swap.
const (
	SleepAuto       Sleep = "auto" // a checkpoint if possible, else page-out
	SleepCheckpoint Sleep = "checkpoint"
	SleepPageOut    Sleep = "pageout"
)

// OnHostExit is what happens to running plugins when their host is killed or hands over
// to the next host.
type OnHostExit string

// The values of the key "on-host-exit": the plugins end with the host, or run on until
// the next host adopts them.
const (
	HostExitStop  OnHostExit = "stop"
	HostExitAdopt OnHostExit = "adopt"
)

// OnFailedWake is what happens to an instance whose image can't be restored any more.
type OnFailedWake string

// The values of the key "on-failed-wake": start the program anew, leave the instance
// hibernated, or deactivate it and keep the reason.
const (
	FailedWakeColdStart  OnFailedWake = "cold-start"
	FailedWakeKeep       OnFailedWake = "keep"
	FailedWakeDeactivate OnFailedWake = "deactivate"
)

// OnBudget is what happens when the image of a hibernation would exceed the budget.
type OnBudget string

// The values of the key "on-budget": refuse the hibernation, or deactivate the instance
// with the oldest image.
const (
	OnBudgetRefuse OnBudget = "refuse"
	OnBudgetEvict  OnBudget = "evict"
)

// UnknownKinds is what happens to a hibernation whose plugin holds an object of a kind of which
// it is not known whether it can sleep.
type UnknownKinds string

// The values of the key "unknown": refuse the hibernation, or try it.
const (
	UnknownRefuse UnknownKinds = "refuse"
	UnknownTry    UnknownKinds = "try"
)

// Compression is how new images are compressed.
type Compression string

// The values of the key "compress": do not compress images, or use Zstandard.
const (
	CompressNone Compression = "none"
	CompressZstd Compression = "zstd"
)

// Pressure is what the host does when the machine is short of memory.
type Pressure string

// The values of the key "pressure": do nothing, hibernate plugins, or only log which
// plugins would be hibernated.
const (
	PressureOff    Pressure = "off"
	PressureOn     Pressure = "on"
	PressureReport Pressure = "report"
)

// Dialect is a variant of Thunder's wire format.
type Dialect string

// The values of the key "dialect": Thunder R4, which devices in the field speak, and R5.
const (
	DialectR4 Dialect = "thunder-r4"
	DialectR5 Dialect = "thunder-r5"
)

// RestartPolicy is when the host restarts a plugin that has ended by itself.
type RestartPolicy string

// The values of the key "policy". RestartOnFailure does not restart a plugin that ended
// with status 0.
const (
	RestartNever     RestartPolicy = "never"
	RestartOnFailure RestartPolicy = "on-failure"
	RestartAlways    RestartPolicy = "always"
)

var (
	logLevels  = []string{"trace", "debug", "info", "warn", "error"}
	logFormats = []string{"auto", "console", "json", "journal"}

	exitReasons = []string{
		"requested", "automatic", "failure", "memory exceeded", "startup", "shutdown", "conditions",
		"watchdog expired", "initialization failed", "instantiation failed",
	}
)
