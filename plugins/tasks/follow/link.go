package follow

import (
	"encoding/json"
	"slices"
	"strings"

	"dormouse/internal/store"
)

// schema makes the table, one string for each version.
var schema = []string{`
CREATE TABLE follows (
	n          INTEGER PRIMARY KEY AUTOINCREMENT,
	task       TEXT NOT NULL,    -- of this host, which follows
	callsign   TEXT NOT NULL,    -- its owner
	other      TEXT NOT NULL,    -- an id or an absolute address; empty for an invitation
	step       TEXT NOT NULL,    -- of the invitation, empty for none
	origin     TEXT NOT NULL,    -- of the invited plugin's tasks; empty for this host
	token      TEXT NOT NULL UNIQUE, -- of the webhook
	prefix     TEXT NOT NULL,
	excepted   TEXT NOT NULL,    -- a JSON list of step ids
	brought    TEXT NOT NULL,    -- a JSON list of the step ids that the plugin was brought
	ended      INTEGER NOT NULL, -- the plugin was brought the end
	asked      INTEGER NOT NULL, -- how often the plugin has asked for it
	subscribed INTEGER NOT NULL, -- the webhook is told of the other task
	lost       INTEGER NOT NULL  -- since when it is out of reach, in milliseconds since 1970; 0 if it is not
);
CREATE INDEX follows_of ON follows (task);
`, `
ALTER TABLE follows ADD COLUMN mirrored TEXT NOT NULL DEFAULT ''; -- the step of the task that was last made for one of the other
`, `
UPDATE follows SET lost = 0; -- from now on how long it is out of reach, in milliseconds, as far as hosts have seen
`}

// link is a row of the table: an invitation, or a task that follows another one.
type link struct {
	n                     int64
	task, callsign, other string
	step, origin, token   string
	prefix                string
	except, brought       []string
	ended, subscribed     bool
	asked, lost           int64
	mirrored              string
}

// isElsewhere reports whether the other task is at an address elsewhere.
func (l link) isElsewhere() bool { return strings.Contains(l.other, "://") }

// isExcepted reports whether the step of the other task is not to be mirrored.
func (l link) isExcepted(step string) bool {
	return slices.Contains(l.except, step) || slices.Contains(l.except, "*")
}

const linkColumns = "n, task, callsign, other, step, origin, token, prefix, excepted, brought, ended, asked, subscribed, lost, mirrored"

// readLinks returns the links for which the condition holds, oldest first; all without one.
func readLinks(tx *store.Tx, condition string, args ...any) (all []link, err error) {
	query := "SELECT " + linkColumns + " FROM follows"
	if condition != "" {
		query += " WHERE " + condition
	}
	rows, err := tx.Query(query+" ORDER BY n", args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var l link
		var except, brought string
		err := rows.Scan(&l.n, &l.task, &l.callsign, &l.other, &l.step, &l.origin, &l.token, &l.prefix, &except, &brought, &l.ended, &l.asked, &l.subscribed, &l.lost, &l.mirrored)
		if err == nil {
			err = json.Unmarshal([]byte(except), &l.except)
		}
		if err == nil {
			err = json.Unmarshal([]byte(brought), &l.brought)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, rows.Err()
}

// put writes a link; one without a number is new and gets one.
func (l *link) put(tx *store.Tx) error {
	values := []any{l.task, l.callsign, l.other, l.step, l.origin, l.token, l.prefix, listText(l.except), listText(l.brought), l.ended, l.asked, l.subscribed, l.lost, l.mirrored}
	if l.n == 0 {
		return tx.QueryRow(`INSERT INTO follows (task, callsign, other, step, origin, token, prefix, excepted, brought, ended, asked, subscribed, lost, mirrored)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING n`, values...).Scan(&l.n)
	}
	_, err := tx.Exec(`UPDATE follows SET task = ?, callsign = ?, other = ?, step = ?, origin = ?, token = ?, prefix = ?, excepted = ?, brought = ?,
		ended = ?, asked = ?, subscribed = ?, lost = ?, mirrored = ? WHERE n = ?`, append(values, l.n)...)
	return err
}

// listText returns the texts as a JSON list.
func listText(texts []string) string {
	if texts == nil {
		texts = []string{}
	}
	raw, err := json.Marshal(texts)
	if err != nil {
		panic("follow: " + err.Error()) // texts can be encoded
	}
	return string(raw)
}
