package sdk

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"

	"dormouse/plugins/state/statepb"
)

// Blob is what is known of a blob.
type Blob struct {
	// Name is like a relative path, such as "results/1.json".
	Name        string
	Size        int64
	ContentType string
	SHA256      []byte
	Revision    uint64
	Changed     time.Time
}

// blobPart is how many bytes of a blob are sent in one message.
const blobPart = 256 << 10

// PutBlob makes what can be read from the reader a blob, in the place of the one with that name.
// It is seen once it is whole: if the reader fails or the call is cut off, the host keeps nothing
// of it. An empty contentType stands for application/octet-stream.
func (s *StateStore) PutBlob(ctx context.Context, name, contentType string, from io.Reader) (Blob, error) {
	return s.putBlob(ctx, &statepb.PutBlobStart{Name: name, ContentType: contentType}, from)
}

// PutBlobIf is PutBlob if the present blob of that name has that revision, 0 for none.
func (s *StateStore) PutBlobIf(ctx context.Context, name, contentType string, from io.Reader, revision uint64) (Blob, error) {
	return s.putBlob(ctx, &statepb.PutBlobStart{Name: name, ContentType: contentType, IfRevision: &revision}, from)
}

func (s *StateStore) putBlob(ctx context.Context, start *statepb.PutBlobStart, from io.Reader) (Blob, error) {
	action := fmt.Sprintf("put the blob %q", start.GetName())
	call, cancel := context.WithCancel(s.context(ctx))
	defer cancel() // what is not whole by then is dropped by the host
	stream, err := s.client().PutBlob(call)
	if err == nil {
		err = stream.Send(&statepb.PutBlobRequest{Start: start})
	}
	buffer := make([]byte, blobPart)
	for err == nil {
		n, rerr := io.ReadFull(from, buffer)
		if n > 0 {
			err = stream.Send(&statepb.PutBlobRequest{Data: buffer[:n]})
		}
		if errors.Is(rerr, io.EOF) || errors.Is(rerr, io.ErrUnexpectedEOF) {
			break
		}
		if rerr != nil {
			return Blob{}, fmt.Errorf("cannot %s: %w", action, rerr)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) { // after io.EOF the answer says why
		return Blob{}, stateError(ctx, action, err)
	}
	answer, err := stream.CloseAndRecv()
	if err != nil {
		return Blob{}, stateError(ctx, action, err)
	}
	return blobFromWire(answer), nil
}

// OpenBlob returns a reader of a blob, which the plugin must close. What is read is the blob as
// it was when OpenBlob returned. The reader fails if it does not get all of it, or another
// content than was put. The error of OpenBlob wraps ErrNotFound if there is no such blob.
func (s *StateStore) OpenBlob(ctx context.Context, name string) (*BlobReader, error) {
	return s.openBlob(ctx, &statepb.GetBlobRequest{Name: name})
}

// OpenBlobPart is OpenBlob for the bytes from offset on, at most length of them; 0 stands for all
// of them.
func (s *StateStore) OpenBlobPart(ctx context.Context, name string, offset, length int64) (*BlobReader, error) {
	if offset < 0 || length < 0 {
		return nil, fmt.Errorf("cannot read the blob %q: offset and length must not be negative", name)
	}
	return s.openBlob(ctx, &statepb.GetBlobRequest{Name: name, Offset: uint64(offset), Length: uint64(length)})
}

func (s *StateStore) openBlob(ctx context.Context, r *statepb.GetBlobRequest) (*BlobReader, error) {
	action := fmt.Sprintf("read the blob %q", r.GetName())
	call, cancel := context.WithCancel(s.context(ctx))
	stream, err := s.client().GetBlob(call, r)
	var first *statepb.GetBlobResponse
	if err == nil {
		first, err = stream.Recv()
	}
	if err != nil {
		cancel()
		return nil, stateError(ctx, action, err)
	}
	b := &BlobReader{Blob: blobFromWire(first.GetBlob()), ctx: ctx, action: action, stream: stream, cancel: cancel}
	b.left = b.Size - int64(r.GetOffset())
	if r.GetLength() > 0 {
		b.left = min(b.left, int64(r.GetLength()))
	}
	if b.left == b.Size {
		b.sum = sha256.New()
	}
	return b, nil
}

// BlobReader reads a blob, or a part of it.
type BlobReader struct {
	Blob

	ctx    context.Context //nolint:containedctx // of OpenBlob, for the errors of Read
	action string
	stream grpc.ServerStreamingClient[statepb.GetBlobResponse]
	cancel context.CancelFunc
	part   []byte    // received, and not read yet
	left   int64     // bytes that are yet to be received
	sum    hash.Hash // of what was received; nil for a part of a blob
}

// Read reads the next bytes.
func (b *BlobReader) Read(into []byte) (n int, err error) {
	for len(b.part) == 0 {
		if b.left == 0 {
			return 0, b.verify()
		}
		message, err := b.stream.Recv()
		if errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("cannot %s: %w", b.action, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return 0, stateError(b.ctx, b.action, err)
		}
		b.part = message.GetData()
		b.left -= int64(len(b.part))
		if b.sum != nil {
			b.sum.Write(b.part)
		}
	}
	n = copy(into, b.part)
	b.part = b.part[n:]
	return n, nil
}

// verify returns io.EOF, or an error if the content is not what was put.
func (b *BlobReader) verify() error {
	if b.sum != nil && !bytes.Equal(b.sum.Sum(nil), b.SHA256) {
		return fmt.Errorf("cannot %s: the disk has damaged it: its SHA-256 is another", b.action)
	}
	return io.EOF
}

// Close ends the reading.
func (b *BlobReader) Close() error {
	b.cancel()
	return nil
}

// ShowBlob returns what is known of a blob. The error wraps ErrNotFound if there is none.
func (s *StateStore) ShowBlob(ctx context.Context, name string) (Blob, error) {
	answer, err := s.client().ShowBlob(s.context(ctx), &statepb.ShowBlobRequest{Name: name})
	if err != nil {
		return Blob{}, stateError(ctx, fmt.Sprintf("look at the blob %q", name), err)
	}
	return blobFromWire(answer), nil
}

// DeleteBlob deletes a blob. One that is not there is no error.
func (s *StateStore) DeleteBlob(ctx context.Context, name string) error {
	_, err := s.client().DeleteBlob(s.context(ctx), &statepb.DeleteBlobRequest{Name: name})
	return stateError(ctx, fmt.Sprintf("delete the blob %q", name), err)
}

// Blobs goes through the blobs with that prefix, in the order of the bytes of their names. Blobs
// that change meanwhile may be there or not. An error ends it.
func (s *StateStore) Blobs(ctx context.Context, prefix string) iter.Seq2[Blob, error] {
	return func(yield func(Blob, error) bool) {
		for after := ""; ; {
			page, err := s.client().ListBlobs(s.context(ctx), &statepb.ListBlobsRequest{Prefix: prefix, After: after})
			if err != nil {
				yield(Blob{}, stateError(ctx, fmt.Sprintf("list the blobs %q", prefix), err))
				return
			}
			for _, b := range page.GetBlobs() {
				if !yield(blobFromWire(b), nil) {
					return
				}
			}
			if after = page.GetNext(); after == "" {
				return
			}
		}
	}
}

// blobFromWire returns a blob as the plugin gets it.
func blobFromWire(b *statepb.Blob) Blob {
	return Blob{
		Name: b.GetName(), Size: int64(b.GetSize()), ContentType: b.GetContentType(), SHA256: b.GetSha256(),
		Revision: b.GetRevision(), Changed: timeFromWire(b.GetChanged()),
	}
}
