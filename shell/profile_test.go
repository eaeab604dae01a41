package shell

import (
	"encoding/json"
	"reflect"
	"testing"
)

// fullProfile is a profile in which nothing is empty.
var fullProfile = Profile{
	Title: "Minimizer", Name: "minimizer", Version: "1.4.0", Description: "Minimizes.", Tags: []string{"minimizer"},
	Provides: []Type{
		{Name: "minimizer", Version: "1.0.0", Service: "qhana.Minimizer"},
		{Name: "objective", Version: "2.1.0", Methods: []TypeMethod{{Name: "evaluate", Params: json.RawMessage(`{"type":"object"}`), Result: json.RawMessage(`{"type":"number"}`)}}},
	},
	Uses: []Use{{Type: "objective", Tags: []string{"fast", "!beta"}, Range: ">=1.2 <2", Parameter: "objective", Required: true}},
	Entry: &EntryPoint{
		Kind: Visualization, Schema: json.RawMessage(`{"type":"object"}`), UI: "form",
		DataInputs:  []Data{{Name: "features", DataType: "entity/vector", ContentTypes: []string{"application/json"}, Required: true}},
		DataOutputs: []Data{{Name: "weights", DataType: "*", ContentTypes: []string{"text/csv"}, Required: true}},
	},
	Links: []Link{{Type: "of-weights", Href: "weights"}},
}

func TestProfileSurvivesTheWire(t *testing.T) {
	for _, want := range []Profile{{}, {Tags: []string{"a"}}, fullProfile} {
		if got := ProfileFromProto(want.Proto()); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		raw, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Profile
		if err := json.Unmarshal(raw, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("from %s: %+v, %v", raw, got, err)
		}
	}
	if (Profile{}).Proto() != nil {
		t.Error("a profile that says nothing has a message")
	}
	assertNothingEmpty(t, "Profile", reflect.ValueOf(fullProfile))
}

// assertNothingEmpty fails the test if a field is empty, so that a new one is not forgotten.
func assertNothingEmpty(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Pointer:
		assertNothingEmpty(t, path, v.Elem())
	case reflect.Struct:
		if v.NumField() == 0 {
			return
		}
		if v.Type() == reflect.TypeFor[Type]() {
			return // it has a service or methods
		}
		for i := range v.NumField() {
			assertNothingEmpty(t, path+"."+v.Type().Field(i).Name, v.Field(i))
		}
	case reflect.Slice:
		if v.Len() == 0 {
			t.Errorf("%s is empty", path)
		}
		for i := range v.Len() {
			assertNothingEmpty(t, path, v.Index(i))
		}
	default:
		if v.IsZero() {
			t.Errorf("%s is empty", path)
		}
	}
}
