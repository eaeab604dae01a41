package shellpb

import "strings"

// reasonPrefix begins the name of every reason in shell.proto.
const reasonPrefix = "REASON_"

var reasonWords, reasonNames = strings.NewReplacer("_", " "), strings.NewReplacer(" ", "_")

// Words returns the reason as text for people, such as "memory exceeded"; empty if this
// version does not know the reason.
func (r Reason) Words() string {
	return reasonWords.Replace(strings.ToLower(strings.TrimPrefix(Reason_name[int32(r)], reasonPrefix)))
}

// ReasonOf returns the reason with the given text, REQUESTED if there is none.
func ReasonOf(words string) Reason {
	return Reason(Reason_value[reasonPrefix+reasonNames.Replace(strings.ToUpper(words))])
}
