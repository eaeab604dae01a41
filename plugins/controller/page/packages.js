
// Packages, and the catalogue of those that can be installed.

const packages = new Map(); // by name: what Packager.show says
const packageEvents = ["statechange", "progress", "operationend", "synchronizationend"];

async function followPackages() {
  for (const event of packageEvents) await callOf("Packager.1.register", { event, id: "packages" });
  const all = await callOf("Packager.1.list");
  packages.clear();
  showPackages();
  await Promise.all([...all.map(({ name }) => refreshPackage(name)), refreshCatalogue()]);
}

function receivePackageEvent(event, params) {
  switch (event) {
    case "statechange":
      if (!params.phase) note(`package ${params.name} is ${params.status}`); // the table shows the phases
      refreshPackage(params.name);
      break;
    case "progress": {
      const known = packages.get(params.package);
      if (!known?.operation) break;
      known.operation.done = params.done;
      known.operation.total = params.total;
      showPackages();
      break;
    }
    case "operationend":
      note(`${params.verb} of package ${params.package}: ${params.result}` + (params.reason ? `: ${params.reason}` : ""), Boolean(params.reason));
      refreshPackage(params.package);
      refreshFlows(); // those it declares have come or gone
      break;
    case "synchronizationend":
      if (params.error) note(`cannot read the catalogue: ${params.error}`, true);
      refreshCatalogue();
  }
}

// A package whose answer is overtaken by a later question is not shown.
const questions = new Map(); // by name: the number of the last one

async function refreshPackage(name) {
  const mine = (questions.get(name) ?? 0) + 1;
  questions.set(name, mine);
  let shown;
  try {
    shown = await callOf("Packager.1.show", { package: name });
  } catch {
    // It has gone, or the connection has ended; the next connection shows all anew.
  }
  if (questions.get(name) !== mine) return;
  if (shown) packages.set(name, shown);
  else packages.delete(name);
  showPackages();
}

function showPackages() {
  const all = [...packages.values()].sort((a, b) => a.name < b.name ? -1 : 1);
  showRows("packages", all, ["name", "", "", "", "actions"], fillPackage);
}

function fillPackage(row, shown) {
  const [name, version, origin, status, buttons] = row.cells;
  name.replaceChildren(element("span", "callsign", shown.name));
  version.textContent = shown.version;
  origin.textContent = shown.origin;
  status.replaceChildren(element("span", "state " + (shown.disabled ? "" : shown.state.toLowerCase()), shown.disabled ? "DISABLED" : shown.status));
  if (shown.operation) status.append(...describeOperation(shown.operation));
  if (shown.reason) status.append(element("small", "error", shown.reason));
  if (shown.failure?.log.length) status.append(element("pre", "", shown.failure.log.join("\n")));
  setButtons(buttons, shown.name, offersFor(shown).map(({ label, act }) => [label, act]));
}

// The options that lifted a refusal of the package's removal, by name.
const removals = new Map();

// offersFor returns what can be done with a package now: the verbs of the host, and each option
// that would lift the last refusal.
function offersFor(shown) {
  const offers = shown.verbs.map((verb) => ({ label: verb, act: () => changePackage(verb, shown.name) }));
  const upgrade = offers.find(({ label }) => label === "upgrade");
  if (upgrade && shown.origin !== "official") { // the host can't fetch the next version by itself
    upgrade.label = "upgrade by an archive";
    upgrade.act = () => chooseUpgrade(shown.name);
  }
  if (shown.verbs.includes("retry")) {
    for (const option of shown.failure?.options ?? []) {
      offers.push({ label: `retry, ${option}`, act: () => changePackage("retry", shown.name, option) });
    }
  }
  if (shown.verbs.includes("uninstall")) {
    for (const option of removals.get(shown.name) ?? []) {
      offers.push({ label: `uninstall, ${option}`, act: () => changePackage("uninstall", shown.name, option) });
    }
  }
  return offers;
}

// What an option means, for a question before it is used.
const optionMeanings = {
  replace: "take other contents for the version that is installed",
  downgrade: "take a lower version than the one that is installed",
  grant: "grant what the new version asks for beyond the installed one",
  drain: "wait until its flows hold no message, then remove it",
  discard: "throw away the messages that its flows hold",
  force: "remove it although others need it, with the messages that its flows hold",
};

function describeOperation({ verb, phase, target, done = 0, total = 0 }) {
  const text = [verb, target, phase, total ? `${size(done)} of ${size(total)}` : done ? size(done) : ""];
  const shown = [element("small", "", text.filter(Boolean).join(" · "))];
  if (total) {
    const bar = element("progress", "");
    bar.setAttribute("aria-label", `${verb} ${phase}`);
    bar.max = total;
    bar.value = done;
    shown.push(bar);
  }
  return shown;
}

async function changePackage(verb, name, option) {
  const question = option ? `${verb} ${name}: ${optionMeanings[option] ?? option}?` : `Uninstall ${name}?`;
  if ((option || verb === "uninstall") && !confirm(question)) return;
  try {
    await callOf("Packager.1." + verb, option ? { package: name, [option]: true } : { package: name });
    removals.delete(name);
  } catch (failure) {
    note(`cannot ${verb} ${name}: ${failure.message}`, true);
    if (verb === "uninstall") removals.set(name, failure.options);
  }
  showPackages();
}

let upgraded = ""; // the package that the next chosen archive must be; "" for any

function chooseUpgrade(name) {
  upgraded = name;
  byId("archive").click();
}

async function refreshCatalogue() {
  let offers = [], state;
  try {
    offers = await callOf("Packager.1.browse");
    state = offers.length ? "" : "The catalogue is empty, or was not read yet.";
  } catch (failure) {
    state = failure.cause ?? failure.message; // that none is configured, and how to do so
  }
  byId("catalogue-state").textContent = state;
  showRows("catalogue", offers, ["name", "", "actions"], (row, offer) => {
    const [name, versions, buttons] = row.cells;
    name.replaceChildren(element("span", "callsign", offer.name), element("small", "", offer.description));
    versions.textContent = offer.versions.join(", ");
    setButtons(buttons, offer.name, [["install", () => changePackage("install", offer.name)]]);
  });
}

// An upload goes over HTTP, and is bounded by max-size in [packages]. With a name it must be that
// package.
function upload(archive, name) {
  const bar = byId("uploaded"), request = new XMLHttpRequest();
  bar.max = archive.size || 1;
  bar.value = 0;
  bar.hidden = false;
  request.open("POST", "/Service/Packager/packages" + (name ? `?package=${encodeURIComponent(name)}` : ""));
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.onprogress = ({ loaded }) => { bar.value = loaded; };
  request.onload = () => {
    if (request.status === 202) note(JSON.parse(request.responseText).message);
    else note(`cannot upload ${archive.name}: ${request.responseText.trim() || request.status}`, true);
  };
  request.onerror = () => note(`cannot upload ${archive.name}: the connection to the host ended`, true);
  request.onloadend = () => {
    bar.hidden = true;
    byId("archive").value = "";
  };
  request.send(archive);
}

// Rows stay where they are, so that the focus does too.
function showRows(id, all, kinds, fillRow) {
  const table = byId(id), rows = new Map();
  for (const row of table.rows) rows.set(row.dataset.name, row);
  all.forEach((shown, i) => {
    let row = rows.get(shown.name);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.name = shown.name;
      for (const kind of kinds) row.insertCell().className = kind;
    }
    rows.delete(shown.name);
    fillRow(row, shown);
    if (table.rows[i] !== row) table.insertBefore(row, table.rows[i] ?? null);
  });
  for (const row of rows.values()) row.remove();
}

// setButtons makes buttons of verbs and what they do, unless they are there.
function setButtons(cell, name, offered) {
  const key = JSON.stringify(offered.map(([verb]) => verb));
  if (cell.dataset.key === key) return;
  const focused = cell.contains(document.activeElement);
  cell.replaceChildren(...offered.map(([verb, act]) => {
    const b = element("button", "", verb[0].toUpperCase() + verb.slice(1));
    b.setAttribute("aria-label", `${verb} ${name}`);
    b.onclick = act;
    return b;
  }));
  cell.dataset.key = key;
  if (focused) cell.querySelector("button")?.focus();
}

byId("install").onclick = () => {
  const source = byId("source").value.trim();
  if (source) changePackage("install", source);
};
byId("archive").onchange = ({ target }) => {
  if (target.files[0]) upload(target.files[0], upgraded);
  upgraded = "";
};
byId("archive").oncancel = () => { upgraded = ""; };
byId("read-catalogue").onclick = async () => {
  try {
    await callOf("Packager.1.synchronize");
  } catch (failure) {
    note(`cannot read the catalogue: ${failure.message}`, true);
  }
};
