#!/usr/bin/python3
"""python-echo is a plugin in Python: it returns its parameters, counts, and
shows every service of the contract in docs/plugins.md; survey.py has its tasks.
It needs no SDK, only gRPC (Debian's python3-grpcio and python3-protobuf) and the
messages that protoc makes of the .proto files.
"""

import collections
import json
import os
import signal
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf import any_pb2

import shell_pb2 as shell
import statecontrol_pb2 as statecontrol
import survey
import tasks_pb2 as tasks

COOKIE = "88703c9f7715bb1a8e95f2c89af309de"
MAX_MESSAGE = 8 << 20
KEPT_EVENTS = 256
EVENTS_UNTIL = "dormouse-events-until"

# A call takes a thread for as long as it runs; two of them are the host's streams.
THREADS = 16


def log(level, message, **fields):
    """Writes a line of JSON, which reaches the host's log with its level and fields."""
    print(json.dumps({"level": level, "message": message, **fields}), file=sys.stderr, flush=True)


class Failure(Exception):
    """Answers a call with a status that carries one of Thunder's numbers."""

    def __init__(self, code, message, number):
        super().__init__(message)
        self.code, self.number = code, number

    def abort(self, context):
        detail = any_pb2.Any()
        detail.Pack(shell.Error(code=self.number))
        # A google.rpc.Status, encoded by hand: Debian has no package for it.
        text = str(self).encode()
        packed = detail.SerializeToString()
        status = b"\x08" + varint(self.code.value[0])
        status += b"\x12" + varint(len(text)) + text + b"\x1a" + varint(len(packed)) + packed
        context.set_trailing_metadata((("grpc-status-details-bin", status),))
        context.abort(self.code, str(self))


def varint(n):
    encoded = bytearray()
    while n > 127:
        encoded.append(n & 127 | 128)
        n >>= 7
    encoded.append(n)
    return bytes(encoded)


class Events:
    """Keeps events until the host has got them. After a broken connection or a
    sleep the host opens a new stream, which begins after the last event that it got.
    """

    def __init__(self):
        self.news = threading.Condition()
        self.kept = collections.deque(maxlen=KEPT_EVENTS)
        self.last = 0  # sequence number of the newest event
        self.sent = 0  # sequence number of the newest event that a stream was given
        self.stream = 0  # number of the present stream
        self.closed = False

    def emit(self, name, params):
        with self.news:
            self.last += 1
            self.kept.append(shell.Event(name=name, params=json.dumps(params).encode(), sequence=self.last))
            self.news.notify_all()

    def announcing(self, function):
        """Returns a function whose answers say in their trailer how many events there
        were before. The host passes these on first."""

        def announced(request, context):
            try:
                return function(request, context)
            finally:
                if self.last > 0:
                    trailer = (context.trailing_metadata() or ()) + ((EVENTS_UNTIL, str(self.last)),)
                    context.set_trailing_metadata(trailer)

        return announced

    def serve(self, request, context):
        with self.news:
            self.stream += 1
            mine = self.stream
            if 0 < request.after <= self.last:
                self.sent = request.after
            context.send_initial_metadata(((EVENTS_UNTIL, str(self.sent)),))
            self.news.notify_all()
        context.add_callback(self.wake)
        while (event := self.next(mine, context)) is not None:
            yield event

    def next(self, mine, context):
        with self.news:
            over = lambda: self.closed or self.stream != mine or not context.is_active()
            self.news.wait_for(lambda: over() or self.sent < self.last)
            if over():
                return None
            event = next(e for e in self.kept if e.sequence > self.sent)
            self.sent = event.sequence
            return event

    def wake(self):
        with self.news:
            self.news.notify_all()

    def close(self):
        self.closed = True
        self.wake()


class Control:
    """State control: a plugin that can be suspended can be hibernated."""

    targets = {
        statecontrol.COMMAND_SUSPEND: statecontrol.STATE_SUSPENDED,
        statecontrol.COMMAND_RESUME: statecontrol.STATE_RESUMED,
    }

    def __init__(self):
        self.news = threading.Condition()
        self.states = [statecontrol.STATE_UNINITIALIZED]  # every state so far
        self.closed = False

    def enter(self, state):
        with self.news:
            self.states.append(state)
            self.news.notify_all()

    def state(self, request, context):
        with self.news:
            return statecontrol.StateResponse(state=self.states[-1])

    def request(self, request, context):
        target = self.targets.get(request.command)
        if target is None:
            Failure(grpc.StatusCode.INVALID_ARGUMENT, "unknown command", 30).abort(context)
        with self.news:
            there = self.states[-1] == target
        if there:
            Failure(grpc.StatusCode.FAILED_PRECONDITION, "the plugin is in that state", 5).abort(context)
        self.enter(target)
        return statecontrol.RequestResponse()

    def watch(self, request, context):
        context.add_callback(self.wake)
        with self.news:
            told = len(self.states) - 1
        over = lambda: self.closed or not context.is_active()
        while not over():
            with self.news:
                self.news.wait_for(lambda: told < len(self.states) or over())
                news = self.states[told:]
            for state in news:
                yield statecontrol.StateResponse(state=state)
            told += len(news)

    def wake(self):
        with self.news:
            self.news.notify_all()

    def close(self):
        self.closed = True
        self.wake()


class Plugin:
    """The plugin."""

    def __init__(self):
        self.events = Events()
        self.control = Control()
        self.lock = threading.Lock()
        self.count = 0
        self.awake = 0  # how often it woke
        self.host = survey.Host()
        self.surveys = survey.Surveys(self.host)
        self.methods = {
            "echo": lambda params: params,
            "increment": self.increment,
            "get": self.get,
            "survey": self.survey,
        }

    def increment(self, params):
        by = 1 if params is None else params.get("by")
        if not isinstance(by, int):
            raise Failure(grpc.StatusCode.INVALID_ARGUMENT, "by must be a whole number", 54)
        with self.lock:
            self.count += by
            value = self.count
        self.events.emit("counted", {"value": value})
        return {"value": value}

    def get(self, params):
        with self.lock:
            return {"value": self.count, "awake": self.awake}

    def survey(self, params):
        try:
            return {"task": self.surveys.create((params or {}).get("questions", []))}
        except grpc.RpcError as error:
            raise Failure(error.code(), error.details(), 1)

    # Plugin

    def information(self, request, context):
        return shell.InformationResponse(
            name="python-echo",
            description="answers what it was asked, in Python",
            version=shell.Version(major=1),
            services=[
                "dormouse.shell.v1.Dispatcher",
                "dormouse.shell.v1.Hooks",
                "dormouse.statecontrol.v1.StateControl",
                "dormouse.tasks.v1.Worker",
            ],
        )

    def initialize(self, request, context):
        start = json.loads(request.configuration or b"{}").get("start", 0)
        if not isinstance(start, int):
            return shell.InitializeResponse(error="start must be a whole number")
        self.count = start
        self.host.socket = request.host_socket
        self.control.enter(statecontrol.STATE_SUSPENDED)
        log("info", "initialized", start=start)
        return shell.InitializeResponse()

    def deinitialize(self, request, context):
        log("info", "deinitialized", reason=shell.Reason.Name(request.reason))
        self.control.enter(statecontrol.STATE_EXITED)
        return shell.DeinitializeResponse()

    # Dispatcher

    def invoke(self, request, context):
        method = self.methods.get(request.method)
        try:
            if method is None:
                raise Failure(grpc.StatusCode.UNIMPLEMENTED, "unknown method " + request.method, 53)
            result = method(json.loads(request.params) if request.params else None)
            return shell.InvokeResponse(result=json.dumps(result).encode())
        except Failure as failure:
            failure.abort(context)

    def exists(self, request, context):
        return shell.ExistsResponse(exists=request.method in self.methods)

    # Hooks

    def before_checkpoint(self, request, context):
        self.host.close_for_sleep()
        return shell.BeforeCheckpointResponse()

    def after_restore(self, request, context):
        self.host.open_after_sleep()
        if request.slept.ToNanoseconds() > 0:
            self.awake += 1
        self.events.emit("woke", {"generation": request.generation})
        return shell.AfterRestoreResponse()


def service(name, events, **handlers):
    """Makes a service of (function, request type) by method name, without the
    code that gRPC's own generator would write. Its answers announce the events."""
    made = {}
    for method, (function, request) in handlers.items():
        if method in ("Events", "Watch"):
            make = grpc.unary_stream_rpc_method_handler
        else:
            make = grpc.unary_unary_rpc_method_handler
            function = events.announcing(function)
        made[method] = make(
            function,
            request_deserializer=request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )
    return grpc.method_handlers_generic_handler(name, made)


def services(plugin, shutdown):
    control = plugin.control
    # The services of gRPC and go-plugin are served as plain bytes: SERVING is
    # status 1, and Empty is empty.
    check = grpc.unary_unary_rpc_method_handler(lambda request, context: b"\x08\x01")
    end = grpc.unary_unary_rpc_method_handler(lambda request, context: shutdown.set() or b"")
    return (
        service(
            "dormouse.shell.v1.Plugin",
            plugin.events,
            Information=(plugin.information, shell.InformationRequest),
            Initialize=(plugin.initialize, shell.InitializeRequest),
            Deinitialize=(plugin.deinitialize, shell.DeinitializeRequest),
        ),
        service(
            "dormouse.shell.v1.Dispatcher",
            plugin.events,
            Invoke=(plugin.invoke, shell.InvokeRequest),
            Exists=(plugin.exists, shell.ExistsRequest),
            Events=(plugin.events.serve, shell.EventsRequest),
        ),
        service(
            "dormouse.shell.v1.Hooks",
            plugin.events,
            BeforeCheckpoint=(plugin.before_checkpoint, shell.BeforeCheckpointRequest),
            AfterRestore=(plugin.after_restore, shell.AfterRestoreRequest),
        ),
        service(
            "dormouse.statecontrol.v1.StateControl",
            plugin.events,
            State=(control.state, statecontrol.StateRequest),
            Request=(control.request, statecontrol.RequestRequest),
            Watch=(control.watch, statecontrol.WatchRequest),
        ),
        service(
            "dormouse.tasks.v1.Worker",
            plugin.events,
            Run=(plugin.surveys.run, tasks.RunRequest),
            Submit=(plugin.surveys.submit, tasks.WorkerSubmitRequest),
            Cancel=(plugin.surveys.cancel, tasks.WorkerCancelRequest),
        ),
        grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check}),
        grpc.method_handlers_generic_handler("plugin.GRPCController", {"Shutdown": end}),
    )


def main():
    if os.environ.get("DORMOUSE_PLUGIN") != COOKIE:
        sys.exit("python-echo is a plugin: it is started by a Dormouse host, not by hand.")
    shutdown = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: shutdown.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # meant for a host in the same terminal

    server = grpc.server(
        futures.ThreadPoolExecutor(THREADS),
        options=(
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.max_send_message_length", MAX_MESSAGE),
        ),
    )
    plugin = Plugin()
    server.add_generic_rpc_handlers(services(plugin, shutdown))
    socket = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "python-echo")
    server.add_insecure_port("unix:" + socket)
    server.start()
    print(f"1|1|unix|{socket}|grpc", flush=True)

    shutdown.wait()
    plugin.events.close()  # otherwise the host's streams would not end
    plugin.control.close()
    server.stop(grace=1).wait()


if __name__ == "__main__":
    main()
