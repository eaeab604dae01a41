package shell

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestProfileCheck(t *testing.T) {
	if err := fullProfile.Check(); err != nil {
		t.Fatal(err)
	}
	method := func(params string) []Type {
		return []Type{{Name: "t", Methods: []TypeMethod{{Name: "m", Params: json.RawMessage(params)}}}}
	}
	long := strings.Repeat("x", maxProfileText+1)
	for want, p := range map[string]Profile{
		"a title, name or version has 257":  {Title: long},
		"its description has 4097 bytes":    {Description: strings.Repeat("x", maxDescription+1)},
		"it has 257 tags":                   {Tags: slices.Repeat([]string{"x"}, 257)},
		`"!x" is not a tag`:                 {Tags: []string{"!x"}},
		`"x y" is not a tag`:                {Uses: []Use{{Tags: []string{"x y"}}}},
		"it names neither a type nor tags":  {Uses: []Use{{}}},
		`"^a" is not a range`:               {Uses: []Use{{Type: "t", Range: "^a"}}},
		`"a b" is not a name of a type`:     {Provides: []Type{{Name: "a b"}}},
		`"1.0" is not a version`:            {Provides: []Type{{Name: "t", Version: "1.0"}}},
		"it is a service or methods":        {Provides: []Type{{Name: "t", Service: "s", Methods: []TypeMethod{{Name: "m"}}}}},
		"a method has no name":              {Provides: []Type{{Name: "t", Methods: []TypeMethod{{}}}}},
		"the schema of the parameters of m": {Provides: method(`{"type":"text"}`)},
		"it has 65537 bytes":                {Provides: method(strings.Repeat(" ", maxSchema+1))},
		`there is no kind "walking"`:        {Entry: &EntryPoint{Kind: "walking"}},
		"the schema of the parameters:":     {Entry: &EntryPoint{Kind: Processing, Schema: json.RawMessage(`{`)}},
		`its page "../x"`:                   {Entry: &EntryPoint{Kind: Processing, UI: "../x"}},
		`its page "/x"`:                     {Entry: &EntryPoint{Kind: Processing, UI: "/x"}},
		`the link "a"`:                      {Links: []Link{{"a", "x"}, {"a", "y"}}},
	} {
		if err := p.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// TestProfileWithAPackages has what a package says of an instance come beside what the plugin
// says itself.
func TestProfileWithAPackages(t *testing.T) {
	own := Profile{Name: "own", Tags: []string{"a"}, Provides: []Type{{Name: "t", Version: "1.0.0"}}}
	got := own.with(Profile{Name: "other", Title: "Title", Tags: []string{"a", "b"}, Provides: []Type{{Name: "t", Version: "2.0.0"}, {Name: "u"}}})
	if got.Name != "own" || got.Title != "Title" || !slices.Equal(got.Tags, []string{"a", "b"}) || len(got.Provides) != 2 || got.Provides[0].Version != "1.0.0" {
		t.Errorf("got %+v", got)
	}
}
