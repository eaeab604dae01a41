package tasks

import (
	"dormouse/plugins/tasks/taskspb"
)

// MetricsWriter takes metrics, one after another.
type MetricsWriter interface {
	BeginMetric(name, kind, help string)
	WriteSample(value int64, labels ...string)
}

// WriteMetrics writes how many tasks there are in each state, and what their outputs take.
func (t *Tasks) WriteMetrics(w MetricsWriter) {
	pending, waiting, stuck := t.pendingFigures()
	success, succeeded := t.counts.figures(taskspb.Status_STATUS_SUCCESS)
	failure, failed := t.counts.figures(taskspb.Status_STATUS_FAILURE)
	w.BeginMetric("dormouse_tasks", "gauge", "Tasks that are kept, by their status.")
	w.WriteSample(pending, "status", "PENDING")
	w.WriteSample(success, "status", "SUCCESS")
	w.WriteSample(failure, "status", "FAILURE")
	w.BeginMetric("dormouse_tasks_waiting", "gauge", "Tasks that are pending and wait, so that their plugins may sleep.")
	w.WriteSample(waiting)
	w.BeginMetric("dormouse_tasks_stuck", "gauge", "Tasks that are pending and have shown no sign of life for their quiet time.")
	w.WriteSample(stuck)
	w.BeginMetric("dormouse_tasks_ended_total", "counter", "Tasks that have ended since the host began, by how.")
	w.WriteSample(succeeded, "status", "SUCCESS")
	w.WriteSample(failed, "status", "FAILURE")
	w.BeginMetric("dormouse_task_outputs_bytes", "gauge", "Bytes in the outputs of all tasks.")
	t.files.mu.Lock()
	defer t.files.mu.Unlock()
	w.WriteSample(t.files.bytes)
}

// pendingFigures returns how many tasks are pending, and how many of them wait and are stuck.
func (t *Tasks) pendingFigures() (all, waiting, stuck int64) {
	t.owners.mu.Lock()
	ids := make([]string, 0, len(t.owners.tasks))
	for id, p := range t.owners.tasks {
		ids = append(ids, id)
		if p.waits {
			waiting++
		}
	}
	t.owners.mu.Unlock()
	for _, id := range ids {
		if t.isStuck(&taskspb.Task{Id: id}) {
			stuck++
		}
	}
	return int64(len(ids)), waiting, stuck
}
