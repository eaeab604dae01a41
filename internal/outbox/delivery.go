package outbox

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
)

// Delivery is one HTTP POST that the outbox makes until it is answered.
type Delivery struct {
	Line  string // deliveries of a line are made in order
	Kind  string // see Handle
	Event string // what it tells of
	ID    string // unique, and the same at each try; PutIn makes one if it is empty
	URL   string
	Body  []byte // JSON, or nothing

	// Replaces means that an older delivery of the same line and event that is not made yet is
	// dropped for this one.
	Replaces bool
	// Every is the least time between two deliveries of the same line and event, 0 for any. A
	// delivery that may have to wait for it lets those go first that its line gets meanwhile.
	// A line has one such event at most.
	Every time.Duration
}

// PutIn adds the delivery to the end of its line. It is made once the transaction is on disk
// and Wake was called.
func (o *Outbox) PutIn(tx *store.Tx, d Delivery) error {
	if err := o.putIn(tx, d); err != nil {
		return fmt.Errorf("cannot put a delivery into the outbox: %w", err)
	}
	return nil
}

func (o *Outbox) putIn(tx *store.Tx, d Delivery) error {
	number, waited, err := lineIn(tx, d.Line)
	if err != nil {
		return err
	}
	if d.Replaces {
		if err := removeReplaced(tx, number, d.Event); err != nil {
			return err
		}
	}
	if d.ID == "" {
		d.ID = "msg_" + rand.Text()
	}
	made := o.now().UnixMilli()
	_, err = tx.Exec(`INSERT INTO outbox_deliveries (seq, line, kind, event, id, url, body, replaces, every, made, since, checksum)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		o.lastSeq.Add(1), number, d.Kind, d.Event, d.ID, d.URL, d.Body, d.Replaces, d.Every.Milliseconds(), made, waited, d.checksum())
	failpoint.Hit("outbox.put")
	if err != nil || d.Every > 0 {
		return err
	}
	return o.putBehind(tx, number)
}

// lineIn returns the number of the line of that name, made first if there is none, and how long
// the line has waited.
func lineIn(tx *store.Tx, name string) (number, waited int64, err error) {
	err = tx.QueryRow(`SELECT number, waited FROM outbox_lines WHERE name = ?`, name).Scan(&number, &waited)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.QueryRow(`INSERT INTO outbox_lines (name) VALUES (?) RETURNING number`, name).Scan(&number)
	}
	return number, waited, err
}

// removeReplaced removes what a newer delivery of the line and event replaces.
func removeReplaced(tx *store.Tx, line int64, event string) error {
	for _, statement := range []string{
		`DELETE FROM outbox_deliveries WHERE line = ? AND event = ? AND replaces`,
		`DELETE FROM outbox_failed WHERE line = ? AND event = ? AND replaces`,
	} {
		if _, err := tx.Exec(statement, line, event); err != nil {
			return err
		}
	}
	return nil
}

// putBehind moves the delivery of the line that may have to wait, if there is one, behind what
// was put in last.
func (o *Outbox) putBehind(tx *store.Tx, line int64) error {
	var seq int64
	err := tx.QueryRow(`SELECT seq FROM outbox_deliveries WHERE line = ? AND every > 0 LIMIT 1`, line).Scan(&seq)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err == nil {
		_, err = tx.Exec(`UPDATE outbox_deliveries SET seq = ? WHERE seq = ?`, o.lastSeq.Add(1), seq)
	}
	return err
}

// DropLine removes a line with all its deliveries and its secrets.
func (o *Outbox) DropLine(tx *store.Tx, line string) error {
	for _, statement := range []string{
		`DELETE FROM outbox_deliveries WHERE line = (SELECT number FROM outbox_lines WHERE name = ?)`,
		`DELETE FROM outbox_failed WHERE line = (SELECT number FROM outbox_lines WHERE name = ?)`,
		`DELETE FROM outbox_lines WHERE name = ?`,
	} {
		if _, err := tx.Exec(statement, line); err != nil {
			return fmt.Errorf("cannot drop a line of the outbox: %w", err)
		}
	}
	return nil
}
