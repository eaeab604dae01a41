package configs_test

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// fieldsOf returns the keys of an instance with their uses; those within limits are
// counted one by one.
func fieldsOf(typ reflect.Type) map[string]configs.KeyUse {
	all := make(map[string]configs.KeyUse)
	for field := range typ.Fields() {
		if field.Anonymous || field.Type == reflect.TypeFor[configs.Limits]() {
			maps.Copy(all, fieldsOf(field.Type))
			continue
		}
		all[field.Tag.Get("toml")] = configs.KeyUse(field.Tag.Get("use"))
	}
	return all
}

// full returns a configuration in which no field has its zero value.
func full(t *testing.T) configs.Plugin {
	t.Helper()
	var p configs.Plugin
	fill(t, reflect.ValueOf(&p).Elem())
	return p
}

func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Struct:
		for _, field := range v.Fields() {
			fill(t, field)
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem())
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("key"), reflect.ValueOf("value"))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(t, v.Index(0))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	default:
		t.Fatalf("the test cannot fill a %s", v.Kind())
	}
}

// Each key of an instance has exactly one use, and a change of it is seen by the
// function for that use and by no other.
func TestEachKeyHasOneUse(t *testing.T) {
	started := []configs.KeyUse{configs.UseExec, configs.UseInitialize, configs.UseCgroup}
	known := append(slices.Clone(started), configs.UseAdjust, configs.UseHost)
	for key, use := range fieldsOf(reflect.TypeFor[configs.Plugin]()) {
		if !slices.Contains(known, use) {
			t.Errorf("%s has the use %q: give its field one of %q", key, use, known)
		}
	}
	var clearEach func(reflect.Value)
	base := full(t)
	config := full(t)
	clearEach = func(v reflect.Value) {
		for field, value := range v.Fields() {
			if field.Anonymous || field.Type == reflect.TypeFor[configs.Limits]() {
				clearEach(value)
				continue
			}
			use := configs.KeyUse(field.Tag.Get("use"))
			kept := reflect.ValueOf(value.Interface())
			value.SetZero()
			for _, one := range started {
				if changed := checksum(t, base.ValuesOfKeysFor(one)) != checksum(t, config.ValuesOfKeysFor(one)); changed != (use == one) {
					t.Errorf("%s is used for %s, its change for %s is %v", field.Name, use, one, changed)
				}
			}
			adjusted := reflect.DeepEqual(base.WithAdjustableKeysOf(config), config)
			keys, adjustable := base.DifferingKeys(config)
			if adjusted != (use == configs.UseAdjust) || adjustable != adjusted || len(keys) != 1 {
				t.Errorf("%s is used for %s: adjusted %v, adjustable %v, differs in %q", field.Name, use, adjusted, adjustable, keys)
			}
			value.Set(kept)
		}
	}
	clearEach(reflect.ValueOf(&config).Elem())
}

func checksum(t *testing.T, values []any) string {
	t.Helper()
	raw, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// Journals of earlier hosts hold checksums of these texts.
func TestValuesOnDisk(t *testing.T) {
	swap := configs.Bytes(5)
	p := configs.Plugin{
		Callsign: "A", Executable: "/bin/a", Arguments: []string{"-v"}, Environment: map[string]string{"K": "V"},
		Data: "/data", Configuration: map[string]any{"n": 1}, WebUI: "/ui",
	}
	all := []configs.KeyUse{configs.UseExec, configs.UseInitialize, configs.UseCgroup}
	for name, test := range map[string]struct {
		limits configs.Limits
		uses   []configs.KeyUse
		want   string
	}{
		"all":             {configs.Limits{}, all, `["/bin/a",["-v"],{"K":"V"},"/data",{"n":1}]`},
		"all with limits": {configs.Limits{Swap: &swap, OpenFiles: 9}, all, `["/bin/a",["-v"],{"K":"V"},"/data",{"n":1},{"Memory":"0","Swap":"5","Pids":0,"CPUWeight":0,"OpenFiles":9}]`},
		"exec":            {configs.Limits{Pids: 3}, all[:1], `["/bin/a",["-v"],{"K":"V"}]`},
		"exec, limited":   {configs.Limits{Pids: 3, OpenFiles: 9}, all[:1], `["/bin/a",["-v"],{"K":"V"},{"Memory":"0","Swap":null,"Pids":0,"CPUWeight":0,"OpenFiles":9}]`},
	} {
		p.Limits = test.limits
		if diff := cmp.Diff(test.want, checksum(t, p.ValuesOfKeysFor(test.uses...))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got := checksum(t, configs.Plugin{}.ValuesOfKeysFor(all...)); !strings.HasPrefix(got, `["",null,null,"",{}`) {
		t.Errorf("nothing is %s", got)
	}
}
