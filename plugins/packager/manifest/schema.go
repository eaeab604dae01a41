package manifest

import (
	"encoding/json"
	"fmt"

	"dormouse/configs"
	"dormouse/internal/schema"
)

// checkConfiguration returns an error at the table of keys if the configuration of the instance
// is not as the schema says.
func checkConfiguration(s *schema.Schema, p configs.Plugin, keys configs.InstanceKeys) error {
	var value any
	err := json.Unmarshal(p.ConfigurationJSON(), &value)
	if err == nil {
		err = s.Check(value)
	}
	if err == nil {
		return nil
	}
	return configs.LoadErrors{{Source: keys.Source, Line: keys.Line,
		Err: fmt.Errorf("the configuration of %s is not as the package wants it: %w", p.Callsign, err)}}
}
