// Package bytesize formats numbers of bytes for people to read.
package bytesize

import "fmt"

// Format returns n bytes in the largest binary unit of which there is at least one, with
// one decimal below ten: "1.5 MiB", "204 MiB".
func Format(n int64) string {
	value, unit := float64(n), "B"
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if value < 1024 {
			break
		}
		value, unit = value/1024, larger
	}
	if unit == "B" || value >= 10 {
		return fmt.Sprintf("%.0f %s", value, unit)
	}
	return fmt.Sprintf("%.1f %s", value, unit)
}
