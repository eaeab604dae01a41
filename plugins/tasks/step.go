package tasks

import (
	"database/sql"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
)

// readSteps returns the steps of a task, with their values for the owner.
func readSteps(tx *store.Tx, n int64, forOwner bool) (steps []*taskspb.Step, err error) {
	rows, err := tx.Query("SELECT step, cleared, submitted, given FROM task_steps WHERE task = ? ORDER BY seq", n)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		s, err := scanStep(rows)
		if err != nil {
			return nil, err
		}
		if !forOwner {
			s.Values = nil
		}
		steps = append(steps, s)
	}
	return steps, rows.Err()
}

// submittedStep returns the step whose values the plugin has not taken yet, nil for none.
func submittedStep(tx *store.Tx, n int64) (*taskspb.Step, error) {
	s, err := scanStep(tx.QueryRow("SELECT step, cleared, submitted, given FROM task_steps WHERE task = ? AND submitted", n))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return s, err
}

// scanStep reads one step with its values.
func scanStep(row scanner) (*taskspb.Step, error) {
	var raw, given []byte
	var cleared, submitted bool
	if err := row.Scan(&raw, &cleared, &submitted, &given); err != nil {
		return nil, err
	}
	s := &taskspb.Step{}
	if err := proto.Unmarshal(raw, s); err != nil {
		return nil, err
	}
	s.Cleared, s.Submitted, s.Values = cleared, submitted, given
	return s, nil
}

// findStep returns a step of a task, or an ErrUnknown.
func findStep(tx *store.Tx, n int64, id string) (*taskspb.Step, error) {
	s, err := scanStep(tx.QueryRow("SELECT step, cleared, submitted, given FROM task_steps WHERE task = ? AND id = ?", n, id))
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("%w with a step %.64q", ErrUnknown, id)
	}
	return s, err
}

// addStep adds a step to a task and returns it. One that is there already is returned as it is:
// added is then false. The error wraps ErrState if another step is open.
func addStep(tx *store.Tx, n int64, s *taskspb.Step) (is *taskspb.Step, added bool, err error) {
	if has, err := findStep(tx, n, s.GetId()); !errors.Is(err, ErrUnknown) {
		return has, false, err
	}
	var count, open int
	if err := tx.QueryRow("SELECT count(*), coalesce(sum(NOT cleared), 0) FROM task_steps WHERE task = ?", n).Scan(&count, &open); err != nil {
		return nil, false, err
	}
	switch {
	case open > 0:
		return nil, false, fmt.Errorf("%w: its last step is open; clear it before another one", ErrState)
	case count >= maxSteps:
		return nil, false, fmt.Errorf("%w: it has %d steps, and may not have more", ErrState, count)
	}
	made := proto.CloneOf(s)
	made.Cleared, made.Submitted, made.Values = false, false, nil
	raw, err := proto.Marshal(made)
	if err != nil {
		return nil, false, err
	}
	_, err = tx.Exec("INSERT INTO task_steps VALUES (?, ?, ?, ?, 0, 0, NULL)", n, count+1, s.GetId(), raw)
	return made, true, err
}

// clearStep clears a step, and reports whether it was open.
func clearStep(tx *store.Tx, n int64, id string) (cleared bool, err error) {
	s, err := findStep(tx, n, id)
	if err != nil || s.GetCleared() {
		return false, err
	}
	_, err = tx.Exec("UPDATE task_steps SET cleared = 1, submitted = 0 WHERE task = ? AND id = ?", n, id)
	return err == nil, err
}

// clearOpenSteps clears the steps that are open, and reports whether there was one.
func clearOpenSteps(tx *store.Tx, n int64) (cleared bool, err error) {
	result, err := tx.Exec("UPDATE task_steps SET cleared = 1, submitted = 0 WHERE task = ? AND NOT cleared", n)
	if err != nil {
		return false, err
	}
	count, err := result.RowsAffected()
	return count > 0, err
}

// giveValues notes the values for the open step of a task. The error wraps ErrState if the step
// is cleared or has values already, ErrInvalid if they are not as its schema says.
func giveValues(tx *store.Tx, n int64, id string, values []byte) error {
	s, err := findStep(tx, n, id)
	switch {
	case err != nil:
		return err
	case s.GetHref() != "":
		return fmt.Errorf("%w: the step %s is to be submitted to %s", ErrState, id, s.GetHref())
	case s.GetCleared():
		return fmt.Errorf("%w: the step %s is done", ErrState, id)
	case s.GetSubmitted():
		return fmt.Errorf("%w: the step %s was submitted, and the plugin has not answered yet", ErrState, id)
	}
	if err := checkBySchema("the values", values, s.GetSchema()); err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE task_steps SET submitted = 1, given = ? WHERE task = ? AND id = ?", values, n, id)
	return err
}

// takeValuesBack opens a step again whose values were refused.
func takeValuesBack(tx *store.Tx, n int64, id string) error {
	_, err := tx.Exec("UPDATE task_steps SET submitted = 0, given = NULL WHERE task = ? AND id = ? AND NOT cleared", n, id)
	return err
}
