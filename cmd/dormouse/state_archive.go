package main

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Names in an archive of state, and of the PAX records of its blobs. The archive begins with a
// description, which says how many keys and blobs follow.
const (
	archiveHead   = "dormouse-state.json"
	archiveKeys   = "keys.jsonl"
	archiveBlobs  = "blobs/"
	paxType       = "DORMOUSE.contenttype"
	paxSHA256     = "DORMOUSE.sha256"
	archiveFormat = 1
)

// archiveDescription is the first file of an archive.
type archiveDescription struct {
	Format int    `json:"format"`
	Owner  string `json:"owner"`
	Keys   int    `json:"keys"`
	Blobs  int    `json:"blobs"`
}

// stateExportVerb returns the action that writes an archive.
func stateExportVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) (err error) {
		if len(args) == 1 {
			if t.outIsTerminal {
				return &usageError{err: errors.New("an archive is not for a terminal; name a FILE")}
			}
			return exportState(ctx, c, args[0], t.out)
		}
		f, err := os.CreateTemp(filepath.Dir(args[1]), ".export-*")
		if err != nil {
			return fmt.Errorf("cannot export the state of %s: %w", args[0], err)
		}
		err = exportState(ctx, c, args[0], f)
		if err == nil {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err == nil {
			err = os.Rename(f.Name(), args[1])
		}
		if err != nil {
			return errors.Join(err, os.Remove(f.Name()))
		}
		return nil
	}
}

// exportState writes all keys and blobs of an owner as an archive.
func exportState(ctx context.Context, c *client, owner string, to io.Writer) error {
	keys, err := keysOf(ctx, c, owner, "")
	var blobs []stateBlob
	if err == nil {
		blobs, err = blobsOf(ctx, c, owner, "")
	}
	if err != nil {
		return fmt.Errorf("cannot export the state of %s: %w", owner, err)
	}
	archive := tar.NewWriter(to)
	err = addJSONLines(archive, archiveHead, archiveDescription{archiveFormat, owner, len(keys), len(blobs)})
	if err == nil {
		err = addJSONLines(archive, archiveKeys, keys...)
	}
	for _, b := range blobs {
		if err == nil {
			err = exportBlob(ctx, c, owner, b, archive)
		}
	}
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot export the state of %s: %w", owner, err)
	}
	return nil
}

// addJSONLines adds a file with each value on a line of its own.
func addJSONLines[T any](archive *tar.Writer, name string, values ...T) error {
	var text strings.Builder
	lines := json.NewEncoder(&text)
	lines.SetEscapeHTML(false)
	for _, v := range values {
		if err := lines.Encode(v); err != nil {
			return err
		}
	}
	err := archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(text.Len()), Format: tar.FormatPAX})
	if err == nil {
		_, err = io.WriteString(archive, text.String())
	}
	return err
}

// exportBlob adds a blob, as it is now.
func exportBlob(ctx context.Context, c *client, owner string, b stateBlob, archive *tar.Writer) error {
	response, err := c.openBlob(ctx, owner, b.Name)
	if err != nil {
		return fmt.Errorf("%s: %w", b.Name, err)
	}
	defer response.Body.Close()
	err = archive.WriteHeader(&tar.Header{
		Name: archiveBlobs + b.Name, Mode: 0o600, Size: response.ContentLength, ModTime: timeFromText(b.Changed), Format: tar.FormatPAX,
		PAXRecords: map[string]string{paxType: response.Header.Get("Content-Type"), paxSHA256: sumOf(response)},
	})
	if err == nil {
		err = copyAndVerify(archive, response)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", b.Name, err)
	}
	return nil
}

// stateImportVerb returns the action that reads an archive.
func stateImportVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	merge := flags.Bool("merge", false, "lay the archive over what is there")
	return func(ctx context.Context, t *terminal, args []string) error {
		in := t.in
		if len(args) > 1 {
			f, err := os.Open(args[1])
			if err != nil {
				return fmt.Errorf("cannot import: %w", err)
			}
			defer f.Close()
			in = f
		}
		i := &stateImport{client: c, owner: args[0]}
		err := i.checkEmpty(ctx, *merge)
		if err == nil {
			err = i.read(ctx, tar.NewReader(bufio.NewReaderSize(in, 1<<20)))
		}
		if err != nil {
			return fmt.Errorf("cannot import the state of %s: %w", i.owner, err)
		}
		t.printf("imported %s and %s\n", countOf(i.keys, "key"), countOf(i.blobs, "blob"))
		return nil
	}
}

// stateImport is an archive that is being read.
type stateImport struct {
	client      *client
	owner       string
	keys, blobs int
}

// checkEmpty returns an error if the owner keeps something, unless merge says that this does not
// matter.
func (i *stateImport) checkEmpty(ctx context.Context, merge bool) error {
	has, err := callState[stateUsage](ctx, i.client, "usage", map[string]any{"owner": i.owner})
	if err == nil && !merge && has.Keys+has.Blobs > 0 {
		err = fmt.Errorf("it keeps %s and %s; --merge lays the archive over them, and `dormouse state delete %s --all` deletes them first", countOf(int(has.Keys), "key"), countOf(int(has.Blobs), "blob"), i.owner)
	}
	return err
}

// read puts back what is in the archive.
func (i *stateImport) read(ctx context.Context, archive *tar.Reader) error {
	h, err := archive.Next()
	if err != nil || h.Name != archiveHead {
		return fmt.Errorf("it is not an archive of `dormouse state export`%s", afterColon(err))
	}
	var head archiveDescription
	if err := json.NewDecoder(archive).Decode(&head); err != nil {
		return fmt.Errorf("cannot read %s: %w", archiveHead, err)
	}
	if head.Format != archiveFormat {
		return fmt.Errorf("the archive has format %d, and this program knows %d", head.Format, archiveFormat)
	}
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = i.readFile(ctx, h, archive)
		}
		if err != nil {
			return fmt.Errorf("%w; %d of %d keys and %d of %d blobs are imported", err, i.keys, head.Keys, i.blobs, head.Blobs)
		}
	}
	if i.keys != head.Keys || i.blobs != head.Blobs {
		return fmt.Errorf("the archive is cut off: it has %d of %d keys and %d of %d blobs, which are imported", i.keys, head.Keys, i.blobs, head.Blobs)
	}
	return nil
}

// afterColon returns ": " and the error, nothing for nil.
func afterColon(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// readFile puts back the keys, or the blob, in a file of the archive.
func (i *stateImport) readFile(ctx context.Context, h *tar.Header, content io.Reader) error {
	if h.Name == archiveKeys {
		return i.readKeys(ctx, content)
	}
	name, isBlob := strings.CutPrefix(h.Name, archiveBlobs)
	if !isBlob {
		return fmt.Errorf("the archive has a file %s, which no export makes", h.Name)
	}
	sum, err := hex.DecodeString(h.PAXRecords[paxSHA256])
	if err != nil {
		return fmt.Errorf("the blob %s has a malformed SHA-256", name)
	}
	_, err = i.client.putBlob(ctx, i.owner, name, io.NopCloser(content), blobHeaders{
		contentType: h.PAXRecords[paxType], sha256: sum, size: h.Size, isSizeKnown: true,
	})
	if err != nil {
		return fmt.Errorf("the blob %s: %w", name, err)
	}
	i.blobs++
	return nil
}

// Limits of the keys that are set by one request.
const (
	keysAtOnce  = 64
	bytesAtOnce = 512 << 10
)

// readKeys sets all keys in a file of the archive, many by one request.
func (i *stateImport) readKeys(ctx context.Context, content io.Reader) error {
	lines := json.NewDecoder(content)
	var changes []map[string]any
	size := 0
	flush := func() error {
		if len(changes) == 0 {
			return nil
		}
		_, err := i.client.call(ctx, "State.change", map[string]any{"owner": i.owner, "changes": changes})
		if err == nil {
			i.keys += len(changes)
		}
		changes, size = nil, 0
		return err
	}
	for {
		var k stateKey
		err := lines.Decode(&k)
		if errors.Is(err, io.EOF) {
			return flush()
		}
		if err != nil {
			return fmt.Errorf("cannot read the keys: %w", err)
		}
		changes = append(changes, map[string]any{"key": k.Key, "set": k.Value})
		if size += len(k.Key) + len(k.Value); len(changes) == keysAtOnce || size >= bytesAtOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
}
