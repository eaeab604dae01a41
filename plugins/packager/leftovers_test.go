package packager

import (
	"os"
	"path/filepath"
	"testing"

	"dormouse/plugins/packager/records"
)

// An operation that begins while a host tidies up after its start waits, so that what it unpacks
// is not taken for a leftover.
func TestBeginWhileTidying(t *testing.T) {
	looking, goOn := make(chan struct{}), make(chan struct{})
	close(goOn)
	runWith(t, func(o *Options) {
		o.ImagesUse = func(string) (bool, error) {
			select {
			case looking <- struct{}{}:
				<-goOn
			default:
			}
			return false, nil
		}
	}, func(r *rig) {
		r.restart(func() {
			r.must(os.MkdirAll(filepath.Join(r.versionDir("p", "sha256:0"), "bin"), 0o700)) // no package keeps it
			looking, goOn = make(chan struct{}, 1), make(chan struct{})
		})
		r.supervisorEvents()
		<-looking
		begun := make(chan error, 1)
		go func() { begun <- r.Install(records.Request{Source: r.simple("1.0.0", "")}) }()
		r.supervisorEvents()
		if _, known := r.records.Get("p"); known {
			t.Error("the operation has not waited")
		}
		close(goOn)
		r.must(<-begun)
		r.wait()
		r.expect("INSTALLED", "1.0.0", "1")
		if r.dirs.HasVersion("p", "sha256:0") {
			t.Error("what no package keeps is left")
		}
	})
}

// A download that is refused leaves no file, an archive that is cut no directory, and the
// removal of a package that was never whole takes the rest of its download along.
func TestNoLeftovers(t *testing.T) {
	run(t, func(r *rig) {
		uploads := func() (names []string) {
			entries, err := os.ReadDir(r.dirs.UploadDir())
			r.must(err)
			for _, e := range entries {
				if filepath.Ext(e.Name()) == ".part" {
					names = append(names, e.Name())
				}
			}
			return names
		}
		whole := r.build(r.simple("1.0.0", ""))
		cut := filepath.Join(r.root, "p.tar.gz")
		r.must(os.WriteFile(cut, whole[:len(whole)-12], 0o600))
		r.install(cut)
		if record, _ := r.records.Get("p"); record.State != records.Failed || record.Failure.Phase != records.Unpacking {
			t.Errorf("the cut archive: %+v", record.Failure)
		}
		versions := filepath.Dir(r.versionDir("p", "sha256:0"))
		request := records.Request{Source: "http://127.0.0.1:1/p.tar.gz"} // not encrypted
		r.install(request.Source)
		record, _ := r.records.Get("p")
		if left := uploads(); record.State != records.Failed || len(left) > 0 {
			t.Errorf("it is %s, and left %q", record.Status(), left)
		}
		if _, err := os.Stat(versions); err == nil {
			t.Error("an empty directory stays for its versions")
		}
		part := (&operation{p: r.Packager, name: "p", request: request}).uploadPath()
		r.must(os.WriteFile(part, []byte("the beginning"), 0o600))
		r.must(r.Uninstall("p", records.Request{}))
		r.wait()
		if _, known := r.records.Get("p"); known || len(uploads()) > 0 {
			t.Errorf("after the removal it is known: %t, and left %q", known, uploads())
		}
	})
}
