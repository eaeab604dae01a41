package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"dormouse/configs"
)

// configShowVerb returns the action that prints the configuration that counts.
func configShowVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	path := flags.String("config", "", "the configuration `FILE`, "+configs.DefaultPath+" if not given")
	withOrigin := flags.Bool("origin", false, "say where each value was set")
	var o configs.Overrides
	flags.StringVar(&o.Root, "root", "", "the root `DIR` of the host, if it is started with --root")
	return func(_ context.Context, t *terminal, _ []string) error {
		config, origins, err := configs.LoadWithOrigins(*path, os.Getenv, o)
		if err != nil {
			return err
		}
		tables, err := shownTables(config, origins)
		if err != nil {
			return err
		}
		if format.isJSON() {
			var all []shownKey
			for _, table := range tables {
				all = append(all, table.keys...)
			}
			return t.printIndentedJSON(all)
		}
		for i, table := range tables {
			if i > 0 {
				t.printf("\n")
			}
			t.printf("%s\n%s", table.header, table.text(*withOrigin))
		}
		return nil
	}
}

// shownTable is a table of a configuration as it is printed.
type shownTable struct {
	header string
	keys   []shownKey
}

// shownKey is a key of a configuration, as -o json prints it.
type shownKey struct {
	Path   string `json:"key"`    // as "plugin.Counter.limits.memory"
	Value  string `json:"value"`  // as TOML
	Origin string `json:"origin"` // a file with its line, a flag, a variable, or "default"

	name string // in its table
}

// text returns the keys as lines of TOML.
func (s shownTable) text(withOrigin bool) string {
	rows := table{}
	for _, key := range s.keys {
		line := key.name + " = " + key.Value
		if withOrigin {
			rows.addRow(line, "# "+key.Origin)
		} else {
			rows.addRow(line)
		}
	}
	return rows.alignedText(0)
}

// shownTables returns all tables of a configuration.
func shownTables(c configs.Config, origins configs.Origins) (tables []shownTable, err error) {
	add := func(header, path string, values any) {
		if err == nil {
			s := shownTable{header: header}
			err = s.addKeys(path, "", reflect.ValueOf(values), origins)
			tables = append(tables, s)
		}
	}
	add("[host]", "host", c.Host)
	for i, l := range c.Listeners {
		if l.Protocol == configs.ProtocolGRPC {
			l.Dialect = "" // it has none
		}
		if l.Only != "" {
			l.Dialect = "" // likewise
		}
		add("[[listener]]", fmt.Sprintf("listener[%d]", i), l)
	}
	for i, a := range c.Access {
		add("[[access]]", fmt.Sprintf("access[%d]", i), a)
	}
	add("[packages]", "packages", c.Packages)
	add("[state]", "state", c.State)
	add("[qhana]", "qhana", c.QHAna)
	add("[webhooks]", "webhooks", c.Webhooks)
	add("[hibernate]", "hibernate", c.Hibernate)
	for _, p := range c.Plugins {
		add("[[plugin]]", "plugin."+p.Callsign, p)
	}
	for _, o := range c.Overlays {
		keys := maps.Clone(o.Keys.Values)
		keys["package"], keys["callsign"] = o.Package, o.Callsign
		add("[[plugin]]", "plugin."+o.Callsign, keys)
	}
	return tables, err
}

// addKeys adds a key for each value of a struct or map, and of those below it. Path is that of
// the table, name what stands before the keys in it.
func (s *shownTable) addKeys(path, name string, v reflect.Value, origins configs.Origins) error {
	for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
		if v.IsNil() { // a key that has no value unless it is set
			return nil
		}
		v = v.Elem()
	}
	switch {
	case v.Kind() == reflect.Struct:
		for field, value := range v.Fields() {
			key := field.Tag.Get("toml")
			if key == "-" {
				continue
			}
			if err := s.addKeys(path, joinKeys(name, key), value, origins); err != nil {
				return err
			}
		}
		return nil
	case v.Kind() == reflect.Map:
		for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int { return cmp.Compare(a.String(), b.String()) }) {
			if err := s.addKeys(path, joinKeys(name, toml.Key{key.String()}.String()), v.MapIndex(key), origins); err != nil {
				return err
			}
		}
		return nil
	}
	return s.addKey(path, name, v, origins)
}

// mayLack reports whether the table is shown without the key while the key has no value: there is
// no default to show.
func (s *shownTable) mayLack(name string) bool {
	return s.header == "[[access]]" || s.header == "[[listener]]" || name == "executable" || name == "builtin"
}

// addKey adds a key whose value is not a table.
func (s *shownTable) addKey(path, name string, v reflect.Value, origins configs.Origins) error {
	if v.IsZero() && origins[path+"."+name] == "" && s.mayLack(name) {
		return nil
	}
	value := "[]"
	if v.Kind() != reflect.Slice || v.Len() > 0 {
		// In a list of its own a value is written in one line, tables too.
		text, err := toml.Marshal(map[string]any{"x": []any{v.Interface()}})
		if err != nil {
			return fmt.Errorf("cannot print the key %s of %s: %w", name, path, err)
		}
		value = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(text)), "x = ["), "]")
	}
	s.keys = append(s.keys, shownKey{Path: path + "." + name, Value: value, Origin: cmp.Or(origins[path+"."+name], "default"), name: name})
	return nil
}

// joinKeys returns the path of a key below others. A key of an embedded struct is "".
func joinKeys(above, key string) string {
	if above == "" || key == "" {
		return above + key
	}
	return above + "." + key
}
