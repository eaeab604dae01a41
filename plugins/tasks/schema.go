package tasks

// tables makes the tables, one string for each version. Times are milliseconds since 1970, for
// people to read; what is too old is found by "ended", see clock.
//
// What an update changes most often stands in the row of the task, so that a change of progress
// is one statement. What is long stands in rows of its own.
var tables = []string{`
CREATE TABLE tasks (
	n         INTEGER PRIMARY KEY AUTOINCREMENT,
	id        TEXT NOT NULL UNIQUE,
	callsign  TEXT NOT NULL,
	title     TEXT NOT NULL,
	status    INTEGER NOT NULL,
	reason    TEXT NOT NULL,
	revision  INTEGER NOT NULL,
	created   INTEGER NOT NULL,
	started   INTEGER NOT NULL, -- 0 until the plugin has begun
	changed   INTEGER NOT NULL,
	finished  INTEGER NOT NULL, -- 0 while it is pending
	ended     INTEGER NOT NULL, -- the same by the host's own clock
	life      INTEGER NOT NULL, -- of the instance, that works on the task
	lives     INTEGER NOT NULL, -- how many were asked to
	resumes   INTEGER NOT NULL,
	quiet     INTEGER NOT NULL, -- in milliseconds, 0 for ever
	waits     INTEGER NOT NULL,
	cancelled INTEGER NOT NULL,
	progress  BLOB,             -- a Progress
	log_bytes INTEGER NOT NULL, -- in task_log
	log_head  INTEGER NOT NULL, -- the bytes before the lines that are left out
	log_left  INTEGER NOT NULL  -- how many are
);
CREATE INDEX tasks_pending ON tasks (callsign) WHERE status = 0;
CREATE INDEX tasks_ended ON tasks (ended) WHERE status <> 0;
CREATE INDEX tasks_of ON tasks (callsign, n);
CREATE TABLE task_log ( -- of all tasks in one order, so that writing always appends
	seq  INTEGER PRIMARY KEY,
	task INTEGER NOT NULL,
	text TEXT NOT NULL
);
CREATE INDEX task_log_of ON task_log (task);
CREATE TABLE task_steps (
	task      INTEGER NOT NULL,
	seq       INTEGER NOT NULL,
	id        TEXT NOT NULL,
	step      BLOB NOT NULL, -- a Step without what stands here
	cleared   INTEGER NOT NULL,
	submitted INTEGER NOT NULL,
	given     BLOB,          -- the values, JSON
	PRIMARY KEY (task, seq),
	UNIQUE (task, id)
) WITHOUT ROWID;
CREATE TABLE task_parts (
	task  INTEGER NOT NULL,
	part  INTEGER NOT NULL,
	value BLOB NOT NULL,
	PRIMARY KEY (task, part)
) WITHOUT ROWID;
CREATE TABLE task_outputs (
	task   INTEGER NOT NULL,
	name   TEXT NOT NULL,
	output BLOB NOT NULL, -- an Output
	size   INTEGER NOT NULL,
	PRIMARY KEY (task, name)
) WITHOUT ROWID;
`}

// The parts of a task in task_parts.
const (
	parametersPart = 1 // JSON
	dataPart       = 2 // JSON
	linksPart      = 3 // a Task with links alone
)
