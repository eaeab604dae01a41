package main

import (
	"strings"
	"testing"
)

// What an operator allows is shown with what the configuration allows, a reload adjusts the
// latter, and the next host knows both.
func TestWebhookVerbs(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, "[webhooks]\nallow = [\"10.1.2.3:80\"]\n")
	h.wait(t, "ready")
	h.dormouse(t, "webhook", "list").expect(t, exitDone, "every target takes its webhooks")
	if r := h.dormouse(t, "webhook", "list", "-o", "json").expect(t, exitDone); strings.TrimSpace(r.out) != "[]" {
		t.Errorf("got %s", r.out)
	}
	h.dormouse(t, "webhook", "retry", "7").expect(t, exitFailed, "!there is no such delivery: 7")
	h.dormouse(t, "webhook", "retry").expect(t, exitUsage, "!it takes either the KEYs of webhooks or --all")
	h.dormouse(t, "webhook", "discard", "x").expect(t, exitUsage, `!"x" is not the KEY of a webhook`)
	h.dormouse(t, "webhook", "discard", "--all").expect(t, exitDone, "0 thrown away")
	h.dormouse(t, "webhook", "allow", "hooks.internal:8080", "x y").expect(t, exitFailed, `!"x y" is not a host name`)
	h.dormouse(t, "webhook", "allow", "hooks.internal:8080").expect(t, exitDone, "10.1.2.3:80          the configuration", "hooks.internal:8080  dormouse webhook allow")
	h.dormouse(t, "webhook", "disallow", "10.1.2.3:80").expect(t, exitFailed, "!a target of the configuration is taken away there")
	if metrics := h.get(t, "/metrics"); !strings.Contains(metrics, "\ndormouse_outbox_deliveries 0\n") {
		t.Error("there are no metrics")
	}
	h.dormouse(t, "plugin", "deactivate", "Webhooks").expect(t, exitDone, "Webhooks deactivated")
	h.dormouse(t, "plugin", "activate", "Webhooks").expect(t, exitDone, "Webhooks activated")
	rewrite(t, configOf(h.cmd.Args), "[webhooks]\nallow = [\":8443\"]\n")
	if told := h.hangUp(t, 1); !strings.Contains(told, "webhooks: adjusted, allow differs") {
		t.Errorf("told %q", told)
	}
	h.dormouse(t, "webhook", "allow").expect(t, exitDone, ":8443                the configuration", "hooks.internal:8080  dormouse webhook allow")
	h.end(t)

	h = startHost(t, root, "")
	h.wait(t, "ready")
	h.dormouse(t, "webhook", "allow", "-o", "json").expect(t, exitDone, `"configured": []`, `"hooks.internal:8080"`)
	h.dormouse(t, "webhook", "disallow", "hooks.internal:8080").expect(t, exitDone, "public addresses")
}
