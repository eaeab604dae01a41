package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"runtime"

	_ "modernc.org/sqlite" // the plain database
)

// litePutter is plain SQLite with the same rows: one goroutine puts all that wait, and they
// share a commit.
type litePutter struct {
	db                    *sql.DB
	begin, insert, commit *sql.Stmt
	puts                  chan *litePut
	ended                 chan struct{}
}

// litePut is one record that waits.
type litePut struct {
	key  string
	done chan error
}

func openLitePutter(path string) (putter, error) {
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	p := &litePutter{db: db, puts: make(chan *litePut), ended: make(chan struct{})}
	_, err = db.ExecContext(context.Background(), `
		PRAGMA journal_mode = WAL;
		PRAGMA synchronous = FULL;
		PRAGMA mmap_size = 0;
		CREATE TABLE records (bucket TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, checksum INTEGER NOT NULL, PRIMARY KEY (bucket, key));`)
	for to, text := range map[**sql.Stmt]string{
		&p.begin: "BEGIN IMMEDIATE", &p.commit: "COMMIT",
		&p.insert: `INSERT INTO records VALUES (?, ?, ?, ?) ON CONFLICT (bucket, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum`,
	} {
		if err == nil {
			*to, err = db.Prepare(text)
		}
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	go p.write()
	return p, nil
}

func (p *litePutter) put(key string) error {
	one := &litePut{key, make(chan error, 1)}
	p.puts <- one
	return <-one.done
}

func (p *litePutter) close() error {
	close(p.puts)
	<-p.ended
	return p.db.Close()
}

// write puts until close.
func (p *litePutter) write() {
	defer close(p.ended)
	for first := range p.puts {
		group := []*litePut{first}
		_, err := p.begin.Exec()
		for next := first; err == nil && next != nil; {
			var raw []byte
			if raw, err = json.Marshal(keptRecord); err == nil {
				_, err = p.insert.Exec("kept", next.key, string(raw), 1<<31)
			}
			if next = p.waiting(); next != nil {
				group = append(group, next)
			}
		}
		if err == nil {
			_, err = p.commit.Exec()
		}
		for _, one := range group {
			one.done <- err
		}
	}
}

// waiting returns a put that waits now, or nil.
func (p *litePutter) waiting() *litePut {
	for range 2 {
		select {
		case one := <-p.puts: // nil once it is closed
			return one
		default:
			runtime.Gosched()
		}
	}
	return nil
}
