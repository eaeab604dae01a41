package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"net/url"
	"path/filepath"
	"slices"
	"sync"

	"modernc.org/sqlite"
)

// maxPrepared is how many statements a connection keeps. The texts of statements are
// constants, so there are few.
const maxPrepared = 128

// settings are what all connections have in common. A damaged page is an error, not a guess.
const settings = `
PRAGMA busy_timeout = 5000;
PRAGMA mmap_size = 0;
PRAGMA temp_store = MEMORY;
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
`

// Settings of the connections that write and that read. Caches are in KiB; the one that
// writes also has room for one change of some size, which else is written twice.
const (
	writerSettings = settings + `
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA journal_size_limit = 4194304;
PRAGMA cache_size = -1024;
`
	readerSettings = settings + `
PRAGMA query_only = ON;
PRAGMA cache_size = -256;
`
)

// besideSettings are those of another process, which looks or copies and changes nothing.
const besideSettings = settings + "PRAGMA cache_size = -1024;"

// crampedSettings are those of the one connection to a file beside which there is no room for
// the index of its log: the index is in memory, so no other connection can be.
const crampedSettings = "PRAGMA locking_mode = EXCLUSIVE;" + writerSettings

// useOwnLocks has SQLite lock a file for itself and not for the process, so that a copy of
// the file that another part of this process closes does not end SQLite's lock; and has it
// sync as SQLite on Linux does.
var useOwnLocks = sync.OnceFunc(func() {
	_, _ = sqlite.OFDLocking(true) // where there are none, the others do
	_, _ = sqlite.Fdatasync(true)
})

// database returns the database in the file at path, of which nothing is open yet.
func database(path string) (*sql.DB, error) {
	useOwnLocks()
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	connector, err := sqlite.NewConnector((&url.URL{Scheme: "file", Path: path}).String() + "?_dqs=0&_error_rc=1")
	if err != nil {
		return nil, err
	}
	return opened(connector), nil
}

// opened returns a database that keeps no connection but those in use.
func opened(connector driver.Connector) *sql.DB {
	db := sql.OpenDB(connector)
	db.SetMaxIdleConns(0)
	return db
}

// connection is one connection to the file, with the statements that it has prepared. One
// goroutine uses it at a time.
type connection struct {
	conn     *sql.Conn
	prepared map[string]*sql.Stmt
}

// connect opens a connection with these settings.
func connect(db *sql.DB, settings string) (*connection, error) {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	c := &connection{conn: conn, prepared: make(map[string]*sql.Stmt)}
	if err := c.run(settings); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// run runs statements that are not worth to be kept.
func (c *connection) run(statements string) error {
	_, err := c.conn.ExecContext(context.Background(), statements)
	return err
}

// statement returns the prepared statement of that text.
func (c *connection) statement(text string) (*sql.Stmt, error) {
	if has := c.prepared[text]; has != nil {
		return has, nil
	}
	if len(c.prepared) >= maxPrepared {
		c.forget()
	}
	made, err := c.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	c.prepared[text] = made
	return made, nil
}

// exec runs a statement that has no rows and no arguments.
func (c *connection) exec(text string) error {
	statement, err := c.statement(text)
	if err == nil {
		_, err = statement.ExecContext(context.Background())
	}
	return err
}

// forget closes the prepared statements.
func (c *connection) forget() {
	for _, statement := range c.prepared {
		_ = statement.Close()
	}
	clear(c.prepared)
}

// close closes the connection.
func (c *connection) close() {
	c.forget()
	_ = c.conn.Close()
}

// Tx is one transaction, for the time of one call of Update or View.
type Tx struct {
	connection *connection
	ctx        context.Context
	reads      []read // that may not have come to their end
	after      []func()
}

// AfterCommit has f called once the transaction is on disk, before Update returns; never if it is
// undone.
func (tx *Tx) AfterCommit(f func()) { tx.after = append(tx.after, f) }

// read is one query that returns rows.
type read struct {
	query string
	rows  *sql.Rows
}

// isOver reports whether all rows were read, or closed.
func (r read) isOver() bool {
	_, err := r.rows.Columns()
	return err != nil
}

// begun returns a transaction on c, which has begun one.
func begun(ctx context.Context, c *connection) *Tx {
	return &Tx{connection: c, ctx: ctx}
}

// Exec runs a statement without rows. The text should be a constant: it is prepared once.
func (tx *Tx) Exec(query string, args ...any) (sql.Result, error) {
	if tx.isReading(query) {
		return tx.connection.conn.ExecContext(tx.ctx, query, args...)
	}
	statement, err := tx.connection.statement(query)
	if err != nil {
		return nil, explained(err)
	}
	result, err := statement.ExecContext(tx.ctx, args...)
	return result, explained(err)
}

// Query runs a statement with rows. They end with the transaction, if not before.
func (tx *Tx) Query(query string, args ...any) (rows *sql.Rows, err error) {
	if tx.isReading(query) {
		rows, err = tx.connection.conn.QueryContext(tx.ctx, query, args...)
	} else if statement, serr := tx.connection.statement(query); serr == nil {
		rows, err = statement.QueryContext(tx.ctx, args...)
	} else {
		err = serr
	}
	if err != nil {
		return nil, explained(err)
	}
	tx.reads = append(slices.DeleteFunc(tx.reads, read.isOver), read{query, rows})
	return rows, nil
}

// QueryRow runs a statement with at most one row. The caller must call Scan.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	statement, err := tx.connection.statement(query)
	if err != nil || tx.isReading(query) {
		return tx.connection.conn.QueryRowContext(tx.ctx, query, args...) // it finds the same error
	}
	return statement.QueryRowContext(tx.ctx, args...)
}

// isReading reports whether the prepared statement of that text is at its rows, and can't be
// used for others.
func (tx *Tx) isReading(query string) bool {
	return slices.ContainsFunc(tx.reads, func(r read) bool { return r.query == query && !r.isOver() })
}

// end closes all rows that are left.
func (tx *Tx) end() {
	for _, left := range tx.reads {
		_ = left.rows.Close()
	}
	tx.reads = nil
}
