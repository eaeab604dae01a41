package images

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"
)

// Numbers of fields, from CRIU's images/fdinfo.proto and images/regfile.proto.
const (
	fieldRegularFile = 3 // of file_entry
	fieldFileSize    = 8 // of reg_file_entry
)

// RemoveFileSizes removes from the image in dir the sizes of the files that the tree has open
// or mapped. CRIU would not restore the tree if the size of one of them has changed.
func RemoveFileSizes(dir string) error {
	path := filepath.Join(dir, filesName)
	entries, err := readRawEntries(path, magicFiles)
	if err != nil {
		return err
	}
	text := binary.LittleEndian.AppendUint32(nil, magicCommon)
	text = binary.LittleEndian.AppendUint32(text, magicFiles)
	for _, entry := range entries {
		without, err := rewriteField(entry, fieldRegularFile, func(file []byte) ([]byte, error) {
			return rewriteField(file, fieldFileSize, nil)
		})
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", path, err)
		}
		text = binary.LittleEndian.AppendUint32(text, uint32(len(without)))
		text = append(text, without...)
	}
	return overwrite(path, text)
}

// overwrite gives the file at path shorter contents. It does not empty the file first: some
// file systems then wait for the disk when the file is closed.
func overwrite(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err == nil {
		err = f.Truncate(int64(len(text)))
	}
	return errors.Join(err, f.Close())
}

// rewriteField returns the message with what rewrite makes of the value of each field with
// that number, or without these fields if rewrite is nil. It keeps all others as they are,
// also those that go-criu does not know.
func rewriteField(message []byte, number protowire.Number, rewrite func(value []byte) ([]byte, error)) ([]byte, error) {
	var rewritten []byte
	for len(message) > 0 {
		found, kind, tagSize := protowire.ConsumeTag(message)
		if tagSize < 0 {
			return nil, protowire.ParseError(tagSize)
		}
		size := protowire.ConsumeFieldValue(found, kind, message[tagSize:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := message[:tagSize+size]
		message = message[tagSize+size:]
		switch {
		case found != number:
			rewritten = append(rewritten, field...)
		case rewrite != nil && kind == protowire.BytesType:
			value, _ := protowire.ConsumeBytes(field[tagSize:])
			value, err := rewrite(value)
			if err != nil {
				return nil, err
			}
			rewritten = append(rewritten, field[:tagSize]...)
			rewritten = protowire.AppendBytes(rewritten, value)
		}
	}
	return rewritten, nil
}
