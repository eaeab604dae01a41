package sdktest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
)

// stateMethods let the plugin do one thing after the other with its state. They answer with an
// error if something is not as it must be.
func (p *parrot) stateMethods() sdk.Methods {
	methods := sdk.Methods{}
	for name, do := range map[string]func(context.Context, *sdk.StateStore) error{
		"keys": useKeys, "blobs": useBlobs, "full": fillUp, "count": countUp,
	} {
		methods["state"+name] = sdk.Method(func(ctx context.Context, _ struct{}) (any, error) {
			return nil, do(ctx, p.in.Host.State())
		})
	}
	methods["statechild"] = sdk.Method(func(ctx context.Context, _ struct{}) (any, error) {
		return nil, useStateOfChild(ctx, p.in.Host)
	})
	methods["stateofbeside"] = sdk.Method(func(ctx context.Context, callsign string) (any, error) {
		_, err := p.in.Host.StateOf(callsign).Get(ctx, "secret")
		return nil, err
	})
	return methods
}

// useKeys sets, reads, compares, lists and deletes keys.
func useKeys(ctx context.Context, s *sdk.StateStore) error {
	first, old, err := s.Set(ctx, "a", map[string]int{"n": 1})
	if err != nil || old.Revision != 0 {
		return fmt.Errorf("the first set gives %+v, %v", old, err)
	}
	second, old, err := s.Set(ctx, "a", 2)
	if err != nil || second <= first || string(old.Value) != `{"n":1}` || old.Changed.IsZero() {
		return fmt.Errorf("the second set gives %d after %d, %+v, %v", second, first, old, err)
	}
	if _, err := s.SetIf(ctx, "a", 3, first); !errors.Is(err, sdk.ErrConflict) || !strings.Contains(err.Error(), "has revision") {
		return fmt.Errorf("a set of an old revision: %v", err)
	}
	if _, err := s.SetIf(ctx, "new", 3, 0); err != nil {
		return err
	}
	if err := s.DeleteIf(ctx, "new", first); !errors.Is(err, sdk.ErrConflict) {
		return fmt.Errorf("a deletion of an old revision: %v", err)
	}
	if _, _, err := s.Change(ctx, sdk.KeyChange{Key: "b", Value: "b"}, sdk.KeyChange{Key: "a", Check: true, If: &first}); !errors.Is(err, sdk.ErrConflict) {
		return fmt.Errorf("changes with a check that fails: %v", err)
	}
	if _, err := s.Get(ctx, "b"); !errors.Is(err, sdk.ErrNotFound) {
		return fmt.Errorf("a key that was not set: %v", err)
	}
	_, all, err := s.Change(ctx, sdk.KeyChange{Key: "b", Value: "b"}, sdk.KeyChange{Key: "new", Delete: true}, sdk.KeyChange{Key: "a", Check: true, If: &second})
	if err != nil || len(all) != 3 || all[0].Revision != 0 || string(all[1].Value) != "3" {
		return fmt.Errorf("three changes give %+v, %v", all, err)
	}
	for n := range 150 {
		if _, _, err := s.Set(ctx, fmt.Sprintf("many/%03d", n), n); err != nil {
			return err
		}
	}
	n := 0
	for e, err := range s.List(ctx, "many/") {
		var value int
		if err == nil {
			err = e.Decode(&value)
		}
		if err != nil || value != n {
			return fmt.Errorf("entry %d is %+v, %v", n, e, err)
		}
		n++
	}
	if u, err := s.Usage(ctx); n != 150 || u.Keys != 153 || err != nil {
		return fmt.Errorf("there are %d entries, and %+v, %v", n, u, err)
	}
	last, err := s.Delete(ctx, "b")
	if string(last.Value) != `"b"` || err != nil {
		return fmt.Errorf("deleted was %+v, %v", last, err)
	}
	return nil
}

// useBlobs puts, reads, lists and deletes blobs.
func useBlobs(ctx context.Context, s *sdk.StateStore) error {
	content := bytes.Repeat([]byte("dormouse "), 300_000)
	made, err := s.PutBlob(ctx, "sound/long", "audio/wav", bytes.NewReader(content))
	if err != nil || made.Size != int64(len(content)) || made.ContentType != "audio/wav" || len(made.SHA256) != 32 {
		return fmt.Errorf("put is %+v, %v", made, err)
	}
	if err := readsAs(ctx, s, "sound/long", 0, 0, content); err != nil {
		return err
	}
	if err := readsAs(ctx, s, "sound/long", 9, 8, []byte("dormouse")); err != nil {
		return err
	}
	broken := errors.New("broken")
	_, err = s.PutBlob(ctx, "sound/long", "", io.MultiReader(bytes.NewReader(content), failing{broken}))
	if !errors.Is(err, broken) {
		return fmt.Errorf("a reader that fails: %v", err)
	}
	if b, err := s.ShowBlob(ctx, "sound/long"); b.Revision != made.Revision || err != nil {
		return fmt.Errorf("after that it is %+v, %v", b, err)
	}
	if _, err := s.PutBlobIf(ctx, "sound/long", "", strings.NewReader("x"), 0); !errors.Is(err, sdk.ErrConflict) {
		return fmt.Errorf("over one that is there: %v", err)
	}
	if _, err := s.PutBlobIf(ctx, "sound/short", "", strings.NewReader(""), 0); err != nil {
		return err
	}
	if err := readsAs(ctx, s, "sound/short", 0, 0, nil); err != nil {
		return err
	}
	if _, err := s.OpenBlobPart(ctx, "sound/short", 1, 0); err == nil {
		return errors.New("a part after the end can be read")
	}
	var names []string
	for b, err := range s.Blobs(ctx, "sound/") {
		if err != nil {
			return err
		}
		names = append(names, b.Name)
	}
	if fmt.Sprint(names) != "[sound/long sound/short]" {
		return fmt.Errorf("the blobs are %q", names)
	}
	if err := s.DeleteBlob(ctx, "sound/short"); err != nil {
		return err
	}
	_, err = s.OpenBlob(ctx, "sound/short")
	if !errors.Is(err, sdk.ErrNotFound) {
		return fmt.Errorf("one that was deleted: %v", err)
	}
	return s.DeleteBlob(ctx, "sound/short")
}

// readsAs returns an error unless that part of a blob is the content.
func readsAs(ctx context.Context, s *sdk.StateStore, name string, offset, length int64, content []byte) error {
	b, err := s.OpenBlobPart(ctx, name, offset, length)
	if err != nil {
		return err
	}
	defer b.Close()
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, content) {
		return fmt.Errorf("%s from %d: got %d bytes, want %d, %v", name, offset, len(got), len(content), err)
	}
	return nil
}

// failing is a reader that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// fillUp exceeds the quota of the keys, and that of the blobs.
func fillUp(ctx context.Context, s *sdk.StateStore) error {
	_, _, err := s.Set(ctx, "large", strings.Repeat("x", 2000))
	if !errors.Is(err, sdk.ErrFull) || !strings.Contains(err.Error(), "1000 B of 1000 B are left") {
		return fmt.Errorf("a large key: %v", err)
	}
	_, err = s.PutBlob(ctx, "large", "", strings.NewReader(strings.Repeat("x", 2<<20)))
	if !errors.Is(err, sdk.ErrFull) || !strings.Contains(err.Error(), "1.0 MiB of 1.0 MiB are left") {
		return fmt.Errorf("a large blob: %v", err)
	}
	return nil
}

// countUp counts how often it was called.
func countUp(ctx context.Context, s *sdk.StateStore) error {
	return sdk.UpdateKey(ctx, s, "calls", func(n int) (int, error) { return n + 1, nil })
}

// useStateOfChild keeps state for a virtual plugin, which is apart from the plugin's own and goes
// with the virtual plugin.
func useStateOfChild(ctx context.Context, h *sdk.Host) error {
	if err := h.CreateVirtual(ctx, sdk.Virtual{Callsign: "Chick"}); err != nil {
		return err
	}
	child := h.StateOf("Chick")
	if _, _, err := child.Set(ctx, "k", "child"); err != nil {
		return err
	}
	if _, err := child.PutBlob(ctx, "b", "", strings.NewReader("child")); err != nil {
		return err
	}
	if _, err := h.State().Get(ctx, "k"); !errors.Is(err, sdk.ErrNotFound) {
		return fmt.Errorf("the parent's own key: %w", err)
	}
	if err := readsAs(ctx, child, "b", 0, 0, []byte("child")); err != nil {
		return err
	}
	if err := h.RemoveVirtual(ctx, "Chick"); err != nil {
		return err
	}
	if _, err := child.Get(ctx, "k"); err == nil {
		return errors.New("the plugin speaks for a child that is gone")
	}
	if err := h.CreateVirtual(ctx, sdk.Virtual{Callsign: "Chick"}); err != nil {
		return err
	}
	if _, err := child.Get(ctx, "k"); !errors.Is(err, sdk.ErrNotFound) {
		return fmt.Errorf("the key of a child that was removed and made again: %w", err)
	}
	return nil
}

// TestState lets the plugin use its state with the SDK, over a restart.
func TestState(t *testing.T) {
	with := options
	with.State = map[string]any{"calls": 7}
	h := sdktest.Start(t, with)
	must := func(method string) {
		t.Helper()
		if err := h.Call(method, nil, nil); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
	must("statecount")
	must("statekeys")
	must("stateblobs")
	h.Restart()
	must("statecount")
	var calls int
	if found := h.KeptKey("calls", &calls); !found || calls != 9 {
		t.Errorf("there were %d calls (%v)", calls, found)
	}
	if content, found := h.KeptBlob("sound/long"); !found || len(content) != 2_700_000 {
		t.Errorf("the blob has %d bytes (%v)", len(content), found)
	}
	if h.KeptKey("b", &calls) {
		t.Error("a key is there that was deleted")
	}
	if _, found := h.KeptBlob("sound/short"); found {
		t.Error("a blob is there that was deleted")
	}
}

// TestStateOfVirtualPlugin has the plugin keep state for a virtual plugin.
func TestStateOfVirtualPlugin(t *testing.T) {
	if err := sdktest.Start(t, options).Call("statechild", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestStateQuotas has the plugin exceed its quotas.
func TestStateQuotas(t *testing.T) {
	with := options
	with.Quotas = configs.State{MaxKeyBytes: 1000, MaxBlobBytes: 1 << 20}
	h := sdktest.Start(t, with)
	if err := h.Call("statefull", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestStateOfOthers has the plugin speak for the instance beside it, which is not its child.
func TestStateOfOthers(t *testing.T) {
	with := options
	with.Beside, with.Role = []string{"Other"}, "admin"
	h := sdktest.Start(t, with)
	err := h.Call("stateofbeside", "Other", nil)
	if err == nil || !strings.Contains(err.Error(), "only its parent speaks for") {
		t.Errorf("got %v", err)
	}
}
