package state

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"dormouse/plugins/state/statepb"
)

const (
	maxPart = 1 << 20 // bytes of a blob in one message that arrives
	// sentPart is how many are in one message that is sent. With what is around them they fill
	// the largest buffer of gRPC's pool, which is cleared as a whole each time.
	sentPart = 1<<20 - 64
)

// PutBlob receives a blob.
func (s service) PutBlob(stream grpc.ClientStreamingServer[statepb.PutBlobRequest, statepb.Blob]) error {
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return asStatus(fmt.Errorf("%w: the first message must have a start", ErrInvalid))
	}
	if err != nil {
		return err
	}
	b, err := s.receiveBlob(stream, first)
	if err != nil {
		return asStatus(err)
	}
	return stream.SendAndClose(blobToWire(b))
}

// receiveBlob receives the blob that begins with that message.
func (s service) receiveBlob(stream grpc.ClientStreamingServer[statepb.PutBlobRequest, statepb.Blob], message *statepb.PutBlobRequest) (Blob, error) {
	if message.GetStart() == nil {
		return Blob{}, fmt.Errorf("%w: the first message must have a start", ErrInvalid)
	}
	owner, err := s.ownerOf(stream.Context(), message.GetStart().GetOwner(), true)
	if err != nil {
		return Blob{}, err
	}
	u, err := s.state.NewUpload(stream.Context(), owner, startFromWire(message.GetStart()))
	if err != nil {
		return Blob{}, err
	}
	defer u.Discard()
	for {
		if len(message.GetData()) > maxPart {
			return Blob{}, fmt.Errorf("%w: a message has %d bytes of the blob, and may have %d", ErrTooLarge, len(message.GetData()), maxPart)
		}
		if _, err := u.Write(message.GetData()); err != nil {
			return Blob{}, err
		}
		message, err = stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return u.Finish(stream.Context())
		case err != nil:
			return Blob{}, err
		case message.GetStart() != nil:
			return Blob{}, fmt.Errorf("%w: only the first message has a start", ErrInvalid)
		}
	}
}

// startFromWire returns what is known of a blob before it arrives.
func startFromWire(w *statepb.PutBlobStart) UploadStart {
	return UploadStart{
		Name: w.GetName(), ContentType: w.GetContentType(), SHA256: w.GetSha256(),
		Size: numberFromWire(w.Size), If: numberFromWire(w.IfRevision),
	}
}

// GetBlob sends a blob, or a part of it.
func (s service) GetBlob(r *statepb.GetBlobRequest, stream grpc.ServerStreamingServer[statepb.GetBlobResponse]) error {
	owner, err := s.ownerOf(stream.Context(), r.GetOwner(), false)
	if err != nil {
		return asStatus(err)
	}
	b, err := s.state.OpenBlob(stream.Context(), owner, r.GetName())
	if err != nil {
		return asStatus(err)
	}
	defer b.Close()
	if r.GetOffset() > uint64(b.Size) {
		return asStatus(fmt.Errorf("%w: the blob %q has %d bytes", ErrRange, b.Blob.Name, b.Size))
	}
	length := uint64(b.Size) - r.GetOffset()
	if r.GetLength() != 0 {
		length = min(length, r.GetLength())
	}
	if err := stream.Send(&statepb.GetBlobResponse{Blob: blobToWire(b.Blob)}); err != nil {
		return err
	}
	return asStatus(sendPart(stream, io.NewSectionReader(b, int64(r.GetOffset()), int64(length))))
}

// sendPart sends a part of a file. The error is an ErrDamaged if the file ends before the part.
func sendPart(stream grpc.ServerStreamingServer[statepb.GetBlobResponse], part *io.SectionReader) error {
	buffer := make([]byte, min(part.Size(), sentPart))
	for left := part.Size(); left > 0; {
		n, err := io.ReadFull(part, buffer[:min(left, sentPart)])
		if err != nil {
			return fmt.Errorf("%w: cannot read the rest of the blob: %w", ErrDamaged, err)
		}
		left -= int64(n)
		if err := stream.Send(&statepb.GetBlobResponse{Data: buffer[:n]}); err != nil {
			return err
		}
	}
	return nil
}
