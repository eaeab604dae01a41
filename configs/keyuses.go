package configs

import (
	"bytes"
	"reflect"
	"slices"
)

// KeyUse is what the value of one key of an instance is used for, which decides how a
// changed value reaches a plugin that runs or sleeps. Each field of Plugin, Limits and
// Idling has exactly one KeyUse, in its tag "use".
type KeyUse string

const (
	// UseExec means that the program gets the value when it is executed. The process and
	// all its images keep that value.
	UseExec KeyUse = "exec"
	// UseInitialize means that Initialize gives the value to the plugin.
	UseInitialize KeyUse = "initialize"
	// UseCgroup means that each start and wake sets the value on the plugin's cgroup.
	UseCgroup KeyUse = "cgroup"
	// UseAdjust means that only the host reads the value, at each use, so that a reload
	// can change the value while the plugin runs.
	UseAdjust KeyUse = "adjust"
	// UseHost means that only the host reads the value, and that the value may change only
	// while the plugin neither runs nor sleeps.
	UseHost KeyUse = "host"
)

// ValuesOfKeysFor returns the values of the keys that have one of the uses. Their order must
// not change, because journals on disk hold checksums of the values. The limits with such a
// use come last, unless none is set.
func (p Plugin) ValuesOfKeysFor(uses ...KeyUse) (values []any) {
	for field, value := range reflect.ValueOf(p).Fields() {
		switch {
		case !slices.Contains(uses, useOfField(field)):
		case field.Name == "Configuration":
			values = append(values, p.ConfigurationJSON())
		default:
			values = append(values, value.Interface())
		}
	}
	for field, value := range reflect.ValueOf(&p.Limits).Elem().Fields() {
		if !slices.Contains(uses, useOfField(field)) {
			value.SetZero()
		}
	}
	if p.Limits != (Limits{}) {
		values = append(values, p.Limits)
	}
	return values
}

// WithAdjustableKeysOf returns p with the values of other for all keys of use UseAdjust.
func (p Plugin) WithAdjustableKeysOf(other Plugin) Plugin {
	to, source := reflect.ValueOf(&p).Elem(), reflect.ValueOf(other)
	for _, field := range reflect.VisibleFields(to.Type()) {
		if useOfField(field) == UseAdjust {
			to.FieldByIndex(field.Index).Set(source.FieldByIndex(field.Index))
		}
	}
	return p
}

// WithKeysOf returns p with the values of other for the keys, which are named as
// DifferingKeys names them.
func (p Plugin) WithKeysOf(other Plugin, keys []string) Plugin {
	to, source := reflect.ValueOf(&p).Elem(), reflect.ValueOf(other)
	for _, field := range reflect.VisibleFields(to.Type()) {
		if slices.Contains(keys, keyOfField(field)) {
			to.FieldByIndex(field.Index).Set(source.FieldByIndex(field.Index))
		}
	}
	return p
}

// DifferingKeys returns the keys in which p and other differ, in the order of the fields,
// and in allAdjustable whether all of them have the use UseAdjust. Any difference within
// restart is the key "restart", any within limits the key "limits". Plugins' own tables
// differ if they differ as JSON.
func (p Plugin) DifferingKeys(other Plugin) (keys []string, allAdjustable bool) {
	allAdjustable = true
	x, y := reflect.ValueOf(p), reflect.ValueOf(other)
	for _, field := range reflect.VisibleFields(x.Type()) {
		key := keyOfField(field) // empty for Idling, whose fields are visited too
		same := key == "" || reflect.DeepEqual(x.FieldByIndex(field.Index).Interface(), y.FieldByIndex(field.Index).Interface())
		if same || field.Name == "Configuration" && bytes.Equal(p.ConfigurationJSON(), other.ConfigurationJSON()) {
			continue
		}
		keys = append(keys, key)
		allAdjustable = allAdjustable && useOfField(field) == UseAdjust
	}
	return keys, allAdjustable
}

// keyOfField returns the key in the tag of a field, "" if the field has none.
func keyOfField(field reflect.StructField) string { return field.Tag.Get("toml") }

// useOfField returns the KeyUse in the tag of a field, "" if the field has none.
func useOfField(field reflect.StructField) KeyUse { return KeyUse(field.Tag.Get("use")) }
