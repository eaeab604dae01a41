package communicator

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/reflection/grpc_reflection_v1alpha"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// reflectionService is the gRPC service grpc.reflection.v1.ServerReflection, which lists
// and describes services. Without the metadata of a callsign these are the host's own; with
// it also those of the instance, which its plugin describes by its own reflection.
type reflectionService struct {
	grpc_reflection_v1.UnimplementedServerReflectionServer
	*endpoint

	files *protoregistry.Files // that describe the host's services
}

// registerReflection registers the reflection for the services that s has by now, and for
// itself, also under the name that older clients ask for. It returns all names.
func registerReflection(s *grpc.Server, r grpc.ServiceRegistrar, e *endpoint) (hostServices []string) {
	service := &reflectionService{endpoint: e, files: new(protoregistry.Files)}
	grpc_reflection_v1.RegisterServerReflectionServer(r, service)
	older := grpc_reflection_v1.ServerReflection_ServiceDesc // the messages are the same on the wire
	older.ServiceName = grpc_reflection_v1alpha.ServerReflection_ServiceDesc.ServiceName
	r.RegisterService(&older, service)
	hostServices = slices.Sorted(maps.Keys(s.GetServiceInfo()))
	for _, name := range append([]string{shellpb.DispatcherService}, hostServices...) {
		if d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name)); err == nil {
			addFileWithImports(service.files, d.ParentFile())
		}
	}
	return hostServices
}

// addFileWithImports adds a file and all that it imports, unless they were added before.
func addFileWithImports(to *protoregistry.Files, file protoreflect.FileDescriptor) {
	if to.RegisterFile(file) != nil {
		return
	}
	for i := range file.Imports().Len() {
		addFileWithImports(to, file.Imports().Get(i).FileDescriptor)
	}
}

// ServerReflectionInfo answers each question in turn.
func (s *reflectionService) ServerReflectionInfo(stream grpc_reflection_v1.ServerReflection_ServerReflectionInfoServer) error {
	for {
		question, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.answer(stream.Context(), question)
		if err != nil {
			return err
		}
		if err := stream.Send(answer); err != nil {
			return err
		}
	}
}

// answer answers one question, with the plugin's help if the host does not know enough. The
// error is for a question of no kind, and for an unknown callsign.
func (s *reflectionService) answer(ctx context.Context, question *grpc_reflection_v1.ServerReflectionRequest) (*grpc_reflection_v1.ServerReflectionResponse, error) {
	callsign, err := callsignFromMetadata(ctx)
	if err != nil {
		return nil, err
	}
	if callsign == "" {
		return s.answerFromHost(ctx, nil, question)
	}
	sh, err := s.findInstance(callsign)
	if err != nil {
		return nil, err
	}
	answer, err := s.answerFromHost(ctx, sh, question)
	if err == nil && answer.GetErrorResponse().GetErrorCode() == int32(codes.NotFound) {
		answer = s.askPluginUnlessBuiltin(ctx, sh, question, answer)
	}
	return answer, err
}

// answerFromHost answers what the host knows by itself: which services there are, and what
// the host's are like.
func (s *reflectionService) answerFromHost(ctx context.Context, sh *shell.Shell, question *grpc_reflection_v1.ServerReflectionRequest) (*grpc_reflection_v1.ServerReflectionResponse, error) {
	one := &oneQuestion{ctx: ctx, question: question}
	err := reflection.NewServerV1(reflection.ServerOptions{
		Services:           serviceNames(append(callableServices(sh), s.hostServices...)),
		DescriptorResolver: s.files,
		ExtensionResolver:  new(protoregistry.Types),
	}).ServerReflectionInfo(one)
	return one.answer, err
}

// callableServices returns the services of the instance that clients may call; none for nil.
func callableServices(sh *shell.Shell) []string {
	if sh == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(servicesOf(sh)), func(service string) bool { return isReservedMethod("/" + service + "/") })
}

// askPluginUnlessBuiltin returns what the plugin's own reflection answers. If the plugin can't
// be asked, or the client may not call it, the answer says why; if it has no reflection, it is
// unanswered.
func (s *reflectionService) askPluginUnlessBuiltin(ctx context.Context, sh *shell.Shell, question *grpc_reflection_v1.ServerReflectionRequest, unanswered *grpc_reflection_v1.ServerReflectionResponse) *grpc_reflection_v1.ServerReflectionResponse {
	conn := sh.Conn()
	if conn == nil {
		return unanswered
	}
	err := s.check(ctx, access.Call, access.Target{Callsign: sh.Callsign(), Method: grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName})
	if err == nil {
		var answer *grpc_reflection_v1.ServerReflectionResponse
		if answer, err = askPlugin(ctx, conn, question); err == nil {
			return answer
		}
	}
	if status.Code(err) == codes.Unimplemented {
		return unanswered
	}
	why := status.Convert(statusFromForwardedCall(err))
	unanswered.MessageResponse = &grpc_reflection_v1.ServerReflectionResponse_ErrorResponse{
		ErrorResponse: &grpc_reflection_v1.ErrorResponse{ErrorCode: int32(why.Code()), ErrorMessage: why.Message()},
	}
	return unanswered
}

// askPlugin asks the plugin's reflection one question, under its name or the older one. It is
// a call as any other, and may wake the plugin.
func askPlugin(ctx context.Context, conn grpc.ClientConnInterface, question *grpc_reflection_v1.ServerReflectionRequest) (*grpc_reflection_v1.ServerReflectionResponse, error) {
	answer := new(grpc_reflection_v1.ServerReflectionResponse)
	err := conn.Invoke(ctx, grpc_reflection_v1.ServerReflection_ServerReflectionInfo_FullMethodName, question, answer)
	if status.Code(err) == codes.Unimplemented {
		err = conn.Invoke(ctx, grpc_reflection_v1alpha.ServerReflection_ServerReflectionInfo_FullMethodName, question, answer)
	}
	return answer, err
}

// serviceNames are names of services, as the reflection wants them.
type serviceNames []string

// GetServiceInfo returns a map with the names as keys.
func (n serviceNames) GetServiceInfo() map[string]grpc.ServiceInfo {
	all := make(map[string]grpc.ServiceInfo)
	for _, name := range n {
		all[name] = grpc.ServiceInfo{}
	}
	return all
}

// oneQuestion is a stream with one question, and takes the answer.
type oneQuestion struct {
	ctx      context.Context
	question *grpc_reflection_v1.ServerReflectionRequest // nil once it was received
	answer   *grpc_reflection_v1.ServerReflectionResponse
}

var _ grpc_reflection_v1.ServerReflection_ServerReflectionInfoServer = (*oneQuestion)(nil)

func (o *oneQuestion) Recv() (*grpc_reflection_v1.ServerReflectionRequest, error) {
	if o.question == nil {
		return nil, io.EOF
	}
	question := o.question
	o.question = nil
	return question, nil
}

func (o *oneQuestion) Send(answer *grpc_reflection_v1.ServerReflectionResponse) error {
	o.answer = answer
	return nil
}

func (o *oneQuestion) Context() context.Context     { return o.ctx }
func (o *oneQuestion) SetHeader(metadata.MD) error  { return nil }
func (o *oneQuestion) SendHeader(metadata.MD) error { return nil }
func (o *oneQuestion) SetTrailer(metadata.MD)       {}
func (o *oneQuestion) SendMsg(any) error            { return errors.ErrUnsupported }
func (o *oneQuestion) RecvMsg(any) error            { return errors.ErrUnsupported }
