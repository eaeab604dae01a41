// The tasks of node-echo. Each asks a user some questions, one after the other, and
// leaves the answers as a file. What a task knows is with the host, so it goes on after
// a crash, and the plugin may sleep while it waits. The plugin also keeps how many
// surveys there were, and the last answers, in its state.
'use strict';

const grpc = require('@grpc/grpc-js');

// RESUMES is how many further lives of the plugin may go on with a task.
const RESUMES = 1000;

// PATIENCE is how many milliseconds a call of the host waits, also for a host that is
// just restarted.
const PATIENCE = 30_000;

const FORM = {
  type: 'object',
  properties: { answer: { type: 'string', title: 'Your answer' } },
  required: ['answer'],
};

const stepID = (number) => `question-${number + 1}`;
const bytes = (value) => Buffer.from(JSON.stringify(value));
const decode = (buffer, absent) => (buffer.length === 0 ? absent : JSON.parse(buffer.toString()));

// Host has the services of the host. During a sleep of the plugin calls wait, and none
// is open when it begins.
class Host {
  socket = ''; // set by Initialize
  #services;
  #clients = null; // opened by the first call
  #calls = new Set(); // those under way
  #awake = null; // a promise, while the plugin sleeps
  #wake;

  constructor({ tasks, state }) {
    this.#services = { tasks: tasks.v1.Tasks, state: state.v1.State };
  }

  // tasks and state call a method; a list of requests is sent as a stream.
  tasks(method, request) { return this.#call('tasks', method, request); }
  state(method, request) { return this.#call('state', method, request); }

  async #call(service, method, request) {
    while (this.#awake !== null) await this.#awake;
    this.#clients ??= this.#open();
    const call = send(this.#clients[service], method, request);
    this.#calls.add(call);
    try {
      return await call;
    } finally {
      this.#calls.delete(call);
    }
  }

  #open() {
    const connect = (Service) => new Service(`unix:${this.socket}`, grpc.credentials.createInsecure());
    return { tasks: connect(this.#services.tasks), state: connect(this.#services.state) };
  }

  async closeForSleep() {
    this.#awake ??= new Promise((resolve) => { this.#wake = resolve; });
    await Promise.allSettled(this.#calls);
    for (const client of Object.values(this.#clients ?? {})) client.close();
    this.#clients = null;
  }

  openAfterSleep() {
    this.#wake?.(); // a warm start was not asleep
    this.#awake = null;
  }

  // countUp adds one to a number in the state. The number is set only if no other has
  // set it since it was read; else it is read again.
  async countUp(key) {
    for (;;) {
      const { value, revision } = await this.#entry(key);
      try {
        await this.state('Set', { key, value: bytes(decode(value, 0) + 1), if_revision: revision });
        return;
      } catch (error) {
        if (error.code !== grpc.status.ABORTED) throw error;
      }
    }
  }

  // #entry returns a key, with revision 0 if there is none.
  async #entry(key) {
    try {
      return await this.state('Get', { key });
    } catch (error) {
      if (error.code !== grpc.status.NOT_FOUND) throw error;
      return { value: Buffer.alloc(0), revision: 0 };
    }
  }
}

// send returns the promise of a call's answer.
function send(client, method, request) {
  const options = { deadline: Date.now() + PATIENCE };
  const metadata = new grpc.Metadata({ waitForReady: true });
  return new Promise((resolve, reject) => {
    const answered = (error, answer) => (error ? reject(error) : resolve(answer));
    if (!Array.isArray(request)) {
      client[method](request, metadata, options, answered);
      return;
    }
    const stream = client[method](metadata, options, answered);
    for (const message of request) stream.write(message);
    stream.end();
  });
}

// Surveys are the tasks that this life of the plugin works on, and the service Worker.
class Surveys {
  #host;
  #working = new Map(); // Survey by the id of its task

  constructor(host) {
    this.#host = host;
  }

  // create makes a task of the plugin's own, and returns its id.
  async create(questions) {
    const task = await this.#host.tasks('Create', { title: 'survey', parameters: bytes({ questions }), resumes: RESUMES });
    this.#begin(task);
    return task.id;
  }

  #begin(task) {
    if (this.#working.has(task.id)) return;
    const survey = new Survey(this.#host, task);
    this.#working.set(task.id, survey);
    survey.runAndFinish().finally(() => this.#working.delete(task.id));
  }

  worker = {
    Run: (call, answer) => {
      this.#begin(call.request.task);
      answer(null, { resumes: RESUMES });
    },
    Submit: (call, answer) => {
      const { task, step } = call.request;
      const survey = this.#working.get(task);
      const values = decode(step.values, {});
      if (survey?.waitsFor !== step.id) {
        answer({ code: grpc.status.UNAVAILABLE, details: 'the plugin does not wait for the step now' });
      } else if (!values.answer) {
        answer({ code: grpc.status.INVALID_ARGUMENT, details: 'the question needs an answer' });
      } else {
        survey.give(values);
        answer(null, {});
      }
    },
    Cancel: (call, answer) => {
      this.#working.get(call.request.task)?.cancel();
      answer(null, {});
    },
  };
}

// Survey is the work on one task.
class Survey {
  waitsFor = ''; // the id of a step
  give = () => {}; // takes the values of that step
  cancel;
  #host;
  #id;
  #parameters;
  #answers;
  #cancelled; // a promise that is rejected

  constructor(host, task) {
    this.#host = host;
    this.#id = task.id;
    this.#parameters = task.parameters;
    this.#answers = decode(task.data, []); // those that an earlier life has got
    this.#cancelled = new Promise((_, reject) => {
      this.cancel = () => reject(new Error('cancelled'));
    });
    this.#cancelled.catch(() => {}); // may come while nothing waits for it
  }

  async runAndFinish() {
    const end = { task: this.#id, status: 'STATUS_SUCCESS' };
    try {
      await this.#run();
    } catch (error) { // whatever it is, the task has failed
      end.status = 'STATUS_FAILURE';
      end.reason = error.details ?? error.message;
    }
    try {
      await this.#host.tasks('Finish', end);
    } catch (error) {
      process.stderr.write(JSON.stringify({ level: 'error', message: 'cannot finish a task', task: this.#id, error: error.message }) + '\n');
    }
  }

  async #run() {
    const { questions = [] } = decode(this.#parameters, {});
    while (this.#answers.length < questions.length) {
      const number = this.#answers.length;
      const answer = await this.#ask(number, questions[number]);
      this.#answers.push(answer);
      await this.#host.tasks('Update', {
        task: this.#id,
        waits: false,
        clear_steps: [stepID(number)], // may be quicker than the answer to Submit
        data: bytes(this.#answers),
        progress: { value: number + 1, target: questions.length, unit: 'answers' },
        log: [`${questions[number]} ${answer}`],
      });
    }
    const content = bytes(this.#answers);
    await this.#host.tasks('PutOutput', [{
      task: this.#id, name: 'answers.json', content_type: 'application/json', data_type: 'entity/list', content,
    }]);
    // A life that ends before the task does has the next one count the survey again.
    await this.#host.state('PutBlob', [
      { start: { name: 'last.json', content_type: 'application/json', size: content.length } },
      { data: content },
    ]);
    await this.#host.countUp('surveys');
  }

  // #ask adds a step and waits for its answer. The plugin may sleep meanwhile.
  async #ask(number, question) {
    const id = stepID(number);
    this.waitsFor = id; // before the host can bring the values
    const given = new Promise((resolve) => { this.give = resolve; });
    const { step } = await this.#host.tasks('Update', {
      task: this.#id, waits: true, add_step: { id, title: question, schema: bytes(FORM) },
    });
    if (step.cleared) this.give(decode(step.values, {})); // an earlier life has taken them
    const { answer } = await Promise.race([given, this.#cancelled]);
    this.waitsFor = '';
    return answer;
  }
}

module.exports = { Host, Surveys };
