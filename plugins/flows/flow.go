package flows

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"dormouse/configs"
)

// flow is one flow by its name: what a package declares, the user's state, and what is under
// way. A flow that no package declares is a placeholder, which keeps the state.
type flow struct {
	name string // as it was first written; the key is the same in lower case

	mu       sync.Mutex
	state    configs.FlowState
	pkg      string       // the package that declares the flow, empty for a placeholder
	declared configs.Flow // zero for a placeholder
	last     lastDeclared // what declared it, or did last
	draining bool         // it takes no new messages, since its package is to be removed
	hindered string       // why the last message could not be delivered, empty for no cause
	delivery *delivery    // nil for a placeholder, and before the host has started

	published, processed, failed rate
}

// lastDeclared is what is known of a flow from the package that declared it last, also from an
// earlier host; zero for a flow whose state was set before any package declared it.
type lastDeclared struct {
	Package string           `json:"package,omitempty"`
	Kind    configs.FlowKind `json:"kind,omitempty"`
}

// keyOf returns the key of the flow of that name, which is the name of its queue, too: names
// are unique without regard to case.
func keyOf(name string) string { return strings.ToLower(name) }

// key returns the key of the flow.
func (w *flow) key() string { return keyOf(w.name) }

// snapshot is a flow at one moment.
type snapshot struct {
	configs.Flow // the declaration; of a placeholder only the name, and the kind if it had one
	state        configs.FlowState
	pkg          string
	last         lastDeclared
	draining     bool
	hindered     string
}

// now returns the flow as it is at this moment.
func (w *flow) now() snapshot {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := snapshot{w.declared, w.state, w.pkg, w.last, w.draining, w.hindered}
	if s.isPlaceholder() {
		s.Name, s.Kind = w.name, w.last.Kind
	}
	return s
}

// isPlaceholder reports whether no package declares the flow.
func (s snapshot) isPlaceholder() bool { return s.pkg == "" }

// setHindrance notes why a message could not be delivered, empty once one is.
func (w *flow) setHindrance(why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hindered = why
}

// fault returns what is wrong with a declaration, nil for nothing.
func fault(w configs.Flow) error {
	switch {
	case w.Instance == "":
		return fmt.Errorf("the flow %s names no instance, and its package has none", w.Name)
	case w.Kind != configs.FlowSource && w.Kind != configs.FlowTransform && w.Kind != configs.FlowSink:
		return fmt.Errorf("the flow %s is of no known kind: %q", w.Name, w.Kind)
	case w.Kind != configs.FlowSource && len(w.Takes) == 0:
		return fmt.Errorf("the flow %s takes no topic, and is a %s", w.Name, w.Kind)
	case w.Kind != configs.FlowSink && len(w.Gives) == 0:
		return fmt.Errorf("the flow %s gives no topic, and is a %s", w.Name, w.Kind)
	}
	return nil
}

// topicOf returns the topic of a result that names given, or an error if the flow does not
// give it.
func (s snapshot) topicOf(given string) (string, error) {
	switch {
	case given == "" && len(s.Gives) == 1:
		return s.Gives[0], nil
	case given == "":
		return "", fmt.Errorf("%w: it must name one of the topics %s", ErrInvalid, strings.Join(s.Gives, ", "))
	case !slices.Contains(s.Gives, given):
		return "", fmt.Errorf("%w: %s gives no topic %.128q, only %s", ErrInvalid, s.Name, given, strings.Join(s.Gives, ", "))
	}
	return given, nil
}
