package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"dormouse/internal/bytesize"
)

// stateUsage is what an owner keeps, as State.owners returns it.
type stateUsage struct {
	Owner     string `json:"owner"`
	Instance  bool   `json:"instance"`
	Revision  int64  `json:"revision"`
	Keys      int64  `json:"keys"`
	KeyBytes  int64  `json:"keybytes"`
	Blobs     int64  `json:"blobs"`
	BlobBytes int64  `json:"blobbytes"`
}

// stateKey is a key as State.list returns it.
type stateKey struct {
	Key      string          `json:"key"`
	Value    json.RawMessage `json:"value"`
	Revision int64           `json:"revision"`
	Changed  string          `json:"changed"`
}

// stateBlob is a blob as State.listblobs returns it.
type stateBlob struct {
	Name        string `json:"name"`
	Size        int64  `json:"size"`
	ContentType string `json:"contenttype"`
	SHA256      string `json:"sha256"`
	Revision    int64  `json:"revision"`
	Changed     string `json:"changed"`
}

// callState calls a method of State and decodes its result.
func callState[T any](ctx context.Context, c *client, method string, params any) (result T, err error) {
	answer, err := c.call(ctx, "State."+method, params)
	if err == nil {
		if err = json.Unmarshal(answer, &result); err != nil {
			err = fmt.Errorf("cannot understand the host's state: %w", err)
		}
	}
	return result, err
}

// keysOf returns all keys of an owner with that prefix.
func keysOf(ctx context.Context, c *client, owner, prefix string) ([]stateKey, error) {
	all := []stateKey{}
	for after := ""; ; {
		page, err := callState[struct {
			Entries []stateKey
			Next    string
		}](ctx, c, "list", map[string]any{"owner": owner, "prefix": prefix, "after": after, "values": true, "limit": 1000})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Entries...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// blobsOf returns all blobs of an owner with that prefix.
func blobsOf(ctx context.Context, c *client, owner, prefix string) ([]stateBlob, error) {
	all := []stateBlob{}
	for after := ""; ; {
		page, err := callState[struct {
			Blobs []stateBlob
			Next  string
		}](ctx, c, "listblobs", map[string]any{"owner": owner, "prefix": prefix, "after": after, "limit": 1000})
		if err != nil {
			return nil, err
		}
		all = append(all, page.Blobs...)
		if after = page.Next; after == "" {
			return all, nil
		}
	}
}

// stateListVerb returns the action that lists what plugins keep.
func stateListVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		if len(args) == 0 {
			return listOwners(ctx, c, t, format)
		}
		prefix := ""
		if len(args) > 1 {
			prefix = args[1]
		}
		keys, err := keysOf(ctx, c, args[0], prefix)
		var blobs []stateBlob
		if err == nil {
			blobs, err = blobsOf(ctx, c, args[0], prefix)
		}
		if err != nil {
			return fmt.Errorf("cannot list the state of %s: %w", args[0], err)
		}
		if format.isJSON() {
			return t.printIndentedJSON(map[string]any{"keys": keys, "blobs": blobs})
		}
		rows := table{}
		rows.addRow("KIND", "NAME", "SIZE", "REVISION", "CHANGED", "CONTENT")
		for _, k := range keys {
			rows.addRow("key", k.Key, bytesize.Format(int64(len(k.Value))), fmt.Sprint(k.Revision), formatTimeAndAge(k.Changed), cutWithEllipsis(string(k.Value), 60))
		}
		for _, b := range blobs {
			rows.addRow("blob", b.Name, bytesize.Format(b.Size), fmt.Sprint(b.Revision), formatTimeAndAge(b.Changed), b.ContentType)
		}
		if len(keys)+len(blobs) == 0 {
			t.printf("%s keeps nothing of that name\n", args[0])
			return nil
		}
		t.printf("%s", rows.alignedText(t.width))
		return nil
	}
}

// listOwners prints what each owner keeps.
func listOwners(ctx context.Context, c *client, t *terminal, format *outputFormat) error {
	answer, err := c.call(ctx, "State.owners", nil)
	if err != nil {
		return fmt.Errorf("cannot list the state of plugins: %w", err)
	}
	return printJSONOrText(t, format, "state", answer, func(all []stateUsage) string {
		if len(all) == 0 {
			return "no plugin keeps anything with the host\n"
		}
		rows := table{}
		rows.addRow("NAME", "INSTANCE", "KEYS", "SIZE", "BLOBS", "SIZE", "REVISION")
		for _, u := range all {
			rows.addRow(u.Owner, map[bool]string{true: "yes", false: "no"}[u.Instance], fmt.Sprint(u.Keys), bytesOrDash(u.KeyBytes), fmt.Sprint(u.Blobs), bytesOrDash(u.BlobBytes), fmt.Sprint(u.Revision))
		}
		return rows.alignedText(t.width)
	})
}

// stateGetVerb returns the action that prints a key, or a blob.
func stateGetVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	blob := flags.Bool("blob", false, "KEY is the name of a blob")
	return func(ctx context.Context, t *terminal, args []string) error {
		if *blob {
			if err := c.getBlob(ctx, args[0], args[1], t.out); err != nil {
				return fmt.Errorf("cannot get the blob %s of %s: %w", args[1], args[0], err)
			}
			return nil
		}
		k, err := callState[stateKey](ctx, c, "get", map[string]any{"owner": args[0], "key": args[1]})
		if err != nil {
			return fmt.Errorf("cannot get the key %s of %s: %w", args[1], args[0], err)
		}
		return t.printIndentedJSON(k.Value)
	}
}

// addRevisionFlag declares the flag --if-revision, and returns the revision, nil without it.
func addRevisionFlag(flags *flag.FlagSet) *json.RawMessage {
	var wanted json.RawMessage
	flags.Func("if-revision", "only if it has the revision `N` now; 0 for one that is not there", func(text string) error {
		var n uint64
		if err := json.Unmarshal([]byte(text), &n); err != nil {
			return errors.New("it must be a number")
		}
		wanted = json.RawMessage(text)
		return nil
	})
	return &wanted
}

// stateSetVerb returns the action that sets a key, or puts a blob.
func stateSetVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	blob := flags.Bool("blob", false, "KEY is the name of a blob, and the third argument its FILE or -")
	contentType := flags.String("type", "", "what a blob is, a `CONTENT-TYPE` such as text/csv (default application/octet-stream)")
	revision := addRevisionFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		owner, key := args[0], args[1]
		if *blob {
			made, err := c.putBlobFile(ctx, t, owner, key, args[2], blobHeaders{contentType: *contentType, revision: string(*revision)})
			if err != nil {
				return fmt.Errorf("cannot set the blob %s of %s: %w", key, owner, err)
			}
			t.printf("%d\n", made.Revision)
			return nil
		}
		if *contentType != "" {
			return &usageError{err: errors.New("--type goes with --blob")}
		}
		value, err := readJSONArgument(t.in, args[2])
		if err != nil {
			return err
		}
		params := map[string]any{"owner": owner, "key": key, "value": value}
		if *revision != nil {
			params["ifrevision"] = *revision
		}
		made, err := callState[stateKey](ctx, c, "set", params)
		if err != nil {
			return fmt.Errorf("cannot set the key %s of %s: %w", key, owner, err)
		}
		t.printf("%d\n", made.Revision)
		return nil
	}
}

// putBlobFile puts the content of a file, or of standard input for "-", as a blob.
func (c *client) putBlobFile(ctx context.Context, t *terminal, owner, name, path string, h blobHeaders) (stateBlob, error) {
	if path == "-" {
		return c.putBlob(ctx, owner, name, io.NopCloser(t.in), h)
	}
	f, err := os.Open(path)
	if err != nil {
		return stateBlob{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return stateBlob{}, errors.Join(err, f.Close())
	}
	h.size = info.Size()
	h.isSizeKnown = info.Mode().IsRegular()
	return c.putBlob(ctx, owner, name, f, h) // which closes it
}

// stateDeleteVerb returns the action that deletes keys, blobs, or all of an owner.
func stateDeleteVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	blob := flags.Bool("blob", false, "each KEY is the name of a blob")
	all := flags.Bool("all", false, "all keys and blobs")
	return func(ctx context.Context, t *terminal, args []string) error {
		owner, names := args[0], args[1:]
		if *all == (len(names) > 0) {
			return &usageError{err: errors.New("it takes either KEYs or --all")}
		}
		if *all {
			if _, err := c.call(ctx, "State.remove", map[string]any{"owner": owner}); err != nil {
				return fmt.Errorf("cannot delete the state of %s: %w", owner, err)
			}
			t.printf("%s keeps nothing any more\n", owner)
			return nil
		}
		method, member := "delete", "key"
		if *blob {
			method, member = "deleteblob", "name"
		}
		var failed []error
		for _, name := range names {
			gone, err := callState[struct{ Old *struct{} }](ctx, c, method, map[string]any{"owner": owner, member: name})
			switch {
			case errors.Is(err, errUnreachable):
				return err
			case err != nil:
				failed = append(failed, fmt.Errorf("cannot delete %s of %s: %w", name, owner, err))
			case gone.Old == nil:
				failed = append(failed, fmt.Errorf("%s has no %s %s", owner, map[bool]string{true: "blob", false: "key"}[*blob], name))
			default:
				t.printf("%s is deleted\n", name)
			}
		}
		return errors.Join(failed...)
	}
}

// timeFromText returns the time that a host has sent, the present time if it is not one.
func timeFromText(text string) time.Time {
	at := parseTimeOrZero(text)
	if at.IsZero() {
		return time.Now()
	}
	return at
}
