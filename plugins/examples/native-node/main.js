// A native client of a Dormouse host: it watches the instances, activates a plugin,
// calls one of the plugin's gRPC services, hibernates the plugin, wakes it and calls
// again. It prints one line of JSON for each step and each change.
//
//   node main.js SOCKET CALLSIGN [PROTO SERVICE METHOD REQUEST]
//
// By default it calls Counter.increment, as any plugin with JSON-RPC methods can
// be called. PROTO is a .proto file, SERVICE a full name and REQUEST the message
// as JSON.
'use strict';

const path = require('node:path');
const { once } = require('node:events');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const root = path.resolve(__dirname, '../../..');
const contracts = [
  'plugins/controller/controllerpb/controller.proto',
  'shell/shellpb/shell.proto',
  'statecontrol/statecontrolpb/statecontrol.proto',
];

const [socket, callsign, proto, service = 'dormouse.shell.v1.Dispatcher', method = 'Invoke', request] = process.argv.slice(2);

function print(what, rest) {
  console.log(JSON.stringify({ what, ...rest }));
}

// load returns the client class of each service by its full name.
function load(files) {
  const definition = loader.loadSync(files, {
    includeDirs: [root], enums: String, longs: Number, defaults: true, keepCase: true,
  });
  return (name) => grpc.makeGenericClientConstructor(definition[name], name);
}

// call returns the promise of a unary call's answer.
function call(client, name, message, metadata = new grpc.Metadata()) {
  return new Promise((resolve, reject) => {
    client[name](message, metadata, { deadline: Date.now() + 60_000 }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main() {
  const named = load(proto ? [...contracts, path.resolve(proto)] : contracts);
  const connect = (name) => new (named(name))(`unix:${socket}`, grpc.credentials.createInsecure());
  const controller = connect('dormouse.controller.v1.Controller');
  const shell = connect('dormouse.shell.v1.Shell');
  const control = connect('dormouse.statecontrol.v1.StateControl');
  const own = connect(service);

  // A call about one instance names it in the metadata.
  const about = new grpc.Metadata();
  about.set('dormouse-callsign', callsign);

  const states = shell.Watch({}, about);
  states.on('data', ({ state, control }) => print('state', { state, control }));
  states.on('error', (error) => {
    if (error.code !== grpc.status.CANCELLED) fail(error);
  });
  await once(states, 'data');

  const say = async () => {
    const answer = await call(own, method, request ? JSON.parse(request) : { method: 'increment' }, about);
    print('answer', Buffer.isBuffer(answer.result) ? JSON.parse(answer.result) : answer);
  };

  await call(controller, 'Activate', { callsign });
  const { services } = await call(shell, 'Interfaces', {}, about);
  print('interfaces', { services: services.sort() });
  await say();
  if ((await call(shell, 'Status', {}, about)).control === 'CONTROL_RESUMED') {
    await call(control, 'Request', { command: 'COMMAND_SUSPEND' }, about);
  }
  await call(controller, 'Hibernate', { callsign });
  await call(controller, 'Activate', { callsign });
  await say();

  // The answer to a call may arrive before the change that it made.
  const end = once(states, 'end').catch(() => {});
  const { state } = await call(shell, 'Status', {}, about);
  print('done', { state });
  states.cancel();
  await end;
  for (const client of [controller, shell, control, own]) client.close();
}

function fail(error) {
  print('error', { code: grpc.status[error.code], message: error.details || String(error) });
  process.exit(1);
}

main().catch(fail);
