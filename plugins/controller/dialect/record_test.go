package dialect

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
)

// publicMembers are the members with text that every reader may see. A member that is not
// among them must be empty for readers.
var publicMembers = []string{
	"Callsign", "ClassName", "Module", "State", "StartMode", "Postfix", "Preconditions", "Terminations", "Controls",
	"Version.Hash", "Additions.Image.Engine", "Additions.Image.Created", "Additions.Warm.Created", "Additions.Transition",
	"Additions.Reason", "Additions.Since", "Additions.Package", "Additions.Parent", "Additions.Clone.Of", "Additions.Clone.Own",
	"Additions.Lost.At", "Additions.Lost.Class", "Additions.Lost.Until",
	"Additions.History.At", "Additions.History.Event", "Additions.History.From", "Additions.History.To", "Additions.History.Reason", "Additions.History.Control",
	"Next.Do", "Next.At", "Next.Because", "LastUse", "Retry", "Golden.Engine", "Golden.Created",
}

// fillText sets every text in v to "secret", in lists too, and every pointer to a new value.
func fillText(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("secret")
	case reflect.Struct:
		for _, field := range v.Fields() {
			fillText(field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillText(v.Elem())
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes([]byte(`"secret"`))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillText(v.Index(0))
	default:
	}
}

// textMembers returns the members in which "secret" stands.
func textMembers(v reflect.Value, name string) (names []string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			below := v.Type().Field(i).Name
			if name != "" {
				below = name + "." + below
			}
			names = append(names, textMembers(v.Field(i), below)...)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			names = textMembers(v.Elem(), name)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Uint8 {
			for i := range v.Len() {
				names = append(names, textMembers(v.Index(i), name)...)
			}
			break
		}
		fallthrough
	case reflect.String:
		if text := fmt.Sprintf("%s", v.Interface()); text == "secret" || text == `"secret"` {
			names = append(names, name)
		}
	default:
	}
	return names
}

// Every member with text is either known as public or empty for readers, also one that is
// added one day.
func TestWithoutDetails(t *testing.T) {
	var record Record
	fillText(reflect.ValueOf(&record).Elem())
	var explanation Explanation
	fillText(reflect.ValueOf(&explanation).Elem())
	if all := textMembers(reflect.ValueOf(record), ""); len(all) < 25 {
		t.Fatalf("only these were filled: %v", all)
	}
	for _, shown := range []any{record.WithoutDetails(), explanation.WithoutDetails()} {
		for _, member := range textMembers(reflect.ValueOf(shown), "") {
			if !slices.Contains(publicMembers, member) {
				t.Errorf("%T shows readers %s", shown, member)
			}
		}
	}
}
