
// Flows, and what waits in them.

let flowsExist = false;
const flowVerbs = { running: ["pause", "stop"], paused: ["run", "stop"], stopped: ["run", "pause"] };

async function followFlows() {
  for (const event of ["statechange", "deadletter"]) await callOf("Flows.1.register", { event, id: "flows" });
  await refreshFlows();
}

function receiveFlowEvent(event, { flow, state, why }) {
  if (event === "deadletter") note(`a message of the flow ${flow} is a dead letter: ${why}`, true);
  else note(`flow ${flow} is ${state}`);
  refreshFlows();
}

let flowsAsked = false, flowsAgain = false;

// One list is asked for at a time, and once more if something happened meanwhile.
async function refreshFlows() {
  if (flowsAsked) {
    flowsAgain = true;
    return;
  }
  flowsAsked = true;
  try {
    do {
      flowsAgain = false;
      const all = await callOf("Flows.1.list");
      flowsExist = all.length > 0;
      showRows("flows", all, ["name", "", "number", "number", "number", "number", "actions"], fillFlow);
    } while (flowsAgain);
  } catch {
    // The connection ended; the next one shows everything anew.
  } finally {
    flowsAsked = false;
  }
}

function fillFlow(row, flow) {
  const [name, state, waiting, oldest, rates, dead, buttons] = row.cells;
  name.replaceChildren(element("span", "callsign", flow.name), element("small", "", [flow.kind, flow.package].filter(Boolean).join(" · ")));
  state.replaceChildren(element("span", "state " + (flow.state ?? ""), flow.state), " ", element("span", "soft", flow.effect));
  if (flow.why) state.append(element("small", "error", flow.why));
  waiting.textContent = `${flow.messages} (${size(flow.bytes)})`;
  oldest.textContent = flow.messages ? `${Math.round(flow.oldest)} s` : "–";
  rates.textContent = [flow.in, flow.out, flow.failed].map((rate) => rate.toFixed(1)).join(", ");
  dead.textContent = flow.dead;
  setButtons(buttons, flow.name, (flowVerbs[flow.state] ?? []).map((verb) => [verb, () => changeFlow(verb, flow.name)]));
}

async function changeFlow(verb, flow) {
  try {
    await callOf("Flows.1." + verb, { flow });
  } catch (failure) {
    note(`cannot ${verb} the flow ${flow}: ${failure.message}`, true);
  }
}

connect();
