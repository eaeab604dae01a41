#!/usr/bin/env node
// node-echo is a plugin in JavaScript: it returns its parameters, counts, and shows
// every service of the contract in docs/plugins.md; survey.js has its tasks. It needs
// no SDK, only a gRPC server and the .proto files.
'use strict';

const path = require('node:path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');
const { Host, Surveys } = require('./survey');

const COOKIE = '88703c9f7715bb1a8e95f2c89af309de';
const MAX_MESSAGE = 8 << 20;
const KEPT_EVENTS = 256;
const EVENTS_UNTIL = 'dormouse-events-until';

const root = path.join(__dirname, '../../..');
const { dormouse } = grpc.loadPackageDefinition(loader.loadSync([
  path.join(root, 'shell/shellpb/shell.proto'),
  path.join(root, 'statecontrol/statecontrolpb/statecontrol.proto'),
  path.join(root, 'plugins/state/statepb/state.proto'),
  path.join(root, 'plugins/tasks/taskspb/tasks.proto'),
], { keepCase: true, longs: Number, enums: String, defaults: true }));

// log writes a line of JSON, which reaches the host's log with its level and fields.
function log(level, message, fields) {
  process.stderr.write(JSON.stringify({ level, message, ...fields }) + '\n');
}

// fail returns the error of a call: a status with one of Thunder's numbers for the
// caller.
function fail(code, message, number) {
  const error = new Error(message);
  error.code = code;
  error.metadata = new grpc.Metadata();
  if (number !== undefined) {
    error.metadata.set('grpc-status-details-bin', details(code, message, number));
  }
  return error;
}

// details encodes a google.rpc.Status with one dormouse.shell.v1.Error, for which npm
// has no package.
function details(code, message, number) {
  const field = (n, bytes) => Buffer.concat([Buffer.from([n << 3 | 2]), varint(bytes.length), bytes]);
  const any = Buffer.concat([
    field(1, Buffer.from('type.googleapis.com/dormouse.shell.v1.Error')),
    field(2, Buffer.concat([Buffer.from([1 << 3]), varint(number)])),
  ]);
  return Buffer.concat([Buffer.from([1 << 3]), varint(code), field(2, Buffer.from(message)), field(3, any)]);
}

function varint(n) {
  const bytes = [];
  for (; n > 127; n >>>= 7) bytes.push(n & 127 | 128);
  return Buffer.from([...bytes, n]);
}

// The plugin.

let count = 0;
let awake = 0; // how often it came back from a sleep
const host = new Host(dormouse);
const surveys = new Surveys(host);

const methods = {
  echo: (params) => params,
  increment: (params) => {
    const by = params === null ? 1 : params.by;
    if (!Number.isInteger(by)) {
      throw fail(grpc.status.INVALID_ARGUMENT, 'by must be a whole number', 54);
    }
    count += by;
    emit('counted', { value: count });
    return { value: count };
  },
  get: () => ({ value: count, awake }),
  survey: async (params) => ({ task: await surveys.create(params?.questions ?? []) }),
};

// Events are kept until the host has got them. After a broken connection or a sleep
// the host opens a new stream, which begins after the last event that it got.

const kept = [];
let last = 0; // sequence of the newest event
let sent = 0; // sequence of the newest event that a stream was given
let stream = null;

function emit(name, params) {
  kept.push({ name, params: Buffer.from(JSON.stringify(params)), sequence: ++last });
  if (kept.length > KEPT_EVENTS) kept.shift();
  send();
}

function send() {
  for (const event of kept) {
    if (stream === null) return;
    if (event.sequence > sent) {
      sent = event.sequence;
      stream.write(event);
    }
  }
}

// announcing returns a service whose answers say in their trailer how many events there
// were before. The host passes these on first.
function announcing(service) {
  const announce = (answer) => (error, value) => {
    const trailer = error?.metadata ?? new grpc.Metadata();
    if (last > 0) trailer.set(EVENTS_UNTIL, String(last));
    answer(error, value, trailer);
  };
  return Object.fromEntries(Object.entries(service).map(([name, serve]) =>
    [name, (call, answer) => serve(call, answer && announce(answer))])); // a stream has no answer
}

// State control: a plugin that can be suspended can be hibernated.

let state = 'STATE_UNINITIALIZED';
const watchers = new Set();

function enter(next) {
  state = next;
  for (const watcher of watchers) watcher.write({ state });
}

const targets = { COMMAND_SUSPEND: 'STATE_SUSPENDED', COMMAND_RESUME: 'STATE_RESUMED' };

// The services.

const plugin = {
  Information: (call, answer) => answer(null, {
    name: 'node-echo',
    description: 'answers what it was asked, in JavaScript',
    version: { major: 1 },
    services: ['dormouse.shell.v1.Dispatcher', 'dormouse.shell.v1.Hooks', 'dormouse.statecontrol.v1.StateControl',
      'dormouse.tasks.v1.Worker'],
  }),
  Initialize: (call, answer) => {
    const text = call.request.configuration.toString();
    const { start = 0 } = text === '' ? {} : JSON.parse(text);
    if (!Number.isInteger(start)) {
      answer(null, { error: 'start must be a whole number' });
      return;
    }
    count = start;
    host.socket = call.request.host_socket;
    enter('STATE_SUSPENDED');
    log('info', 'initialized', { start });
    answer(null, {});
  },
  Deinitialize: (call, answer) => {
    log('info', 'deinitialized', { reason: call.request.reason });
    enter('STATE_EXITED');
    answer(null, {});
  },
};

const dispatcher = {
  Invoke: async (call, answer) => {
    const { method, params } = call.request;
    if (!Object.hasOwn(methods, method)) {
      answer(fail(grpc.status.UNIMPLEMENTED, `unknown method ${method}`, 53));
      return;
    }
    try {
      const result = await methods[method](params.length === 0 ? null : JSON.parse(params.toString()));
      answer(null, { result: Buffer.from(JSON.stringify(result)) });
    } catch (error) {
      answer(error.code === undefined ? fail(grpc.status.UNKNOWN, error.message, 1) : error);
    }
  },
  Exists: (call, answer) => answer(null, { exists: Object.hasOwn(methods, call.request.method) }),
  Events: (call) => {
    if (stream !== null) stream.end();
    stream = call;
    const after = call.request.after;
    if (after > 0 && after <= last) sent = after;
    const header = new grpc.Metadata();
    header.set(EVENTS_UNTIL, String(sent));
    call.sendMetadata(header);
    call.on('cancelled', () => {
      if (stream === call) stream = null;
    });
    send();
  },
};

const hooks = {
  BeforeCheckpoint: async (call, answer) => {
    await host.closeForSleep();
    answer(null, {});
  },
  AfterRestore: (call, answer) => {
    host.openAfterSleep();
    const slept = call.request.slept;
    if (slept !== null && (Number(slept.seconds) > 0 || slept.nanos > 0)) awake++;
    emit('woke', { generation: call.request.generation });
    answer(null, {});
  },
};

const control = {
  State: (call, answer) => answer(null, { state }),
  Request: (call, answer) => {
    const target = targets[call.request.command];
    if (target === undefined) {
      answer(fail(grpc.status.INVALID_ARGUMENT, 'unknown command'));
    } else if (target === state) {
      answer(fail(grpc.status.FAILED_PRECONDITION, 'the plugin is in that state', 5));
    } else {
      enter(target);
      answer(null, {});
    }
  },
  Watch: (call) => {
    watchers.add(call);
    call.on('cancelled', () => watchers.delete(call));
    call.write({ state });
  },
};

// The services of gRPC and go-plugin, written without their .proto files.

const raw = (name) => ({
  path: name, requestStream: false, responseStream: false,
  requestSerialize: (b) => b, requestDeserialize: (b) => b, responseSerialize: (b) => b, responseDeserialize: (b) => b,
});

const health = { Check: raw('/grpc.health.v1.Health/Check') };
const serving = Buffer.from([8, 1]); // status: SERVING

const ending = { Shutdown: raw('/plugin.GRPCController/Shutdown') };

function main() {
  if (process.env.DORMOUSE_PLUGIN !== COOKIE) {
    process.stderr.write('node-echo is a plugin: it is started by a Dormouse host, not by hand.\n');
    process.exit(1);
  }
  const server = new grpc.Server({
    'grpc.max_receive_message_length': MAX_MESSAGE,
    'grpc.max_send_message_length': MAX_MESSAGE,
  });
  const end = () => {
    server.forceShutdown();
    process.exit(0);
  };
  server.addService(dormouse.shell.v1.Plugin.service, announcing(plugin));
  server.addService(dormouse.shell.v1.Dispatcher.service, announcing(dispatcher));
  server.addService(dormouse.shell.v1.Hooks.service, announcing(hooks));
  server.addService(dormouse.statecontrol.v1.StateControl.service, announcing(control));
  server.addService(dormouse.tasks.v1.Worker.service, announcing(surveys.worker));
  server.addService(health, { Check: (call, answer) => answer(null, serving) });
  server.addService(ending, {
    Shutdown: (call, answer) => {
      answer(null, Buffer.alloc(0));
      setImmediate(end);
    },
  });
  process.on('SIGTERM', end);
  process.on('SIGINT', () => {}); // meant for the host in whose terminal the plugin runs

  const socket = path.join(process.env.PLUGIN_UNIX_SOCKET_DIR, 'node-echo');
  server.bindAsync('unix:' + socket, grpc.ServerCredentials.createInsecure(), (error) => {
    if (error !== null) {
      log('error', `cannot listen: ${error.message}`);
      process.exit(1);
    }
    process.stdout.write(`1|1|unix|${socket}|grpc\n`);
  });
}

main();
