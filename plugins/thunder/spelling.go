// Package thunder holds the words of Thunder that both fronts speak: error numbers
// with their texts, and the spelling of states and versions. It does not know the
// network, nor a dialect's other messages.
package thunder

import (
	"regexp"
	"strconv"
	"strings"

	"dormouse/shell"
)

// PascalCase returns the words in Thunder's spelling of states and reasons: "memory
// exceeded" becomes MemoryExceeded.
func PascalCase(words string) string {
	var b strings.Builder
	for word := range strings.FieldsSeq(words) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// versionForm matches a version's beginning, with or without a "v".
var versionForm = regexp.MustCompile(`^v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})`)

// ParseVersionOrZero returns the three numbers that the version of a build begins with,
// such as v1.2.3-4-gabc; all are 0 for a mere commit.
func ParseVersionOrZero(text string) shell.Version {
	m := versionForm.FindStringSubmatch(text)
	if m == nil {
		return shell.Version{}
	}
	number := func(s string) uint32 {
		n, _ := strconv.ParseUint(s, 10, 32) // versionForm allows digits only
		return uint32(n)
	}
	return shell.Version{Major: number(m[1]), Minor: number(m[2]), Patch: number(m[3])}
}
