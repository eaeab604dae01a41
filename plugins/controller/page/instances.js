"use strict";

// What an operator may do to an instance in each state: label and method.
const actions = {
  deactivated: [["Activate", "activate"]],
  unavailable: [["Make available", "deactivate"]],
  precondition: [["Deactivate", "deactivate"]],
  activated: [["Restart", "restart"], ["Deactivate", "deactivate"]],
  resumed: [["Suspend", "suspend"], ["Restart", "restart"], ["Deactivate", "deactivate"]],
  suspended: [["Resume", "resume"], ["Hibernate", "hibernate"], ["Restart", "restart"], ["Deactivate", "deactivate"]],
  hibernated: [["Wake", "activate"], ["Restart", "restart"], ["Deactivate", "deactivate"]],
};
const partsOfHost = ["Controller", "Packager", "Flows", "Webhooks", "Tasks"]; // run as long as the host does
const refreshEvery = 2000, longestLog = 200, longestWait = 15000;
const byId = (id) => document.getElementById(id);

let socket, lastId = 0, wait = 500, refreshing = false, again = false;
const waiting = new Map(); // by id: what to do with the answer
const busy = new Set(); // callsigns with an operation under way

function connect() {
  const at = new URL("/jsonrpc?dialect=r4", location.href); // whatever others are spoken to in
  at.protocol = at.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(at, "notification");
  socket.onopen = async () => {
    wait = 500;
    showLink(true);
    try {
      for (const event of ["statechange", "statecontrolstatechange"]) {
        await call("register", { event, id: "page" });
      }
      for (const event of ["plugincreated", "pluginchanged", "pluginremoved"]) {
        await call("register", { event, id: "roster" });
      }
      const { hash } = await call("version");
      byId("version").textContent = hash;
      await refresh();
      await followPackages();
      await followFlows();
    } catch (failure) {
      note(failure.message, true);
    }
  };
  socket.onmessage = ({ data }) => receive(JSON.parse(data));
  socket.onclose = () => {
    showLink(false);
    for (const { reject } of waiting.values()) reject(new Error("the connection to the host ended"));
    waiting.clear();
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, longestWait);
  };
}

function receive(message) {
  const asked = waiting.get(message.id);
  if (asked) {
    waiting.delete(message.id);
    if (message.error) asked.reject(errorOf(message.error));
    else asked.resolve(message.result);
  } else if (message.method?.startsWith("page.")) {
    const { callsign, state, reason } = message.params;
    note(`${callsign} is ${lower(state)}` + (reason ? ` (${lower(reason)})` : ""));
    refresh();
  } else if (message.method?.startsWith("roster.")) {
    const { callsign, parent } = message.params, what = message.method.slice("roster.plugin".length);
    if (what !== "changed") note(`${callsign} was ${what}` + (parent ? ` by ${parent}` : ""));
    refresh();
  } else if (message.method?.startsWith("packages.")) {
    receivePackageEvent(message.method.slice("packages.".length), message.params);
  } else if (message.method?.startsWith("flows.")) {
    receiveFlowEvent(message.method.slice("flows.".length), message.params);
  }
}

// errorOf returns the error of an answer, with its cause if the host says one, and the options that
// would lift it if it is a refusal.
function errorOf({ message, data }) {
  const cause = data?.cause, failure = new Error([message, cause].filter(Boolean).join(" "), { cause });
  failure.options = data?.options ?? [];
  return failure;
}

// call calls a method of the Controller, callOf one of any callsign.
function call(method, params) {
  return callOf("Controller.1." + method, params);
}

function callOf(method, params) {
  return new Promise((resolve, reject) => {
    if (socket.readyState !== WebSocket.OPEN) {
      reject(new Error("the host cannot be reached"));
      return;
    }
    const id = ++lastId;
    waiting.set(id, { resolve, reject });
    socket.send(JSON.stringify({ jsonrpc: "2.0", id, method, params }));
  });
}

// One status is asked for at a time, and once more if something happened meanwhile.
async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  try {
    do {
      again = false;
      show(await call("status"));
    } while (again);
  } catch {
    // The connection ended; the next one shows everything anew.
  } finally {
    refreshing = false;
  }
}

async function operate(callsign, method) {
  busy.add(callsign);
  refresh();
  try {
    await call(method, { callsign });
  } catch (failure) {
    note(`cannot ${method} ${callsign}: ${failure.message}`, true);
  }
  busy.delete(callsign);
  refresh();
}

// Rows stay where they are, so that the focus does too.
function show(instances) {
  const table = byId("instances"), rows = new Map();
  for (const row of table.rows) rows.set(row.dataset.callsign, row);
  instances.forEach((instance, i) => {
    const row = rows.get(instance.callsign) ?? newRow(instance.callsign);
    rows.delete(instance.callsign);
    fill(row, instance);
    if (table.rows[i] !== row) table.insertBefore(row, table.rows[i] ?? null);
  });
  for (const row of rows.values()) row.remove();
}

function newRow(callsign) {
  const row = document.createElement("tr");
  row.dataset.callsign = callsign;
  for (const kind of ["name", "", "number", "number", "actions"]) {
    row.insertCell().className = kind;
  }
  return row;
}

function fill(row, instance) {
  const state = instance.transition ?? lower(instance.state);
  const [name, where, memory, disk, buttons] = row.cells;
  name.replaceChildren(element("span", "callsign", instance.callsign), element("small", "", describe(instance)));
  where.replaceChildren(element("span", "state " + state, state), " ", element("span", "soft", age(instance.since)));
  if (instance.error) where.append(element("small", "error", instance.error));
  memory.textContent = instance.memory ? size(instance.memory) : "–";
  disk.textContent = instance.image ? size(instance.image.bytes) : "–";

  const offered = partsOfHost.includes(instance.callsign) || instance.transition ? [] : actions[state] ?? [];
  const key = JSON.stringify([offered, busy.has(instance.callsign)]);
  if (instance.progress?.total) {
    const bar = element("progress", "");
    bar.setAttribute("aria-label", `${state} ${instance.callsign}`);
    bar.max = instance.progress.total;
    bar.value = instance.progress.done;
    buttons.replaceChildren(bar);
    delete buttons.dataset.key;
  } else if (buttons.dataset.key !== key) {
    const focused = buttons.contains(document.activeElement);
    buttons.replaceChildren(...offered.map(([label, method]) => {
      const b = element("button", "", label);
      b.setAttribute("aria-label", `${label} ${instance.callsign}`);
      b.disabled = busy.has(instance.callsign);
      b.onclick = () => operate(instance.callsign, method);
      return b;
    }));
    buttons.dataset.key = key;
    if (focused) buttons.querySelector("button")?.focus();
  }
}

function describe({ classname, version, pid, parent }) {
  const v = [version.major, version.minor, version.patch];
  return [classname, v.some(Boolean) ? v.join(".") : "", pid ? "pid " + pid : "", parent ? "virtual plugin of " + parent : ""].filter(Boolean).join(" · ");
}

function element(tag, kind, text) {
  const e = document.createElement(tag);
  e.className = kind;
  if (text) e.textContent = text;
  return e;
}

// lower spells Thunder's names as words: MemoryExceeded is "memory exceeded".
function lower(name) {
  return name.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}

function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit++;
  }
  return `${bytes.toFixed(bytes < 10 && unit > 0 ? 1 : 0)} ${units[unit]}`;
}

function age(since) {
  const s = Math.max(0, Math.round((Date.now() - Date.parse(since)) / 1000));
  if (!(s < 1e10)) return "";
  if (s < 60) return `for ${s} s`;
  if (s < 3600) return `for ${Math.floor(s / 60)} min`;
  if (s < 86400) return `for ${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
  return `for ${Math.floor(s / 86400)} d`;
}

function note(text, failed) {
  const line = element("li", failed ? "error" : "");
  line.append(element("time", "", new Date().toLocaleTimeString()), text);
  const log = byId("log");
  log.prepend(line);
  while (log.children.length > longestLog) log.lastChild.remove();
}

function showLink(up) {
  const link = byId("link");
  link.textContent = up ? "connected" : "not connected";
  link.className = up ? "soft up" : "soft";
}

// Figures change without events. They are asked for while the page is seen, of the tables that are
// on the screen.
const onScreen = new Set(); // ids of tables
const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) onScreen.add(target.dataset.shows);
    else onScreen.delete(target.dataset.shows);
  }
  refreshWhatIsSeen();
});
for (const card of document.querySelectorAll("[data-shows]")) watcher.observe(card);

function refreshWhatIsSeen() {
  if (document.hidden || socket?.readyState !== WebSocket.OPEN) return;
  if (onScreen.has("instances")) refresh();
  if (onScreen.has("flows") && flowsExist) refreshFlows();
}

setInterval(refreshWhatIsSeen, refreshEvery);
document.onvisibilitychange = refreshWhatIsSeen;
