package sdk

import (
	"io"
	"log/slog"
	"os"
)

// logger writes to the real standard error, which the host reads line by line. It
// is made before go-plugin replaces os.Stderr by a pipe, which the host reads only
// while it is connected.
var logger = newHclogJSONLogger(os.Stderr)

// newHclogJSONLogger returns a logger that writes the JSON lines of hclog, which go-plugin's
// host end understands. It writes all levels: the host filters them.
func newHclogJSONLogger(w io.Writer) *slog.Logger {
	const everything = slog.LevelDebug - 100
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: everything, ReplaceAttr: renameToHclogAttr}))
}

// renameToHclogAttr renames the attributes of slog to those of hclog.
func renameToHclogAttr(groups []string, a slog.Attr) slog.Attr {
	if len(groups) > 0 {
		return a
	}
	// Fields of the author's may have the keys of slog's own, but not their types.
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

// hclogLevel returns the name of the level in hclog.
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
