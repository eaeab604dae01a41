package configs

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"

	"dormouse/internal/tomltable"
)

// Flow is a table [[flow]] of a package: messages that come in at one of its instances, go out
// there, or both.
type Flow struct {
	// Name is unique without regard to case, and safe as one segment of a URL.
	Name string   `toml:"name"`
	Kind FlowKind `toml:"kind"`

	// Instance is the callsign of the instance that gets the messages, "" for the first one
	// of the package.
	Instance string `toml:"instance"`
	// Virtual is the callsign of a virtual plugin of the instance, for which the messages are;
	// "" for the instance itself.
	Virtual string `toml:"virtual"`

	// Takes are the topics whose messages the flow gets, Gives those of the messages that it
	// may send. A source takes none, a sink gives none.
	Takes []string `toml:"takes"`
	Gives []string `toml:"gives"`

	// State is what a flow that is new begins with.
	State FlowState `toml:"state"`

	// Unrouted is what becomes of a message that the flow gives and no flow takes: "error",
	// "drop", or the topic that it gets instead.
	Unrouted string `toml:"unrouted"`

	// Parallel is how many messages may be with the plugin at a time. With more than 1 their
	// order is not kept.
	Parallel int `toml:"parallel"`

	// MaxMessages and MaxBytes bound the flow's queue; 0 is no bound of its own.
	MaxMessages int   `toml:"max-messages"`
	MaxBytes    Bytes `toml:"max-bytes"`

	// Attempts is how often a message is tried before it is a dead letter.
	Attempts int `toml:"attempts"`
}

// Receiver returns the callsign of the instance or virtual plugin for which the messages are.
func (w Flow) Receiver() string { return cmp.Or(w.Virtual, w.Instance) }

// FlowKind is the direction of a flow.
type FlowKind string

// The values of the key "kind".
const (
	FlowSource    FlowKind = "source"
	FlowTransform FlowKind = "transform"
	FlowSink      FlowKind = "sink"
)

// FlowState is what the user wants of a flow.
type FlowState string

// The values of the key "state".
const (
	FlowRunning FlowState = "running"
	FlowPaused  FlowState = "paused"
	FlowStopped FlowState = "stopped"
)

// The values of the key "unrouted" that are no topics.
const (
	UnroutedError = "error"
	UnroutedDrop  = "drop"
)

// DefaultFlow returns the defaults of a flow. Name and Kind are empty, because these keys have
// no default.
func DefaultFlow() Flow {
	return Flow{
		State:       FlowStopped,
		Unrouted:    UnroutedError,
		Parallel:    1,
		MaxMessages: 100_000,
		MaxBytes:    256 << 20,
		Attempts:    5,
	}
}

// ReadFlow returns the flow that a table [[flow]] describes. What is wrong is added to the
// faults of the table's file.
func ReadFlow(table *tomltable.Table) Flow {
	t := &tableReader{Table: table}
	w := DefaultFlow()
	t.ReadText("name", &w.Name, CheckFlowName)
	readAllowedWord(t, "kind", &w.Kind, FlowSource, FlowTransform, FlowSink)
	t.ReadText("instance", &w.Instance, CheckCallsign)
	t.ReadText("virtual", &w.Virtual, CheckCallsign)
	t.ReadTextList("takes", &w.Takes, CheckTopic)
	t.ReadTextList("gives", &w.Gives, CheckTopic)
	readAllowedWord(t, "state", &w.State, FlowRunning, FlowPaused, FlowStopped)
	t.ReadText("unrouted", &w.Unrouted, checkUnrouted)
	t.ReadInteger("parallel", &w.Parallel, 1, 1000)
	t.ReadInteger("max-messages", &w.MaxMessages, 0, math.MaxInt32)
	t.ReadParsed("max-bytes", `a size such as "64MiB"`, &w.MaxBytes)
	t.ReadInteger("attempts", &w.Attempts, 1, 1000)
	t.ReportMissingKeys("name", "kind")
	reportWrongTopics(t, w)
	t.ReportUnknownKeys()
	return w
}

// reportWrongTopics reports topics that do not go with the kind of the flow, and a topic that
// stands twice.
func reportWrongTopics(t *tableReader, w Flow) {
	for _, side := range []struct {
		key    string
		topics []string
		not    FlowKind // the kind that has no such topics
	}{{"takes", w.Takes, FlowSource}, {"gives", w.Gives, FlowSink}} {
		written, _ := t.Values()[side.key].([]any)
		switch {
		case w.Kind == side.not && len(written) > 0:
			t.AddProblem(side.key, "key %q %s does not go with kind = %q", side.key, t.Name, w.Kind)
		case w.Kind != "" && w.Kind != side.not && len(written) == 0:
			t.AddProblem(side.key, "key %q %s must name a topic at least, since kind is %q", side.key, t.Name, w.Kind)
		}
		for i, topic := range side.topics {
			if slices.Contains(side.topics[:i], topic) {
				t.AddProblem(side.key, "key %q %s names the topic %q twice", side.key, t.Name, topic)
			}
		}
	}
}

var topicForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,127}$`)

// CheckTopic returns an error if the name cannot be the name of a topic.
func CheckTopic(name string) error {
	if !topicForm.MatchString(name) {
		return fmt.Errorf(`%q is not a topic: it must be a letter, then at most 127 letters, digits, "_", "." or "-"`, name)
	}
	if name == UnroutedError || name == UnroutedDrop {
		return fmt.Errorf("%q can't be a topic, since \"unrouted\" has another meaning for it", name)
	}
	return nil
}

// CheckFlowName returns an error if the name cannot be the name of a flow.
func CheckFlowName(name string) error {
	if !callsignForm.MatchString(name) {
		return fmt.Errorf(`%q is not the name of a flow: it must be a letter, then at most 63 letters, digits, "_", "." or "-"`, name)
	}
	return nil
}

// checkUnrouted returns an error if the text is neither "error" nor "drop" nor a topic.
func checkUnrouted(text string) error {
	if text == UnroutedError || text == UnroutedDrop {
		return nil
	}
	return CheckTopic(text)
}
