package qhanatest

import (
	"encoding/json"
	"fmt"
)

// UnmarshalJSON reads a step as the backend does: into a closed record.
func (s *Step) UnmarshalJSON(text []byte) error {
	type plain Step
	if err := checkMembers(text, "stepId", "href", "uiHref", "cleared"); err != nil {
		return fmt.Errorf("a step: %w", err)
	}
	return json.Unmarshal(text, (*plain)(s))
}

// UnmarshalJSON reads progress as the backend does: into a closed record.
func (p *Progress) UnmarshalJSON(text []byte) error {
	type plain Progress
	if err := checkMembers(text, "value", "start", "target", "unit"); err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	return json.Unmarshal(text, (*plain)(p))
}

// checkMembers returns an error unless the object has exactly these members.
func checkMembers(text []byte, names ...string) error {
	var members map[string]any
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	for _, name := range names {
		if _, there := members[name]; !there {
			return fmt.Errorf("%s lacks %s", text, name)
		}
	}
	if len(members) != len(names) {
		return fmt.Errorf("%s has members besides %v", text, names)
	}
	return nil
}
