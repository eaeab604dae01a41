package criu_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

const python = "/usr/bin/python3"

// writeDatabase is a program that has a database of SQLite open in WAL mode, whose index it
// has mapped, and that writes to it at each check.
const writeDatabase = `#!/usr/bin/python3
import sqlite3, sys
db = sqlite3.connect("db", isolation_level=None)
db.execute("pragma journal_mode=wal")
db.execute("create table t(n)")
db.execute("insert into t values(1)")
print("ready", flush=True)
for line in sys.stdin:
    try:
        db.execute("insert into t values(2)")
        rows = [n for n, in db.execute("select n from t order by n")]
        sound = db.execute("pragma integrity_check").fetchall() == [("ok",)]
        print("ok" if sound and rows[0] == 1 and rows[-1] == 2 else "not so: %s" % rows, flush=True)
    except Exception as err:
        print("not so:", err, flush=True)
`

// While a plugin sleeps that has a database open, others may read it and write to it: they
// change the files that the plugin has mapped, and do not remove them.
func TestDatabaseUsedWhileAsleep(t *testing.T) {
	e := openEngine(t)
	if err := exec.Command(python, "-c", "import sqlite3").Run(); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("there is no Python with SQLite: %w", err))
	}
	script := filepath.Join(t.TempDir(), "writer.py")
	must(t, os.WriteFile(script, []byte(writeDatabase), 0o700)) //nolint:gosec // it is a program
	for name, sql := range map[string]string{"read": "select * from t", "written": "insert into t values(1)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, said := startHolder(t, script, "database")
			defer h.end(t)
			if said != "ready" {
				t.Fatalf("it says %q before the sleep", said)
			}
			h.asleep = func() {
				cmd := exec.Command(python, "-c", fmt.Sprintf("import sqlite3; db = sqlite3.connect('db'); db.execute(%q); db.commit(); db.close()", sql))
				cmd.Dir = h.dir
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			}
			must(t, h.sleep(t, e))
			if said := h.check(); said != "ok" {
				t.Errorf("it says %q", said)
			}
		})
	}
}
