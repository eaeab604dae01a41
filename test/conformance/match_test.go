package conformance

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// match returns nil if got fits the pattern, else an error that says where it differs.
func match(pattern, got string) error {
	var want, have any
	if err := json.Unmarshal([]byte(pattern), &want); err != nil {
		return fmt.Errorf("the pattern %s is not JSON: %w", pattern, err)
	}
	if err := json.Unmarshal([]byte(got), &have); err != nil {
		return fmt.Errorf("%s is not JSON: %w", got, err)
	}
	return matchValue("", want, have)
}

func matchValue(at string, want, have any) error {
	switch want := want.(type) {
	case map[string]any:
		have, ok := have.(map[string]any)
		if !ok {
			return mismatch(at, want, have)
		}
		return matchObject(at, want, have)
	case []any:
		have, ok := have.([]any)
		if !ok {
			return mismatch(at, want, have)
		}
		return matchArray(at, want, have)
	case string:
		if text, ok := have.(string); want == "*" || ok && matchText(want, text) {
			return nil
		}
	default:
		if want == have {
			return nil
		}
	}
	return mismatch(at, want, have)
}

func matchObject(at string, want, have map[string]any) error {
	_, open := want["…"]
	for name, value := range want {
		if name == "…" {
			continue
		}
		member, ok := have[name]
		if !ok {
			return fmt.Errorf("%s has no member %q", place(at), name)
		}
		if err := matchValue(at+"."+name, value, member); err != nil {
			return err
		}
	}
	for name := range have {
		if _, known := want[name]; !known && !open {
			return fmt.Errorf("%s has a member %q: %s", place(at), name, text(have[name]))
		}
	}
	return nil
}

func matchArray(at string, want, have []any) error {
	open := len(want) > 0 && want[len(want)-1] == "…"
	if open {
		want = want[:len(want)-1]
	}
	if len(have) < len(want) || len(have) > len(want) && !open {
		return fmt.Errorf("%s has %d elements instead of %d: %s", place(at), len(have), len(want), text(have))
	}
	if !open {
		return matchElements(at, want, have)
	}
	// Those that are named stand in the array, in this order.
	for i, element := range want {
		found := slices.IndexFunc(have, func(h any) bool { return matchValue("", element, h) == nil })
		if found < 0 {
			return fmt.Errorf("%s[%d]: no element is %s", at, i, text(element))
		}
		have = have[found+1:]
	}
	return nil
}

func matchElements(at string, want, have []any) error {
	for i := range want {
		if err := matchValue(fmt.Sprintf("%s[%d]", at, i), want[i], have[i]); err != nil {
			return err
		}
	}
	return nil
}

// matchText takes a "*" at the end for any more.
func matchText(want, have string) bool {
	if prefix, open := strings.CutSuffix(want, "*"); open {
		return strings.HasPrefix(have, prefix)
	}
	return want == have
}

func mismatch(at string, want, have any) error {
	return fmt.Errorf("%s is %s instead of %s", place(at), text(have), text(want))
}

func place(at string) string {
	if at == "" {
		return "the whole"
	}
	return strings.TrimPrefix(at, ".")
}

func text(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
