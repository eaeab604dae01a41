package verify

import (
	"os"
	"strings"
	"testing"
)

// The advice for each step leads to a chapter that exists.
func TestVerifyAdvice(t *testing.T) {
	text, err := os.ReadFile("../../../docs/plugins.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range Order {
		_, place, ok := strings.Cut(adviceForStep[step], "(docs/plugins.md, ")
		chapter := "# " + strings.TrimSuffix(place, ")") + "\n"
		if adviceForStep[step] == "" || ok && !strings.Contains(string(text), chapter) {
			t.Errorf("%s: %q leads nowhere", step, adviceForStep[step])
		}
	}
}
