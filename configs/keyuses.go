package configs

import (
	"reflect"
	"slices"
)

// KeyUse says what the value of one key of an instance is used for, and with that how a
// changed value reaches a plugin that runs or sleeps. Each field of Plugin, Limits and
// Idling has exactly one, in its tag "use".
type KeyUse string

const (
	// UseExec is given to the program when it is executed. The process keeps the value for
	// life, in every image too.
	UseExec KeyUse = "exec"
	// UseInitialize is given to the plugin by Initialize.
	UseInitialize KeyUse = "initialize"
	// UseCgroup is set on the plugin's cgroup, anew at each start and wake.
	UseCgroup KeyUse = "cgroup"
	// UseAdjust is read by the host alone, at each use, so that a reload can change the
	// value while the plugin runs.
	UseAdjust KeyUse = "adjust"
	// UseHost is read by the host alone, and may change only while the plugin neither runs
	// nor sleeps.
	UseHost KeyUse = "host"
)

// ValuesFor returns the values with any of the uses, in an order that must stay: journals
// on disk hold checksums of them. Limits come last, and only if one with such a use is
// set.
func (p Plugin) ValuesFor(uses ...KeyUse) (values []any) {
	for field, value := range reflect.ValueOf(p).Fields() {
		switch {
		case !slices.Contains(uses, useOf(field)):
		case field.Name == "Configuration":
			values = append(values, p.ConfigurationJSON())
		default:
			values = append(values, value.Interface())
		}
	}
	for field, value := range reflect.ValueOf(&p.Limits).Elem().Fields() {
		if !slices.Contains(uses, useOf(field)) {
			value.SetZero()
		}
	}
	if p.Limits != (Limits{}) {
		values = append(values, p.Limits)
	}
	return values
}

// WithAdjustableKeysOf returns p with the adjustable values of from.
func (p Plugin) WithAdjustableKeysOf(from Plugin) Plugin {
	to, source := reflect.ValueOf(&p).Elem(), reflect.ValueOf(from)
	for _, field := range reflect.VisibleFields(to.Type()) {
		if useOf(field) == UseAdjust {
			to.FieldByIndex(field.Index).Set(source.FieldByIndex(field.Index))
		}
	}
	return p
}

// Differences returns the keys in which p and other differ, in the order of the fields,
// and whether all of them are adjustable. The keys within restart and limits count as
// one each.
func (p Plugin) Differences(other Plugin) (keys []string, adjustable bool) {
	adjustable = true
	x, y := reflect.ValueOf(p), reflect.ValueOf(other)
	for _, field := range reflect.VisibleFields(x.Type()) {
		key := field.Tag.Get("toml") // empty for Idling, whose fields are visited too
		if key == "" || reflect.DeepEqual(x.FieldByIndex(field.Index).Interface(), y.FieldByIndex(field.Index).Interface()) {
			continue
		}
		keys = append(keys, key)
		adjustable = adjustable && useOf(field) == UseAdjust
	}
	return keys, adjustable
}

func useOf(field reflect.StructField) KeyUse { return KeyUse(field.Tag.Get("use")) }
