package sdk

import (
	"testing"

	"google.golang.org/grpc/metadata"

	"dormouse/shell/shellpb"
)

func TestCallerOf(t *testing.T) {
	ctx := t.Context()
	if got := CallerOf(ctx); got != "" {
		t.Errorf("a client is %q", got)
	}
	ofService := metadata.NewIncomingContext(ctx, metadata.Pairs(shellpb.CallerKey, "A"))
	if got := CallerOf(ofService); got != "A" {
		t.Errorf("the caller of a service is %q", got)
	}
	for _, caller := range []string{"", "B"} {
		if got := CallerOf(withCaller(ofService, caller)); got != caller {
			t.Errorf("the caller %q of a method is %q", caller, got)
		}
	}
	twice := metadata.NewIncomingContext(ctx, metadata.Pairs(shellpb.CallerKey, "A", shellpb.CallerKey, "B"))
	if got := CallerOf(twice); got != "" {
		t.Errorf("of two callers it is %q", got)
	}
}
