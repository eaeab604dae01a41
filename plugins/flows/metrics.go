package flows

import (
	"context"
	"strings"
)

// MetricsWriter takes metrics, one after another.
type MetricsWriter interface {
	BeginMetric(name, kind, help string)
	WriteSample(value int64, labels ...string)
}

// flowMetric is one metric with a value for each flow.
type flowMetric struct {
	name, kind, help string
	value            func(record) int64
}

// flowMetrics are the metrics with one value for each flow.
var flowMetrics = []flowMetric{
	{"dormouse_flow_messages", "gauge", "Messages that wait in the flow, or are with its plugin.", func(r record) int64 { return r.Messages }},
	{"dormouse_flow_bytes", "gauge", "Bytes of the messages that wait in the flow.", func(r record) int64 { return r.Bytes }},
	{"dormouse_flow_oldest_seconds", "gauge", "For how long the first message has waited.", func(r record) int64 { return int64(r.Oldest) }},
	{"dormouse_flow_dead_letters", "gauge", "Dead letters of the flow.", func(r record) int64 { return r.Dead }},
	{"dormouse_flow_published_total", "counter", "Messages that clients and plugins have published to the flow.", func(r record) int64 { return r.Published }},
	{"dormouse_flow_processed_total", "counter", "Messages that the plugin has processed.", func(r record) int64 { return r.Processed }},
	{"dormouse_flow_failures_total", "counter", "Attempts to process a message that failed.", func(r record) int64 { return r.Failures }},
}

// WriteMetrics writes the figures of each flow and of all together.
func (f *Flows) WriteMetrics(w MetricsWriter) {
	all, err := f.records(context.Background())
	if err != nil {
		f.Log.Error().Err(err).Msg("cannot read the figures of flows")
		return
	}
	for _, m := range flowMetrics {
		w.BeginMetric(m.name, m.kind, m.help)
		for _, r := range all {
			w.WriteSample(m.value(r), "flow", r.Name)
		}
	}
	w.BeginMetric("dormouse_flow_state", "gauge", "1 for the state of the flow, what becomes of a message, and why the plugin does not get it.")
	for _, r := range all {
		w.WriteSample(1, "flow", r.Name, "state", strings.ToUpper(string(r.State)), "effect", r.Effect, "why", r.Why)
	}
	f.writeRemoteMetrics(w)
	held, bytes := f.Queues.Total()
	w.BeginMetric("dormouse_flows_held_messages", "gauge", "Messages and dead letters in all flows.")
	w.WriteSample(held)
	w.BeginMetric("dormouse_flows_held_bytes", "gauge", "Their bytes.")
	w.WriteSample(bytes)
}

// remoteMetrics are the metrics with one value for each bound topic.
var remoteMetrics = []struct {
	name, help string
	value      func(RemoteTopic) int64
}{
	{"dormouse_flow_remote_messages", "Messages that wait here for the engine that the topic is bound to.", func(r RemoteTopic) int64 { return r.Messages }},
	{"dormouse_flow_remote_bytes", "Bytes of the messages that wait here for the engine.", func(r RemoteTopic) int64 { return r.Bytes }},
	{"dormouse_flow_remote_dead_letters", "Dead letters of the topic, which the engine did not take.", func(r RemoteTopic) int64 { return r.Dead }},
}

// writeRemoteMetrics writes the figures of each bound topic, if there is one.
func (f *Flows) writeRemoteMetrics(w MetricsWriter) {
	if f.RemoteTopics == nil {
		return
	}
	all, err := f.RemoteTopics(context.Background())
	if err != nil {
		f.Log.Error().Err(err).Msg("cannot read the figures of bound topics")
		return
	}
	for _, m := range remoteMetrics {
		w.BeginMetric(m.name, "gauge", m.help)
		for _, r := range all {
			w.WriteSample(m.value(r), "topic", r.Topic)
		}
	}
}
