package shell

import (
	"context"
	"errors"
	"os"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
)

// sleeping is a tree that is put to sleep with a key that is then lost.
type sleeping struct{ pid int }

func (a sleeping) PID() int                      { return a.pid }
func (a sleeping) Cgroup() cgroup.Dir            { return "" }
func (a sleeping) Quiesce(context.Context) error { return nil }
func (a sleeping) Revive(context.Context) error  { return nil }
func (a sleeping) Kill(context.Context)          {}
func (a sleeping) Record() (any, error)          { return nil, nil }

// locked returns an image without its key.
func locked(t *testing.T) *hibernate.Image {
	t.Helper()
	engine := hibernatetest.NewFake(t)
	store, err := hibernate.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	store.Pack(hibernate.Packing{Key: make([]byte, 32), Encrypt: true})
	root := engine.Start(t, "memory")
	t.Cleanup(func() {
		_ = root.Kill()
		_, _ = root.Wait()
	})
	image, err := hibernate.Checkpoint(t.Context(), engine, store.Slot("Counter"), sleeping{root.Pid})
	if err != nil {
		t.Fatal(err)
	}
	store.Pack(hibernate.Packing{})
	return image
}

// Whatever is asked of an instance whose image is locked, it sleeps on.
func TestLockedImageSleepsOn(t *testing.T) {
	if os.Geteuid() != 0 {
		hibernatetest.Lacks(t, errors.New("a private tmpfs needs root"))
	}
	image := locked(t)
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), Startup))
		r.must(r.Hibernate(r.Context(), Automatic, 0))
		r.fake.image = image
		r.forget()
		for name, ask := range map[string]func(context.Context, Reason) error{"activate": r.Activate, "deactivate": r.Deactivate} {
			if err := ask(r.Context(), Requested); !errors.Is(err, hibernate.ErrKey) {
				r.Errorf("%s: got %v, want %v", name, err, hibernate.ErrKey)
			}
		}
		r.expect()
		if st := r.Status(); st.State != Hibernated || st.Image != image {
			r.Errorf("got %+v", st)
		}
	})
}
