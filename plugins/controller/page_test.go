package controller

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate/hibernatetest"
)

// browser is what the scripts of the page need of one, for Node: elements that keep what is set, a
// host that answers what answers says, and a clock that does not run. What is asked of the host is
// in asked.
const browser = `
const asked = [], answers = {}, confirmed = [];
const made = new Map();
function anElement() {
  const e = { dataset: {}, rows: [], children: [], cells: [], files: [], value: "" };
  return new Proxy(e, { get: (of, name) => name in of ? of[name] : () => anElement() });
}
const document = {
  hidden: false,
  getElementById: (id) => made.get(id) ?? made.set(id, anElement()).get(id),
  createElement: anElement,
  querySelectorAll: () => [],
};
const location = { href: "http://host/" };
let answer = () => {};
class WebSocket {
  static OPEN = 1;
  readyState = 1;
  send(text) {
    const { id, method, params } = JSON.parse(text);
    asked.push([method, params]);
    const { error, result = null } = answers[method] ?? {};
    queueMicrotask(() => this.onmessage({ data: JSON.stringify(error ? { id, error } : { id, result }) }));
  }
}
let seen;
class IntersectionObserver {
  constructor(told) { seen = told; }
  observe() {}
}
let tick;
const setInterval = (work) => { tick = work; };
const confirm = (question) => { confirmed.push(question); return true; };
class XMLHttpRequest {
  upload = {};
  open(method, url) { asked.push([method, url]); }
  setRequestHeader() {}
  send() {}
}
const settled = () => new Promise((done) => setImmediate(done));
`

// inBrowser runs the scripts of the page and then these lines, which print a JSON value.
func inBrowser(t *testing.T, lines string, to any) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("make setup-test installs Node: %w", err))
	}
	_, script, _ := strings.Cut(builtinPage, "<script>")
	script, _, _ = strings.Cut(script, "</script>")
	cmd := exec.CommandContext(t.Context(), "node", "-")
	cmd.Stdin = strings.NewReader("(async () => {" + browser + script + "\n" + lines + "})();")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, said.String())
	}
	if err := json.Unmarshal(out, to); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
}

// What is offered for a package are the verbs that the host names, an upgrade of what does not come
// from the catalogue by another archive, and each option that lifts the last refusal.
func TestPageOffers(t *testing.T) {
	for _, test := range []struct {
		shown string
		want  []string
	}{
		{`{name: "p", origin: "official", verbs: ["upgrade", "disable"]}`, []string{"upgrade", "disable"}},
		{`{name: "p", origin: "local", verbs: ["upgrade", "disable"]}`, []string{"upgrade by an archive", "disable"}},
		{
			`{name: "p", origin: "official", verbs: ["upgrade", "retry"], failure: {options: ["downgrade"]}}`,
			[]string{"upgrade", "retry", "retry, downgrade"},
		},
		{`{name: "p", origin: "official", verbs: ["cancel"], failure: {options: ["grant"]}}`, []string{"cancel"}},
	} {
		var got []string
		inBrowser(t, `console.log(JSON.stringify(offersFor(`+test.shown+`).map(({ label }) => label)));`, &got)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.shown, diff)
		}
	}
}

// An option that the host names in a refusal is offered, and sent once it is confirmed; the archive
// for an upgrade must be that package.
func TestPageLiftsRefusals(t *testing.T) {
	const lines = `
const shown = { name: "p", origin: "local", verbs: ["upgrade", "uninstall", "retry"], failure: { options: ["grant"], log: [] } };
answers["Packager.1.uninstall"] = { error: { message: "refused", data: { cause: "its flows hold messages", options: ["drain", "discard"] } } };
const offered = (label) => offersFor(shown).find((offer) => offer.label === label).act();
await offered("uninstall");
const labels = offersFor(shown).map(({ label }) => label);
answers["Packager.1.uninstall"] = {};
await offered("uninstall, drain");
await offered("retry, grant");
offered("upgrade by an archive");
byId("archive").onchange({ target: { files: [{ name: "p.tar.zst", size: 1 }] } });
byId("archive").onchange({ target: { files: [{ name: "q.tar.zst", size: 1 }] } });
console.log(JSON.stringify({ labels, asked, confirmed: confirmed.length, left: offersFor(shown).length }));`
	var got struct {
		Labels    []string
		Asked     [][]any
		Confirmed int
		Left      int
	}
	inBrowser(t, lines, &got)
	options := func(more string) map[string]any {
		o := map[string]any{"package": "p"}
		if more != "" {
			o[more] = true
		}
		return o
	}
	if diff := cmp.Diff([][]any{
		{"Packager.1.uninstall", options("")},
		{"Packager.1.uninstall", options("drain")},
		{"Packager.1.retry", options("grant")},
		{"POST", "/Service/Packager/packages?package=p"},
		{"POST", "/Service/Packager/packages"},
	}, got.Asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"upgrade by an archive", "uninstall", "retry", "retry, grant", "uninstall, drain", "uninstall, discard"}, got.Labels); diff != "" {
		t.Errorf("offered (-want +got):\n%s", diff)
	}
	if got.Confirmed != 3 || got.Left != 4 {
		t.Errorf("%d questions, and %d offers left", got.Confirmed, got.Left)
	}
}

// Figures are asked for while their table is on the screen of a page that is seen.
func TestPageAsksForWhatIsSeen(t *testing.T) {
	const lines = `
const during = async (work) => { asked.length = 0; work(); await settled(); return asked.map(([method]) => method); };
const scroll = (name, isIntersecting) => seen([{ target: { dataset: { shows: name } }, isIntersecting }]);
answers["Flows.1.list"] = { result: [] };
answers["Controller.1.status"] = { result: [] };
const nothing = await during(tick);
const instances = await during(() => scroll("instances", true));
const noFlows = await during(() => scroll("flows", true));
flowsExist = true;
const both = await during(tick);
flowsExist = true;
scroll("instances", false);
await settled();
flowsExist = true;
const flows = await during(tick);
flowsExist = true;
document.hidden = true;
const hidden = await during(tick);
console.log(JSON.stringify([nothing, instances, noFlows, both, flows, hidden]));`
	var got [][]string
	inBrowser(t, lines, &got)
	const status, list = "Controller.1.status", "Flows.1.list"
	if diff := cmp.Diff([][]string{{}, {status}, {status}, {status, list}, {list}, {}}, got); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}
