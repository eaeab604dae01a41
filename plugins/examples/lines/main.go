// Lines is a plugin with one flow of each kind: a source that cuts texts into lines, a
// transform that makes them upper case, and a sink that appends them to a file. Its method say
// publishes a line by itself.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"dormouse/plugins/sdk"
)

func main() { sdk.Serve(&lines{}) }

type lines struct {
	in   *sdk.Instance
	file string // path
}

// Initialize reads the configuration. Without the key file, the file is lines.txt in the
// persistent directory.
func (l *lines) Initialize(_ context.Context, in *sdk.Instance) error {
	config := struct {
		File string `json:"file"`
	}{filepath.Join(in.Persistent, "lines.txt")}
	err := in.Configuration.Decode(&config)
	l.in, l.file = in, config.File
	return err
}

func (l *lines) Deinitialize(context.Context, sdk.Reason) error { return nil }

func (l *lines) Information() sdk.Information {
	return sdk.Information{Description: "cuts texts into lines and keeps them", Version: sdk.Version{Major: 1}}
}

func (l *lines) Methods() sdk.Methods { return sdk.Methods{"say": sdk.Method(l.say)} }

// say publishes a line to the plugin's own source, and returns the id of the message. What a
// source's own plugin publishes is a result, so it does not come to Process of the source.
func (l *lines) say(ctx context.Context, line string) (id string, err error) {
	id, _, err = l.in.Host.Publish(ctx, "texts", sdk.Message{ContentType: "text/plain", Body: []byte(line)})
	return id, err
}

// Process works on one message of the flow.
func (l *lines) Process(_ context.Context, flow string, m sdk.Message) ([]sdk.Message, error) {
	switch flow {
	case "texts":
		return cut(m), nil
	case "loud":
		m.Body = bytes.ToUpper(m.Body)
		return []sdk.Message{{ContentType: m.ContentType, Metadata: m.Metadata, Body: m.Body}}, nil
	case "file":
		return nil, l.append(m.Body)
	default:
		return nil, &sdk.Error{Code: sdk.InvalidParameter, Message: fmt.Sprintf("there is no flow %q here", flow)}
	}
}

// cut returns one message for each line of the text in m.
func cut(m sdk.Message) (results []sdk.Message) {
	for line := range bytes.Lines(m.Body) {
		results = append(results, sdk.Message{
			ContentType: m.ContentType, Metadata: m.Metadata, Body: bytes.TrimSuffix(line, []byte("\n")),
		})
	}
	return results
}

// append writes the line to the end of the file, and returns when the line is on the disk.
func (l *lines) append(line []byte) (err error) {
	f, err := os.OpenFile(l.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(line, '\n')); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
