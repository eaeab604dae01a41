package criu_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v7/crit"
	criu_core "github.com/checkpoint-restore/go-criu/v7/crit/images/criu-core"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
)

// forger is an engine whose images a plugin has forged, through a flaw in CRIU.
type forger struct {
	*criu.Engine
	forge func(*criu_core.CoreEntry)
}

func (f forger) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	if err := f.Engine.Dump(ctx, d); err != nil {
		return err
	}
	return editCoreImage(filepath.Join(d.Dir, "core-2.img"), f.forge)
}

func editCoreImage(path string, edit func(*criu_core.CoreEntry)) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	image, err := crit.New(in, nil, "", false, false).Decode(&criu_core.CoreEntry{})
	if err != nil {
		return err
	}
	core, ok := image.Entries[0].Message.(*criu_core.CoreEntry)
	if !ok {
		return errors.New("no core image")
	}
	edit(core)
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(crit.New(nil, out, "", false, false).Encode(image), out.Close())
}

// An image that gives a thread another identity than the kernel shows is never
// published, and the plugin runs on.
func TestForgedIdentity(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	thread := (*criu_core.CoreEntry).GetThreadCore
	forgeries := map[string]struct {
		object string
		forge  func(*criu_core.CoreEntry)
		field  string // that differs, "" if the image is accepted
	}{
		"nothing":           {"seccomp-filters", func(*criu_core.CoreEntry) {}, ""},
		"effective":         {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.CapEff = []uint32{math.MaxUint32, 0x1ff} }, "CapEff"},
		"permitted":         {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.CapPrm[0] |= 1 << 21 }, "CapPrm"},
		"inheritable":       {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.CapInh[0] |= 1 << 21 }, "CapInh"},
		"bounding set":      {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.CapBnd[0] |= 1 << 21 }, "CapBnd"},
		"ambient":           {"capabilities", func(c *criu_core.CoreEntry) { appendField(c, 19, 1<<21) }, "CapAmb"},
		"user":              {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.Fsuid = proto.Uint32(1) }, "UID"},
		"group":             {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.Sgid = proto.Uint32(1) }, "GID"},
		"groups":            {"capabilities", func(c *criu_core.CoreEntry) { thread(c).Creds.Groups = []uint32{42} }, "Groups"},
		"no no_new_privs":   {"no-new-privs", func(c *criu_core.CoreEntry) { thread(c).Creds.ProtoReflect().SetUnknown(nil) }, "NoNewPrivs"},
		"no seccomp":        {"seccomp-filters", func(c *criu_core.CoreEntry) { thread(c).SeccompMode = criu_core.SeccompMode_disabled.Enum() }, "Seccomp"},
		"one filter of two": {"seccomp-filters", func(c *criu_core.CoreEntry) { thread(c).SeccompFilter = proto.Uint32(0) }, "Filters"},
		"no such filter":    {"seccomp-filters", func(c *criu_core.CoreEntry) { thread(c).SeccompFilter = proto.Uint32(9) }, "filter 9"},
		"limits":            {"rlimits", func(c *criu_core.CoreEntry) { c.Tc.Rlimits.Rlimits[7].Max = proto.Uint64(1 << 20) }, "Limits"},
		"dead":              {"rlimits", func(c *criu_core.CoreEntry) { c.Tc.TaskState = proto.Uint32(2) }, "threads"},
	}
	for name, f := range forgeries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, said := startHolder(t, program, f.object)
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			err := h.sleep(t, forger{e, f.forge})
			switch {
			case f.field == "" && err != nil:
				t.Errorf("an honest image: %v", err)
			case f.field != "" && (err == nil || !strings.Contains(err.Error(), f.field)):
				t.Errorf("got %v, want one about %s", err, f.field)
			case f.field != "" && name != "no such filter" && !errors.Is(err, hibernate.ErrForged):
				t.Errorf("got %v, want %v", err, hibernate.ErrForged)
			}
			if said := h.check(); said != "ok" {
				t.Errorf("it says %q", said)
			}
		})
	}
}

// appendField appends a value to a field that go-criu does not know.
func appendField(c *criu_core.CoreEntry, field protowire.Number, value uint64) {
	m := c.GetThreadCore().GetCreds().ProtoReflect()
	raw := protowire.AppendVarint(protowire.AppendTag(nil, field, protowire.VarintType), value)
	m.SetUnknown(append(raw, m.GetUnknown()...))
}
