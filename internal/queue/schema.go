package queue

import (
	"encoding/binary"
	"hash/crc32"

	"dormouse/internal/store"
)

// schema makes the tables, one string for each version. Times are milliseconds since 1970.
//
// A row of a message never changes: what happens to it is in queue_attempts. Messages of all
// queues stand in one order, so that writing one always appends.
var schema = []string{`
CREATE TABLE queues (
	number     INTEGER PRIMARY KEY,
	name       TEXT NOT NULL UNIQUE,
	messages   INTEGER NOT NULL DEFAULT 0, -- rows of queue_messages, and their bytes
	bytes      INTEGER NOT NULL DEFAULT 0,
	dead       INTEGER NOT NULL DEFAULT 0, -- rows of queue_dead, and their bytes
	dead_bytes INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE queue_messages (
	seq       INTEGER PRIMARY KEY,
	queue     INTEGER NOT NULL,
	id        TEXT NOT NULL,
	published INTEGER NOT NULL,
	header    BLOB,
	body      BLOB,
	checksum  INTEGER NOT NULL -- CRC-32C of all that stands before
);
CREATE INDEX queue_messages_in_order ON queue_messages (queue);
CREATE TABLE queue_attempts (
	seq    INTEGER PRIMARY KEY, -- the message that failed
	queue  INTEGER NOT NULL,
	failed INTEGER NOT NULL, -- how often
	kills  INTEGER NOT NULL, -- how often the program that took it ended
	next   INTEGER NOT NULL, -- when it may be taken again
	reason TEXT NOT NULL
);
CREATE INDEX queue_attempts_by_time ON queue_attempts (queue, next);
CREATE TABLE queue_dead (
	seq       INTEGER PRIMARY KEY,
	queue     INTEGER NOT NULL,
	id        TEXT NOT NULL,
	published INTEGER NOT NULL,
	header    BLOB,
	body      BLOB,
	checksum  INTEGER NOT NULL,
	died      INTEGER NOT NULL,
	failed    INTEGER NOT NULL,
	kills     INTEGER NOT NULL,
	reason    TEXT NOT NULL
);
CREATE INDEX queue_dead_in_order ON queue_dead (queue);
CREATE TABLE queue_ids ( -- ids that were accepted, for a day
	scope    TEXT NOT NULL,
	id       TEXT NOT NULL,
	accepted INTEGER NOT NULL,
	PRIMARY KEY (scope, id)
) WITHOUT ROWID;
`}

const selectLastSeq = `SELECT max(
	coalesce((SELECT max(seq) FROM queue_messages), 0),
	coalesce((SELECT max(seq) FROM queue_dead), 0))`

// recount makes the counters of all queues anew from their messages, and forgets failures of
// messages that are not there. Queues whose own row was lost get a name from their number.
func recount(tx *store.Tx) error {
	for _, statement := range []string{
		`INSERT OR IGNORE INTO queues (number, name)
			SELECT queue, 'lost-' || queue FROM queue_messages UNION SELECT queue, 'lost-' || queue FROM queue_dead`,
		`DELETE FROM queue_attempts WHERE seq NOT IN (SELECT seq FROM queue_messages)`,
		`UPDATE queues SET messages = 0, bytes = 0, dead = 0, dead_bytes = 0`,
		`UPDATE queues SET messages = m.n, bytes = m.size FROM
			(SELECT queue, count(*) AS n, sum(` + sizeOfRow + `) AS size FROM queue_messages GROUP BY queue) AS m
			WHERE number = m.queue`,
		`UPDATE queues SET dead = m.n, dead_bytes = m.size FROM
			(SELECT queue, count(*) AS n, sum(` + sizeOfRow + `) AS size FROM queue_dead GROUP BY queue) AS m
			WHERE number = m.queue`,
	} {
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
	}
	return nil
}

// sizeOfRow is Message.size in SQL.
const sizeOfRow = `octet_length(id) + coalesce(octet_length(header), 0) + coalesce(octet_length(body), 0)`

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of a message in its row. SQLite has none of contents.
func checksum(seq, queue, published int64, m Message) int64 {
	var fixed [40]byte
	binary.LittleEndian.PutUint64(fixed[0:], uint64(seq))
	binary.LittleEndian.PutUint64(fixed[8:], uint64(queue))
	binary.LittleEndian.PutUint64(fixed[16:], uint64(published))
	binary.LittleEndian.PutUint64(fixed[24:], uint64(len(m.ID)))
	binary.LittleEndian.PutUint64(fixed[32:], uint64(len(m.Header)))
	sum := crc32.Update(0, castagnoli, fixed[:])
	sum = crc32.Update(sum, castagnoli, []byte(m.ID))
	sum = crc32.Update(sum, castagnoli, m.Header)
	return int64(crc32.Update(sum, castagnoli, m.Body))
}
