package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"dormouse/internal/store"
)

// schema makes the tables, one string for each version. Times are milliseconds since 1970. Each
// row names its owner, so that a row which is all that is left of a damaged file is of use.
var schema = []string{`
CREATE TABLE state_owners (
	owner      TEXT PRIMARY KEY, -- a callsign
	revision   INTEGER NOT NULL, -- of the last change
	keys       INTEGER NOT NULL,
	key_bytes  INTEGER NOT NULL, -- of keys and values
	blobs      INTEGER NOT NULL,
	blob_bytes INTEGER NOT NULL
);
CREATE TABLE state_keys (
	owner    TEXT NOT NULL,
	key      TEXT NOT NULL,
	value    BLOB NOT NULL, -- JSON
	revision INTEGER NOT NULL,
	changed  INTEGER NOT NULL,
	checksum INTEGER NOT NULL, -- CRC-32C of all that stands before
	PRIMARY KEY (owner, key)
);
CREATE TABLE state_blobs (
	owner    TEXT NOT NULL,
	name     TEXT NOT NULL,
	file     TEXT NOT NULL, -- its name
	size     INTEGER NOT NULL,
	type     TEXT NOT NULL,
	sha256   BLOB NOT NULL,
	revision INTEGER NOT NULL,
	changed  INTEGER NOT NULL,
	checksum INTEGER NOT NULL, -- CRC-32C of all that stands before
	PRIMARY KEY (owner, name)
);
`}

// recount makes the rows of all owners anew from their keys and blobs. Revisions go on from the
// highest one that is left.
func recount(tx *store.Tx) error {
	for _, statement := range []string{
		`INSERT OR IGNORE INTO state_owners
			SELECT owner, 0, 0, 0, 0, 0 FROM state_keys UNION SELECT owner, 0, 0, 0, 0, 0 FROM state_blobs`,
		`UPDATE state_owners SET keys = 0, key_bytes = 0, blobs = 0, blob_bytes = 0`,
		`UPDATE state_owners SET keys = k.n, key_bytes = k.size, revision = max(state_owners.revision, k.last) FROM
			(SELECT owner AS whose, count(*) AS n, sum(octet_length(key) + octet_length(value)) AS size, max(revision) AS last
			FROM state_keys GROUP BY owner) AS k
			WHERE owner = k.whose`,
		`UPDATE state_owners SET blobs = b.n, blob_bytes = b.size, revision = max(state_owners.revision, b.last) FROM
			(SELECT owner AS whose, count(*) AS n, sum(size) AS size, max(revision) AS last FROM state_blobs GROUP BY owner) AS b
			WHERE owner = b.whose`,
	} {
		if _, err := tx.Exec(statement); err != nil {
			return err
		}
	}
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum returns the checksum of a row. SQLite has none of contents.
func checksum(numbers []int64, texts ...string) int64 {
	var fixed [8]byte
	sum := uint32(0)
	add := func(n int64) {
		binary.LittleEndian.PutUint64(fixed[:], uint64(n))
		sum = crc32.Update(sum, castagnoli, fixed[:])
	}
	for _, n := range numbers {
		add(n)
	}
	for _, text := range texts {
		add(int64(len(text)))
		sum = crc32.Update(sum, castagnoli, []byte(text))
	}
	return int64(sum)
}

// damagedError returns an ErrDamaged about a row.
func damagedError(what, name string) error {
	return fmt.Errorf("%w: the checksum of the %s %q does not match; write it anew, or delete it", ErrDamaged, what, name)
}
