package shellpb

import "strings"

var toWords, toName = strings.NewReplacer("_", " "), strings.NewReplacer(" ", "_")

// wordsOf returns the name of an enum's value in lower case, without the prefix and with
// spaces; empty if names, the names of the enum, lacks the value.
func wordsOf[E ~int32](names map[int32]string, prefix string, value E) string {
	return toWords.Replace(strings.ToLower(strings.TrimPrefix(names[int32(value)], prefix)))
}

// valueOfWords returns the enum's value with the words that wordsOf returns for it, and the
// enum's first value if the words are unknown.
func valueOfWords[E ~int32](values map[string]int32, prefix, words string) E {
	return E(values[prefix+toName.Replace(strings.ToUpper(words))])
}

// Words returns the reason as text for people, such as "memory exceeded"; empty if this
// version does not know the reason.
func (r Reason) Words() string { return wordsOf(Reason_name, "REASON_", r) }

// ReasonOf returns the reason with the given text, REQUESTED if there is none.
func ReasonOf(words string) Reason { return valueOfWords[Reason](Reason_value, "REASON_", words) }

// Words returns the state in lower case, such as "activated"; empty if this version does
// not know the state.
func (s State) Words() string { return wordsOf(State_name, "STATE_", s) }

// StateOf returns the state with the given text, UNAVAILABLE if there is none.
func StateOf(words string) State { return valueOfWords[State](State_value, "STATE_", words) }

// Words returns the state of the state control, such as "suspended"; empty for NONE.
func (c Control) Words() string {
	if c == Control_CONTROL_NONE {
		return ""
	}
	return wordsOf(Control_name, "CONTROL_", c)
}

// ControlOf returns the state of a state control with the given text, NONE if there is
// none.
func ControlOf(words string) Control { return valueOfWords[Control](Control_value, "CONTROL_", words) }

// Words returns the start mode in lower case, such as "activated"; empty if this version
// does not know the mode.
func (m StartMode) Words() string { return wordsOf(StartMode_name, "START_MODE_", m) }

// StartModeOf returns the start mode with the given text, UNAVAILABLE if there is none.
func StartModeOf(words string) StartMode {
	return valueOfWords[StartMode](StartMode_value, "START_MODE_", words)
}

// Words returns the kind of work in lower case, such as "processing"; empty if this version
// does not know the kind.
func (k EntryKind) Words() string { return wordsOf(EntryKind_name, "ENTRY_KIND_", k) }

// EntryKindOf returns the kind of work with the given text, PROCESSING if there is none.
func EntryKindOf(words string) EntryKind {
	return valueOfWords[EntryKind](EntryKind_value, "ENTRY_KIND_", words)
}
