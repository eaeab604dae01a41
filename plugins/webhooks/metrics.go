package webhooks

import (
	"context"
	"maps"
	"slices"
	"time"
)

// MetricsWriter takes metrics, one after another.
type MetricsWriter interface {
	BeginMetric(name, kind, help string)
	WriteSample(value int64, labels ...string)
}

// WriteMetrics writes the figures of the outbox.
func (w *Webhooks) WriteMetrics(to MetricsWriter) {
	figures, err := w.Outbox.Stats(context.Background())
	if err != nil {
		w.Log.Error().Err(err).Msg("cannot read the figures of the outbox")
		return
	}
	var oldest int64
	if !figures.Oldest.IsZero() {
		oldest = max(int64(time.Since(figures.Oldest).Seconds()), 0)
	}
	to.BeginMetric("dormouse_outbox_deliveries", "gauge", "Webhooks that are to be delivered.")
	to.WriteSample(figures.Waiting)
	to.BeginMetric("dormouse_outbox_oldest_seconds", "gauge", "For how long the oldest of them has waited.")
	to.WriteSample(oldest)
	to.BeginMetric("dormouse_outbox_given_up", "gauge", "Webhooks that were given up, and wait for an operator.")
	to.WriteSample(figures.GivenUp)
	to.BeginMetric("dormouse_outbox_failures_total", "counter", "Failed tries by host and port.")
	for _, host := range slices.Sorted(maps.Keys(figures.Failures)) {
		to.WriteSample(figures.Failures[host], "host", host)
	}
}
