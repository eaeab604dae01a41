package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"runtime"
	"sync/atomic"

	"go.etcd.io/bbolt"
	_ "modernc.org/sqlite" // the plain database

	"dormouse/internal/queue"
)

// grouped has one goroutine that carries out what others ask for: all that waits shares one
// commit.
type grouped struct {
	requests chan *asked
	ended    chan struct{}
	seq      atomic.Int64
}

type asked struct {
	work func() error
	done chan error
	err  error
}

// serve groups requests until close. Begin and commit enclose each group.
func (g *grouped) serve(begin, commit func() error) {
	g.requests, g.ended = make(chan *asked), make(chan struct{})
	go func() {
		defer close(g.ended)
		for first := range g.requests {
			group := []*asked{first}
			err := begin()
			for next := first; err == nil && next != nil; {
				next.err = next.work()
				if next = g.waiting(); next != nil {
					group = append(group, next)
				}
			}
			if err == nil {
				err = commit()
			}
			for _, r := range group {
				r.done <- errors.Join(r.err, err)
			}
		}
	}()
}

// waiting returns a request that waits now, or nil.
func (g *grouped) waiting() *asked {
	for range 2 {
		select {
		case r := <-g.requests: // nil once it is closed
			return r
		default:
			runtime.Gosched()
		}
	}
	return nil
}

func (g *grouped) do(work func() error) error {
	r := &asked{work: work, done: make(chan error, 1)}
	g.requests <- r
	return <-r.done
}

func (g *grouped) end() {
	close(g.requests)
	<-g.ended
}

// lite is plain SQLite with the rows that a queue writes for messages.
type lite struct {
	grouped
	db           *sql.DB
	conn         *sql.Conn
	insert       *sql.Stmt
	first        *sql.Stmt
	remove       *sql.Stmt
	begin, enact *sql.Stmt
	body         []byte
}

func openLite(ctx context.Context, path string, _ int) (keeper, error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return nil, err
	}
	l := &lite{db: db, body: make([]byte, messageBytes)}
	if l.conn, err = db.Conn(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	_, err = l.conn.ExecContext(ctx, `
		PRAGMA journal_mode = WAL;
		PRAGMA synchronous = FULL;
		PRAGMA mmap_size = 0;
		CREATE TABLE messages (seq INTEGER PRIMARY KEY, queue INTEGER, id TEXT, published INTEGER, header BLOB, body BLOB, checksum INTEGER);
		CREATE INDEX messages_in_order ON messages (queue);`)
	for statement, text := range map[**sql.Stmt]string{
		&l.begin:  `BEGIN IMMEDIATE`,
		&l.enact:  `COMMIT`,
		&l.insert: `INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?)`,
		&l.first:  `SELECT seq, id, published, header, body, checksum FROM messages WHERE queue = 1 ORDER BY seq LIMIT 1`,
		&l.remove: `DELETE FROM messages WHERE seq = ?`,
	} {
		if err == nil {
			*statement, err = l.conn.PrepareContext(ctx, text)
		}
	}
	if err != nil {
		return nil, errors.Join(err, l.conn.Close(), db.Close())
	}
	run := func(s *sql.Stmt) func() error {
		return func() error {
			_, err := s.Exec()
			return err
		}
	}
	l.serve(run(l.begin), run(l.enact))
	return l, nil
}

func (l *lite) publish(context.Context) error {
	id := queue.NewID()
	return l.do(func() error { return l.write(1, id) })
}

func (l *lite) write(queue int, id string) error {
	_, err := l.insert.Exec(l.seq.Add(1), queue, id, 1_700_000_000_000, nil, l.body, 1<<31)
	return err
}

func (l *lite) pass(context.Context) error {
	newID := queue.NewID()
	return l.do(func() error {
		var seq, published, checksum int64
		var id string
		var header, body []byte
		if err := l.first.QueryRow().Scan(&seq, &id, &published, &header, &body, &checksum); err != nil {
			return err
		}
		if _, err := l.remove.Exec(seq); err != nil {
			return err
		}
		return l.write(2, newID)
	})
}

func (l *lite) close() error {
	l.end()
	return errors.Join(l.conn.Close(), l.db.Close())
}

// bolt is plain bbolt, with a bucket for each queue.
type bolt struct {
	grouped
	db      *bbolt.DB
	tx      *bbolt.Tx
	message []byte
}

func openBolt(_ context.Context, path string, _ int) (keeper, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, in := tx.CreateBucket([]byte("in"))
		_, out := tx.CreateBucket([]byte("out"))
		return errors.Join(in, out)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	b := &bolt{db: db, message: make([]byte, messageBytes+48)} // with its id, time and checksum
	b.serve(func() (err error) {
		b.tx, err = db.Begin(true)
		return err
	}, func() error { return b.tx.Commit() })
	return b, nil
}

func (b *bolt) publish(context.Context) error {
	return b.do(func() error { return b.write("in", b.message) })
}

func (b *bolt) write(queue string, message []byte) error {
	return b.tx.Bucket([]byte(queue)).Put(binary.BigEndian.AppendUint64(nil, uint64(b.seq.Add(1))), message)
}

func (b *bolt) pass(context.Context) error {
	return b.do(func() error {
		in := b.tx.Bucket([]byte("in"))
		key, message := in.Cursor().First()
		message = append([]byte(nil), message...)
		return errors.Join(in.Delete(key), b.write("out", message))
	})
}

func (b *bolt) close() error {
	b.end()
	return b.db.Close()
}
