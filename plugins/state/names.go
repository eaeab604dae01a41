package state

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of single keys, values, blobs and requests.
const (
	// MaxName is how many bytes a key, or the name of a blob, has at most.
	MaxName = 512
	// MaxValue is how many bytes of JSON a key has at most.
	MaxValue = 64 << 10
	// MaxChanges is how many changes are made as one at most.
	MaxChanges = 64

	maxType = 256 // bytes of a media type
)

// checkText returns an ErrInvalid unless a key, or the name of a blob, can be one.
func checkText(what, text string) error {
	switch {
	case text == "":
		return fmt.Errorf("%w: the %s is missing", ErrInvalid, what)
	case len(text) > MaxName:
		return fmt.Errorf("%w: the %s has %d bytes, and may have %d", ErrTooLarge, what, len(text), MaxName)
	case !utf8.ValidString(text):
		return fmt.Errorf("%w: the %s is not UTF-8", ErrInvalid, what)
	case strings.ContainsFunc(text, unicode.IsControl):
		return fmt.Errorf("%w: the %s %q has a control character", ErrInvalid, what, text)
	}
	return nil
}

// checkKey returns an ErrInvalid or ErrTooLarge unless the text can be a key.
func checkKey(key string) error { return checkText("key", key) }

// checkBlobName returns an ErrInvalid or ErrTooLarge unless the text can be the name of a blob:
// it is like a relative path, so that it can stand in a URL and name a file.
func checkBlobName(name string) error {
	if err := checkText("name of the blob", name); err != nil {
		return err
	}
	if !fs.ValidPath(name) || name == "." {
		return fmt.Errorf(`%w: the name of the blob %q must be like a relative path, without parts that are empty, "." or ".."`, ErrInvalid, name)
	}
	return nil
}

// checkValue returns an ErrInvalid or ErrTooLarge unless a key may have that value.
func checkValue(key string, value json.RawMessage) error {
	if len(value) > MaxValue {
		return fmt.Errorf("%w: the value of the key %q has %d bytes, and may have %d; keep it as a blob", ErrTooLarge, key, len(value), MaxValue)
	}
	if !json.Valid(value) {
		return fmt.Errorf("%w: the value of the key %q is not JSON", ErrInvalid, key)
	}
	return nil
}

// checkedType returns the media type of a blob, in its usual form.
func checkedType(text string) (string, error) {
	if text == "" {
		return "application/octet-stream", nil
	}
	media, parameters, err := mime.ParseMediaType(text)
	if err != nil || !strings.Contains(media, "/") || len(text) > maxType {
		return "", fmt.Errorf("%w: %.64q is not a media type such as text/plain", ErrInvalid, text)
	}
	return mime.FormatMediaType(media, parameters), nil
}
