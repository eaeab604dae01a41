package manifest

import (
	"maps"
	"path/filepath"
	"slices"

	"dormouse/internal/regularfile"
	"dormouse/internal/tomltable"
	"dormouse/shell"
)

// declaredType is a table [[type]] whose schemas are to be read.
type declaredType struct {
	table   *tomltable.Table
	index   int               // in Profile.Provides
	methods map[string]string // the files with the schemas of the parameters, "" for none
}

// readProfile reads the key "tags" and the tables [[type]] and [[use]], after the key "provides":
// what others find the instances of the package by, and what these use.
func (r *reading) readProfile() {
	p := &r.manifest.Profile
	r.top.ReadTextList("tags", &p.Tags)
	for _, provided := range r.manifest.Provides {
		p.Provides = append(p.Provides, shell.Type{Name: provided.Type, Version: provided.Version})
	}
	for _, t := range r.top.Tables("type", "in [[type]]", "a list of tables, each written [[type]]") {
		declared := declaredType{table: t, index: len(p.Provides)}
		var provided shell.Type
		t.ReadText("name", &provided.Name)
		t.ReadText("version", &provided.Version)
		t.ReadText("service", &provided.Service)
		t.ReadTextMap("methods", &declared.methods, func(string) error { return nil })
		t.ReportMissingKeys("name")
		t.ReportUnknownKeys()
		for _, name := range slices.Sorted(maps.Keys(declared.methods)) {
			provided.Methods = append(provided.Methods, shell.TypeMethod{Name: name})
			if file := declared.methods[name]; file != "" {
				if err := checkLocal(file); err != nil {
					t.AddProblem("methods", "key \"methods\" %s: %s: %w", t.Name, name, err)
				}
			}
		}
		r.checkProfilePart(t, shell.Profile{Provides: []shell.Type{provided}})
		p.Provides = append(p.Provides, provided)
		r.types = append(r.types, declared)
	}
	for _, t := range r.top.Tables("use", "in [[use]]", "a list of tables, each written [[use]]") {
		var used shell.Use
		t.ReadText("type", &used.Type)
		t.ReadTextList("tags", &used.Tags)
		t.ReadText("range", &used.Range)
		t.ReadText("parameter", &used.Parameter)
		t.ReadBool("required", &used.Required)
		t.ReportUnknownKeys()
		r.checkProfilePart(t, shell.Profile{Uses: []shell.Use{used}})
		p.Uses = append(p.Uses, used)
	}
	r.checkProfilePart(r.top, shell.Profile{Tags: p.Tags})
}

// checkProfilePart reports what is wrong with a part of the profile that a table has.
func (r *reading) checkProfilePart(t *tomltable.Table, part shell.Profile) {
	if err := part.Check(); err != nil {
		t.AddProblem("", "%s: %w", t.Name, err)
	}
}

// readTypeSchemas reads the schemas of the methods that the tables [[type]] name.
func (r *reading) readTypeSchemas(dir string) {
	for _, declared := range r.types {
		provided := &r.manifest.Profile.Provides[declared.index]
		for i, m := range provided.Methods {
			file := declared.methods[m.Name]
			if file == "" || checkLocal(file) != nil {
				continue
			}
			text, err := regularfile.Read(filepath.Join(dir, file), maxSize)
			provided.Methods[i].Params = text
			if err == nil {
				err = shell.Profile{Provides: []shell.Type{{Name: provided.Name, Methods: provided.Methods[i : i+1]}}}.Check()
			}
			if err != nil {
				declared.table.AddProblem("methods", "key \"methods\" %s: %s: %w", declared.table.Name, file, err)
			}
		}
	}
}
