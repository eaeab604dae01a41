"""The tasks of python-echo. Each asks a user some questions, one after the other, and
leaves the answers as a file. What a task knows is with the host, so it goes on after a
crash, and the plugin may sleep while it waits. The plugin also keeps how many surveys
there were, and the last answers, in its state.
"""

import json
import threading

import grpc

import state_pb2 as state
import tasks_pb2 as tasks

# How many further lives of the plugin may go on with a task.
RESUMES = 1000

# A call of the host waits so many seconds, also for a host that is just restarted.
PATIENCE = 30

FORM = {
    "type": "object",
    "properties": {"answer": {"type": "string", "title": "Your answer"}},
    "required": ["answer"],
}


class Host:
    """The services of the host. One call is made at a time; during a sleep of the
    plugin calls wait, and none is open when it begins."""

    def __init__(self):
        self.socket = ""  # set by Initialize
        self.channel = None  # opened by the first call
        self.lock = threading.Lock()  # held by a call, and by a sleep
        self.asleep = False

    def call(self, method, request, answer):
        """Calls a method by its full name, such as dormouse.state.v1.State/Get. A list
        of requests is sent as a stream."""
        with self.lock:
            if self.channel is None:
                self.channel = grpc.insecure_channel("unix:" + self.socket)
            make = self.channel.stream_unary if isinstance(request, list) else self.channel.unary_unary
            function = make("/" + method, lambda message: message.SerializeToString(), answer.FromString)
            sent = iter(request) if isinstance(request, list) else request
            return function(sent, timeout=PATIENCE, wait_for_ready=True)

    def close_for_sleep(self):
        self.lock.acquire()
        self.asleep = True
        if self.channel is not None:
            self.channel.close()
            self.channel = None

    def open_after_sleep(self):
        if self.asleep:  # a warm start was not asleep
            self.asleep = False
            self.lock.release()

    # Tasks

    def create(self, request):
        return self.call("dormouse.tasks.v1.Tasks/Create", request, tasks.Task)

    def update(self, request):
        return self.call("dormouse.tasks.v1.Tasks/Update", request, tasks.UpdateResponse)

    def finish(self, request):
        return self.call("dormouse.tasks.v1.Tasks/Finish", request, tasks.Task)

    def put_output(self, request):
        return self.call("dormouse.tasks.v1.Tasks/PutOutput", [request], tasks.Output)

    # State

    def count_up(self, key):
        """Adds one to a number in the state. The number is set only if no other has set
        it since it was read; else it is read again."""
        while True:
            entry = self.entry(key)
            value = json.loads(entry.value or b"0") + 1
            request = state.SetRequest(key=key, value=json.dumps(value).encode(), if_revision=entry.revision)
            try:
                self.call("dormouse.state.v1.State/Set", request, state.SetResponse)
                return
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.ABORTED:
                    raise

    def entry(self, key):
        """Returns a key, with revision 0 if there is none."""
        try:
            return self.call("dormouse.state.v1.State/Get", state.GetRequest(key=key), state.Entry)
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.NOT_FOUND:
                raise
            return state.Entry(key=key)

    def put_blob(self, name, content_type, data):
        start = state.PutBlobStart(name=name, content_type=content_type, size=len(data))
        requests = [state.PutBlobRequest(start=start), state.PutBlobRequest(data=data)]
        return self.call("dormouse.state.v1.State/PutBlob", requests, state.Blob)


def step_id(number):
    return f"question-{number + 1}"


class Cancelled(Exception):
    """The end of a task was asked for."""


class Surveys:
    """The tasks that this life of the plugin works on, and the service Worker."""

    def __init__(self, host):
        self.host = host
        self.lock = threading.Lock()
        self.working = {}  # Survey by the id of its task

    def create(self, questions):
        """Makes a task of the plugin's own, and returns its id."""
        parameters = json.dumps({"questions": questions}).encode()
        request = tasks.CreateRequest(title="survey", parameters=parameters, resumes=RESUMES)
        task = self.host.create(request)
        self.begin(task)
        return task.id

    def begin(self, task):
        with self.lock:
            if task.id in self.working:
                return
            self.working[task.id] = Survey(self.host, task)
            threading.Thread(target=self.work, args=(self.working[task.id],), daemon=True).start()

    def work(self, survey):
        survey.run_and_finish()
        with self.lock:
            del self.working[survey.id]

    def working_on(self, task):
        with self.lock:
            return self.working.get(task)

    # Worker

    def run(self, request, context):
        self.begin(request.task)
        return tasks.RunResponse(resumes=RESUMES)

    def submit(self, request, context):
        survey = self.working_on(request.task)
        values = json.loads(request.step.values or b"{}")
        if survey is None or survey.waits_for != request.step.id:
            context.abort(grpc.StatusCode.UNAVAILABLE, "the plugin does not wait for the step now")
        if not values.get("answer"):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the question needs an answer")
        survey.give(values)
        return tasks.WorkerSubmitResponse()

    def cancel(self, request, context):
        survey = self.working_on(request.task)
        if survey is not None:
            survey.cancel()
        return tasks.WorkerCancelResponse()


class Survey:
    """The work on one task, in a thread of its own."""

    def __init__(self, host, task):
        self.host = host
        self.id = task.id
        self.parameters = task.parameters
        self.answers = json.loads(task.data or b"[]")  # those that an earlier life has got
        self.news = threading.Condition()
        self.waits_for = ""  # the id of a step
        self.values = None
        self.cancelled = False

    def run_and_finish(self):
        request = tasks.FinishRequest(task=self.id, status=tasks.STATUS_SUCCESS)
        try:
            self.run()
        except Exception as error:  # whatever it is, the task has failed
            request.status = tasks.STATUS_FAILURE
            request.reason = error.details() if isinstance(error, grpc.RpcError) else str(error)
        self.host.finish(request)

    def run(self):
        questions = json.loads(self.parameters or b"{}").get("questions", [])
        while len(self.answers) < len(questions):
            number = len(self.answers)
            answer = self.ask(number, questions[number])
            self.answers.append(answer)
            self.host.update(
                tasks.UpdateRequest(
                    task=self.id,
                    waits=False,
                    clear_steps=[step_id(number)],  # may be quicker than the answer to Submit
                    data=json.dumps(self.answers).encode(),
                    progress=tasks.Progress(value=number + 1, target=len(questions), unit="answers"),
                    log=[f"{questions[number]} {answer}"],
                )
            )
        content = json.dumps(self.answers, separators=(",", ":")).encode()
        self.host.put_output(
            tasks.PutOutputRequest(
                task=self.id,
                name="answers.json",
                content_type="application/json",
                data_type="entity/list",
                content=content,
            )
        )
        # A life that ends before the task does has the next one count the survey again.
        self.host.put_blob("last.json", "application/json", content)
        self.host.count_up("surveys")

    def ask(self, number, question):
        """Adds a step and waits for its answer. The plugin may sleep meanwhile."""
        step = tasks.Step(id=step_id(number), title=question, schema=json.dumps(FORM).encode())
        with self.news:
            self.waits_for, self.values = step.id, None  # before the host can bring the values
        asked = self.host.update(tasks.UpdateRequest(task=self.id, add_step=step, waits=True))
        with self.news:
            if asked.step.cleared:  # an earlier life has taken them
                self.values = json.loads(asked.step.values)
            self.news.wait_for(lambda: self.values or self.cancelled)
            self.waits_for = ""
            if self.cancelled:
                raise Cancelled("cancelled")
            return self.values["answer"]

    def give(self, values):
        with self.news:
            self.values = values
            self.news.notify_all()

    def cancel(self):
        with self.news:
            self.cancelled = True
            self.news.notify_all()
