package state

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/state/statepb"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// clientFor serves the gRPC service as to the plugin of that callsign, or with "" to a client.
func (r *rig) clientFor(caller string) statepb.StateClient {
	r.Helper()
	l, err := net.Listen("unix", filepath.Join(r.TempDir(), "s"))
	must(r.T, err)
	stamp := func(ctx context.Context) context.Context {
		if caller == "" {
			return ctx
		}
		return shell.WithCaller(ctx, caller)
	}
	s := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, m any, _ *grpc.UnaryServerInfo, serve grpc.UnaryHandler) (any, error) {
			return serve(stamp(ctx), m)
		}),
		grpc.StreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, serve grpc.StreamHandler) error {
			return serve(server, stampedStream{stream, stamp(stream.Context())})
		}))
	s.RegisterService(ServiceDesc, r.Service())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = s.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+l.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(r.T, err)
	r.Cleanup(func() {
		_ = conn.Close()
		s.Stop()
		<-ended
	})
	return statepb.NewStateClient(conn)
}

// stampedStream is a stream with another context.
type stampedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // as gRPC's own stream has it
}

func (s stampedStream) Context() context.Context { return s.ctx }

// wantStatus fails the test unless err is a status with that code, Thunder's number and text.
func wantStatus(t *testing.T, err error, code codes.Code, number thunder.ErrorNumber, says string) {
	t.Helper()
	if status.Code(err) != code || shellpb.ErrorDetailOf(err).GetCode() != int32(number) || !strings.Contains(status.Convert(err).Message(), says) {
		t.Errorf("got %v with %v, want %s with %d and %q", err, shellpb.ErrorDetailOf(err), code, number, says)
	}
}

// A plugin reaches its own state, with or without its name; what belongs to another is not found,
// whether it is there or not.
func TestPluginReachesItsOwn(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("Other", "k", `"secret"`)
	r.put("Other", "b", "secret")
	mine, ctx := r.clientFor("Mine"), t.Context()
	_, err := mine.Set(ctx, &statepb.SetRequest{Key: "k", Value: []byte(`1`)})
	must(t, err)
	if e, err := mine.Get(ctx, &statepb.GetRequest{Owner: "Mine", Key: "k"}); string(e.GetValue()) != `1` || err != nil {
		t.Errorf("its own is %v, %v", e, err)
	}
	for _, owner := range []string{"Other", "Nobody", "mine"} {
		for name, call := range map[string]func() error{
			"get": func() error { _, err := mine.Get(ctx, &statepb.GetRequest{Owner: owner, Key: "k"}); return err },
			"set": func() error {
				_, err := mine.Set(ctx, &statepb.SetRequest{Owner: owner, Key: "k", Value: []byte(`1`)})
				return err
			},
			"delete": func() error { _, err := mine.Delete(ctx, &statepb.DeleteRequest{Owner: owner, Key: "k"}); return err },
			"change": func() error { _, err := mine.Change(ctx, &statepb.ChangeRequest{Owner: owner}); return err },
			"list":   func() error { _, err := mine.List(ctx, &statepb.ListRequest{Owner: owner}); return err },
			"usage":  func() error { _, err := mine.Usage(ctx, &statepb.UsageRequest{Owner: owner}); return err },
			"put": func() error {
				_, err := putBlob(ctx, mine, &statepb.PutBlobStart{Owner: owner, Name: "b"}, []byte("x"))
				return err
			},
			"read": func() error {
				_, err := getBlob(ctx, mine, &statepb.GetBlobRequest{Owner: owner, Name: "b"})
				return err
			},
			"show": func() error {
				_, err := mine.ShowBlob(ctx, &statepb.ShowBlobRequest{Owner: owner, Name: "b"})
				return err
			},
			"deleteblob": func() error {
				_, err := mine.DeleteBlob(ctx, &statepb.DeleteBlobRequest{Owner: owner, Name: "b"})
				return err
			},
			"listblobs": func() error { _, err := mine.ListBlobs(ctx, &statepb.ListBlobsRequest{Owner: owner}); return err },
		} {
			err := call()
			wantStatus(t, err, codes.NotFound, thunder.UnknownKey, "a plugin reaches its own state alone")
			if t.Failed() {
				t.Fatalf("that was %s of %s", name, owner)
			}
		}
	}
	_, err = mine.Get(ctx, &statepb.GetRequest{Key: "secret"})
	wantStatus(t, err, codes.NotFound, thunder.UnknownKey, `there is no key "secret"`)
	r.verify()
}

// A client names the owner, and needs the role admin for everything.
func TestClientNamesTheOwner(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	client, ctx := r.clientFor(""), t.Context()
	_, err := client.Get(ctx, &statepb.GetRequest{Key: "k"})
	wantStatus(t, err, codes.InvalidArgument, thunder.BadRequest, "name the owner")
	if e, err := client.Get(ctx, &statepb.GetRequest{Owner: "A", Key: "k"}); string(e.GetValue()) != `1` || err != nil {
		t.Errorf("got %v, %v", e, err)
	}
	_, err = client.Set(ctx, &statepb.SetRequest{Owner: "Mistake", Key: "k", Value: []byte(`1`)})
	wantStatus(t, err, codes.NotFound, thunder.UnknownKey, `there is no instance "Mistake"`)
	_, err = client.Set(ctx, &statepb.SetRequest{Owner: "A", Key: "k", Value: []byte(`2`)})
	must(t, err)
	for _, m := range ServiceDesc.Methods {
		if role, about := ServiceAccess(ctx, "/"+ServiceDesc.ServiceName+"/"+m.MethodName, nil); role != access.Admin || about.Callsign != Callsign {
			t.Errorf("%s needs %v about %+v", m.MethodName, role, about)
		}
	}
}

// Errors have a code, Thunder's number, and what a program needs of them.
func TestStatuses(t *testing.T) {
	r := newRig(t, "", configs.State{MaxKeys: 2, MaxBlobBytes: 3 << 20})
	client, ctx := r.clientFor("A"), t.Context()
	one := uint64(1)
	_, err := client.Set(ctx, &statepb.SetRequest{Key: "k", Value: []byte(`1`), IfRevision: &one})
	wantStatus(t, err, codes.Aborted, thunder.IllegalState, `there is no key "k"`)
	if data := string(shellpb.ErrorDetailOf(err).GetData()); data != `{"revision":0}` {
		t.Errorf("the data is %s", data)
	}
	_, err = client.Set(ctx, &statepb.SetRequest{Key: "k", Value: []byte(`{`)})
	wantStatus(t, err, codes.InvalidArgument, thunder.BadRequest, "not JSON")
	_, err = client.Change(ctx, &statepb.ChangeRequest{Changes: []*statepb.KeyChange{{Key: "k"}}})
	wantStatus(t, err, codes.InvalidArgument, thunder.BadRequest, "does not say what to do")
	_, err = client.Change(ctx, &statepb.ChangeRequest{Changes: []*statepb.KeyChange{
		{Key: "a", Change: &statepb.KeyChange_Set{Set: []byte(`1`)}}, {Key: "b", Change: &statepb.KeyChange_Set{Set: []byte(`1`)}},
		{Key: "c", Change: &statepb.KeyChange_Set{Set: []byte(`1`)}},
	}})
	wantStatus(t, err, codes.ResourceExhausted, thunder.InvalidInputLength, "2 keys of 2 keys are left, and this needs 3 keys")
	_, err = getBlob(ctx, client, &statepb.GetBlobRequest{Name: "b"})
	wantStatus(t, err, codes.NotFound, thunder.UnknownKey, `there is no blob "b"`)
	r.put("A", "b", "text")
	_, err = getBlob(ctx, client, &statepb.GetBlobRequest{Name: "b", Offset: 5})
	wantStatus(t, err, codes.OutOfRange, thunder.InvalidRange, `the blob "b" has 4 bytes`)
	_, err = putBlob(ctx, client, &statepb.PutBlobStart{Name: "large"}, make([]byte, 4<<20))
	wantStatus(t, err, codes.ResourceExhausted, thunder.InvalidInputLength, "3.0 MiB of 3.0 MiB are left")
	_, err = putBlob(ctx, client, nil, []byte("x"))
	wantStatus(t, err, codes.InvalidArgument, thunder.BadRequest, "the first message must have a start")
	stream, err := client.PutBlob(ctx)
	must(t, err)
	_, err = stream.CloseAndRecv()
	wantStatus(t, err, codes.InvalidArgument, thunder.BadRequest, "the first message must have a start")
	stream, err = client.PutBlob(ctx)
	must(t, err)
	must(t, stream.Send(&statepb.PutBlobRequest{Start: &statepb.PutBlobStart{Name: "x"}, Data: make([]byte, maxPart+1)}))
	_, err = stream.CloseAndRecv()
	wantStatus(t, err, codes.InvalidArgument, thunder.InvalidInputLength, "a message has 1048577 bytes of the blob")
	r.verify()
}

// Blobs go in and out over gRPC, whole and in parts.
func TestBlobsOverGRPC(t *testing.T) {
	r := newRig(t, "", configs.State{})
	client, ctx := r.clientFor("A"), t.Context()
	content := []byte(randomText(3<<20+5, "grpc"))
	size := uint64(len(content))
	made, err := putBlob(ctx, client, &statepb.PutBlobStart{Name: "b", ContentType: "text/plain", Size: &size}, content)
	must(t, err)
	if got, err := getBlob(ctx, client, &statepb.GetBlobRequest{Name: "b"}); !bytes.Equal(got, content) || err != nil {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	for _, part := range []struct{ offset, length, want uint64 }{{0, 7, 7}, {5, 0, size - 5}, {size - 3, 100, 3}, {size, 0, 0}, {1000, 1 << 63, size - 1000}} {
		got, err := getBlob(ctx, client, &statepb.GetBlobRequest{Name: "b", Offset: part.offset, Length: part.length})
		if !bytes.Equal(got, content[part.offset:part.offset+part.want]) || err != nil {
			t.Errorf("%+v: got %d bytes, %v", part, len(got), err)
		}
	}
	if l, err := client.ListBlobs(ctx, &statepb.ListBlobsRequest{}); len(l.GetBlobs()) != 1 || l.GetBlobs()[0].GetRevision() != made.GetRevision() || err != nil {
		t.Errorf("listed %v, %v", l, err)
	}
	if d, err := client.DeleteBlob(ctx, &statepb.DeleteBlobRequest{Name: "b", IfRevision: &made.Revision}); d.GetOld().GetSize() != size || err != nil {
		t.Errorf("deleted %v, %v", d, err)
	}
	r.verify()
}

// A stream that is cut off leaves no trace of its blob.
func TestCutOffStream(t *testing.T) {
	r := newRig(t, "", configs.State{})
	client := r.clientFor("A")
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := client.PutBlob(ctx)
	must(t, err)
	must(t, stream.Send(&statepb.PutBlobRequest{Start: &statepb.PutBlobStart{Name: "b"}, Data: make([]byte, 100_000)}))
	for r.transfers.underWay() == 0 {
		if _, err := client.Usage(t.Context(), &statepb.UsageRequest{}); err != nil { // as long as the host takes it up
			t.Fatal(err)
		}
	}
	cancel()
	for r.transfers.underWay() > 0 {
		if _, err := client.Usage(t.Context(), &statepb.UsageRequest{}); err != nil {
			t.Fatal(err)
		}
	}
	if r.fileCount() != 0 {
		t.Error("a half blob is left")
	}
	_, err = client.ShowBlob(t.Context(), &statepb.ShowBlobRequest{Name: "b"})
	wantStatus(t, err, codes.NotFound, thunder.UnknownKey, "no blob")
	r.verify()
}

// putBlob puts a blob in messages of 64 KiB.
func putBlob(ctx context.Context, client statepb.StateClient, start *statepb.PutBlobStart, content []byte) (*statepb.Blob, error) {
	stream, err := client.PutBlob(ctx)
	if err != nil {
		return nil, err
	}
	for n := 0; n == 0 || n < len(content); n += 64 << 10 {
		if err := stream.Send(&statepb.PutBlobRequest{Start: start, Data: content[n:min(n+64<<10, len(content))]}); err != nil {
			break
		}
		start = nil
	}
	return stream.CloseAndRecv()
}

// getBlob reads what GetBlob sends.
func getBlob(ctx context.Context, client statepb.StateClient, r *statepb.GetBlobRequest) (content []byte, err error) {
	stream, err := client.GetBlob(ctx, r)
	if err != nil {
		return nil, err
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return content, nil
		}
		if err != nil {
			return content, err
		}
		content = append(content, part.GetData()...)
	}
}
