package configs

import (
	"fmt"

	"github.com/BurntSushi/toml"

	"dormouse/internal/tomltable"
)

// Origins say where the values of a configuration were set: "file:line", "--flag" or
// "DORMOUSE_VARIABLE", by the path of the key, such as "host.root", "access[0].role" or
// "plugin.Counter.limits.memory". Keys that have their default are missing.
type Origins map[string]string

// LoadWithOrigins is Load, and also returns where each value was set.
func LoadWithOrigins(path string, getenv func(string) string, flags Overrides) (Config, Origins, error) {
	l := readAndCheck(path, getenv, flags)
	l.gatherPluginsAndCheckRequires()
	config, err := l.configOrProblems()
	return config, l.origins, err
}

// noteOrigins notes where the keys of a table were set. Prefix is the path of the table.
func (f *configFile) noteOrigins(prefix string, table *tomltable.Table) {
	for path, line := range table.KeysAndLines() {
		f.origins[prefix+"."+toml.Key(path).String()] = filePosition{f.path, line}.String()
	}
}

// noteOriginsOfAll notes where the keys of all tables of the file were set.
func (f *configFile) noteOriginsOfAll(host, packages, hibernate *tableReader, listeners, access, plugins []*tableReader) {
	if !f.dropIn {
		f.noteOrigins("host", host.Table)
		f.noteOrigins("packages", packages.Table)
		f.noteOrigins("hibernate", hibernate.Table)
		for i, t := range listeners {
			f.noteOrigins(fmt.Sprintf("listener[%d]", i), t.Table)
		}
		for i, t := range access {
			f.noteOrigins(fmt.Sprintf("access[%d]", i), t.Table)
		}
	}
	for _, t := range plugins {
		callsign, _ := t.Values()["callsign"].(string)
		f.noteOrigins("plugin."+callsign, t.Table)
	}
}
