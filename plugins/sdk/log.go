package sdk

import (
	"io"
	"log/slog"
	"os"
)

// logger is made before go-plugin puts its own pipes in place of os.Stdout and
// os.Stderr: the host reads the real standard error line by line, the pipes
// only while it is connected.
var logger = newLogger(os.Stderr)

// newLogger writes the lines that go-plugin's host end understands, which are
// hclog's. It writes all levels; what to keep is the host's to decide.
func newLogger(w io.Writer) *slog.Logger {
	const everything = slog.LevelDebug - 100
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: everything, ReplaceAttr: asHclog}))
}

func asHclog(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	// An author's field may have the same key, but hardly the same type too.
	switch value := a.Value.Any().(type) {
	case slog.Level:
		if a.Key == slog.LevelKey {
			return slog.String("@level", hclogLevel(value))
		}
	case string:
		if a.Key == slog.MessageKey {
			return slog.String("@message", value)
		}
	case error:
		return slog.String(a.Key, value.Error())
	default:
		if a.Key == slog.TimeKey && a.Value.Kind() == slog.KindTime {
			return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
		}
	}
	return a
}

func hclogLevel(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}
