package sdk

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestProfileOnTheWire(t *testing.T) {
	full := Profile{
		Title: "T", Name: "n", Version: "1.2.3", Description: "d", Tags: []string{"a"},
		Provides: []Type{{Name: "t", Version: "1.0.0", Methods: []TypeMethod{{Name: "m", Params: json.RawMessage(`{}`), Result: json.RawMessage(`{}`)}}}, {Name: "u", Service: "s"}},
		Uses:     []Use{{Type: "v", Tags: []string{"!b"}, Range: "^1", Parameter: "p", Required: true}},
		Entry: &EntryPoint{
			Kind: Visualization, Schema: json.RawMessage(`{}`), UI: "ui",
			DataInputs:  []Data{{Name: "i", DataType: "*", ContentTypes: []string{"text/csv"}, Required: true}},
			DataOutputs: []Data{{Name: "o"}},
		},
		Links: []Link{{Type: "l", Href: "x"}},
	}
	if got := profileFromWire(full.toWireOrNil()); !reflect.DeepEqual(got, full) {
		t.Errorf("got %+v, want %+v", got, full)
	}
	if (Profile{}).toWireOrNil() != nil {
		t.Error("a profile that says nothing has a message")
	}
	m, err := Virtual{Callsign: "C", Tags: full.Tags, Provides: full.Provides, Uses: full.Uses, Entry: full.Entry, Links: full.Links}.toWire()
	if err != nil {
		t.Fatal(err)
	}
	if v := virtualFromWire(m); !reflect.DeepEqual(v.Provides, full.Provides) || !reflect.DeepEqual(v.Uses, full.Uses) || !reflect.DeepEqual(v.Entry, full.Entry) || len(v.Links) != 1 {
		t.Errorf("got %+v", v)
	}
}
