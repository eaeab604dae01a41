package shellpb

import "strings"

// What the contract's names of reasons are made of; a person reads the rest.
const reasonPrefix = "REASON_"

var reasonWords, reasonNames = strings.NewReplacer("_", " "), strings.NewReplacer(" ", "_")

// Words is what a person reads, as "memory exceeded", empty for a reason that a
// later version has.
func (r Reason) Words() string {
	return reasonWords.Replace(strings.ToLower(strings.TrimPrefix(Reason_name[int32(r)], reasonPrefix)))
}

// ReasonOf is the reason of these words, REQUESTED when there is none.
func ReasonOf(words string) Reason {
	return Reason(Reason_value[reasonPrefix+reasonNames.Replace(strings.ToUpper(words))])
}
