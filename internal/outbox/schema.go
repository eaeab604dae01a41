package outbox

import (
	"hash/crc32"
	"strconv"

	"dormouse/internal/store"
)

// schema makes the tables, one string for each version. Times are milliseconds since 1970,
// durations milliseconds.
//
// A line counts how long it had to wait for its target in all, and a delivery notes what its
// line had counted when it was put in: so the age of a delivery needs no clock, which may be
// set, and does not grow while the host is down.
var schema = []string{`
CREATE TABLE outbox_lines (
	number  INTEGER PRIMARY KEY AUTOINCREMENT, -- a number must never stand for another line
	name    TEXT NOT NULL UNIQUE,
	secrets TEXT NOT NULL DEFAULT '[]', -- JSON
	tries   INTEGER NOT NULL DEFAULT 0, -- that have failed since the last that has not
	waited  INTEGER NOT NULL DEFAULT 0, -- all waits after failures
	failed  INTEGER NOT NULL DEFAULT 0, -- when the last try has failed
	wait    INTEGER NOT NULL DEFAULT 0, -- how long the next try waits from then on
	reason  TEXT NOT NULL DEFAULT ''    -- of the last failure
);
CREATE TABLE outbox_deliveries (
	seq      INTEGER PRIMARY KEY, -- the order
	line     INTEGER NOT NULL,
	kind     TEXT NOT NULL,
	event    TEXT NOT NULL,
	id       TEXT NOT NULL,
	url      TEXT NOT NULL,
	body     BLOB,
	replaces INTEGER NOT NULL,
	every    INTEGER NOT NULL,
	made     INTEGER NOT NULL,
	since    INTEGER NOT NULL, -- what the line had waited when the delivery was put in
	checksum INTEGER NOT NULL  -- CRC-32C of id, URL and body
);
CREATE INDEX outbox_deliveries_in_line ON outbox_deliveries (line);
CREATE TABLE outbox_failed (
	seq      INTEGER PRIMARY KEY,
	line     INTEGER NOT NULL,
	kind     TEXT NOT NULL,
	event    TEXT NOT NULL,
	id       TEXT NOT NULL,
	url      TEXT NOT NULL,
	body     BLOB,
	replaces INTEGER NOT NULL,
	every    INTEGER NOT NULL,
	made     INTEGER NOT NULL,
	checksum INTEGER NOT NULL,
	tries    INTEGER NOT NULL,
	reason   TEXT NOT NULL
);
CREATE INDEX outbox_failed_in_line ON outbox_failed (line);
`}

// nameLostLines gives the deliveries of lines whose own rows were lost a line again.
func nameLostLines(tx *store.Tx) error {
	_, err := tx.Exec(`INSERT OR IGNORE INTO outbox_lines (number, name)
		SELECT line, 'lost-' || line FROM outbox_deliveries UNION SELECT line, 'lost-' || line FROM outbox_failed`)
	return err
}

// selectLastSeq returns the number of the delivery that was put in last, as far as it is there.
const selectLastSeq = `SELECT max(
	coalesce((SELECT max(seq) FROM outbox_deliveries), 0),
	coalesce((SELECT max(seq) FROM outbox_failed), 0))`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of a delivery in its row. SQLite has none of contents.
func (d Delivery) checksum() int64 {
	fixed := strconv.Itoa(len(d.ID)) + "," + strconv.Itoa(len(d.URL)) + ","
	sum := crc32.Update(0, castagnoli, []byte(fixed+d.ID+d.URL))
	return int64(crc32.Update(sum, castagnoli, d.Body))
}
