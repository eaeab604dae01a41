package editdistance

import "testing"

func TestOf(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"wake", "wake", 0}, {"wake", "wade", 1},
		{"waring", "warn", 2}, {"start-mdoe", "start-mode", 2}, {"kitten", "sitting", 3},
	} {
		if got := Of(test.a, test.b); got != test.want {
			t.Errorf("%q to %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
