package controller

import (
	"bytes"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"dormouse/plugins/access"
	"dormouse/shell"
)

// serveMetrics answers Prometheus with the present figures of the host and of each
// instance. The client needs the role access.Read.
func (f *Front) serveMetrics(w http.ResponseWriter, r *http.Request) {
	from, _ := f.callerOf(r)
	if err := f.checkAccess(from, access.Read, access.Target{Method: "metrics"}); err != nil {
		respondRefusal(w, err)
		return
	}
	var m metricsText
	f.writeHostMetrics(&m)
	f.writeInstanceMetrics(&m)
	if f.options.WriteMetrics != nil {
		f.options.WriteMetrics(&m)
	}
	w.Header().Set("Cache-Control", "no-store")
	f.respond(w, http.StatusOK, "text/plain; version=0.0.4; charset=utf-8", m.Bytes())
}

// updateCounts counts exits and restarts of plugins for the metrics, and forgets all
// counts of a destroyed instance.
func (f *Front) updateCounts(t shell.Transition) {
	switch {
	case t.Event == shell.Exit && t.To == shell.Deactivated:
		f.exitCounts.increment(t.Callsign)
	case t.Reason == shell.Automatic && t.From == shell.Activation && t.To == shell.Activated:
		f.restartCounts.increment(t.Callsign)
	case t.To == shell.Destroyed:
		for _, c := range []*counters{&f.callCounts, &f.exitCounts, &f.restartCounts} {
			c.forget(t.Callsign)
		}
	}
}

// writeHostMetrics writes the metrics of the host itself.
func (f *Front) writeHostMetrics(m *metricsText) {
	f.mu.Lock()
	sockets := len(f.sockets)
	f.mu.Unlock()
	m.BeginMetric("dormouse_build_info", "gauge", "The version of the host.")
	m.WriteSample(1, "version", f.options.Version, "goversion", runtime.Version())
	m.BeginMetric("dormouse_websockets", "gauge", "Websockets that are open.")
	m.WriteSample(int64(sockets))
	m.BeginMetric("dormouse_http_connections", "gauge", "Connections of HTTP that are open, without websockets.")
	m.WriteSample(int64(f.tcp.connections.Count() + f.control.connections.Count()))
	m.BeginMetric("dormouse_left_out_files", "gauge", "Configuration files that the host left out when it started.")
	m.WriteSample(int64(len(f.supervisor.LeftOut())))
	if f.options.StoreHealth != nil {
		m.BeginMetric("dormouse_store_damaged", "gauge", "1 if the host's store was found damaged since the start.")
		damaged := int64(0)
		if f.options.StoreHealth().Damage != "" {
			damaged = 1
		}
		m.WriteSample(damaged)
	}
	if f.options.DroppedLogLines != nil {
		m.BeginMetric("dormouse_log_lines_dropped_total", "counter", "Lines of the host's log that were dropped, since it was not read.")
		m.WriteSample(f.options.DroppedLogLines())
	}
	m.BeginMetric("dormouse_losses", "gauge", "Losses of plugins' state that were not acknowledged.")
	m.WriteSample(int64(len(f.supervisor.Losses())))
	m.BeginMetric("go_goroutines", "gauge", "Goroutines of the host.")
	m.WriteSample(int64(runtime.NumGoroutine()))
}

// instanceMetric is one metric with a value for each instance.
type instanceMetric struct {
	name, kind, help string
	// value returns the metric of an instance, false if the instance has none.
	value func(shell.Status) (int64, bool)
}

// instanceMetrics returns the metrics with one value for each instance, except the
// state.
func (f *Front) instanceMetrics() []instanceMetric {
	return []instanceMetric{
		{
			"dormouse_instance_memory_bytes", "gauge", "Proportional set size of the plugin's processes.",
			func(st shell.Status) (int64, bool) { return st.Figures.Memory, st.Figures.Memory > 0 },
		},
		{
			"dormouse_instance_image_bytes", "gauge", "Size on disk, or in the swap, of what hibernation left.",
			func(st shell.Status) (int64, bool) {
				if st.Sleep == nil {
					return 0, false
				}
				return st.Sleep.Bytes, true
			},
		},
		{
			"dormouse_instance_image_read_bytes", "gauge", "Bytes of the image that were read from disk since the wake or warm start.",
			func(st shell.Status) (int64, bool) { return st.Figures.ImageRead, st.Figures.ImageRead > 0 },
		},
		{
			"dormouse_instance_calls_total", "counter", "Calls to the instance, also those that failed.",
			func(st shell.Status) (int64, bool) { return f.callCounts.countOf(st.Config.Callsign), true },
		},
		{
			"dormouse_instance_exits_total", "counter", "Times that the plugin ended by itself.",
			func(st shell.Status) (int64, bool) { return f.exitCounts.countOf(st.Config.Callsign), true },
		},
		{
			"dormouse_instance_restarts_total", "counter", "Times that the host activated the instance by itself.",
			func(st shell.Status) (int64, bool) { return f.restartCounts.countOf(st.Config.Callsign), true },
		},
		{
			"dormouse_instance_log_lines_dropped_total", "counter", "Lines of the plugin's output that were dropped, since it writes more than its log-rate.",
			func(st shell.Status) (int64, bool) { return st.Figures.DroppedLines, st.Config.Builtin == "" },
		},
		{
			"dormouse_instance_subscriptions", "gauge", "Subscriptions to the instance's events.",
			func(st shell.Status) (int64, bool) {
				return int64(f.events.subscriptionCount(st.Config.Callsign)), true
			},
		},
		{
			"dormouse_instance_failed_wakes", "gauge", "Wakes of the plugin's present sleep that have failed.",
			func(st shell.Status) (int64, bool) { return int64(st.FailedWakes), st.State == shell.Hibernated },
		},
		{
			"dormouse_instance_losses", "gauge", "Losses of the plugin's state that were not acknowledged.",
			func(st shell.Status) (int64, bool) {
				return int64(len(f.supervisor.LossesOf(st.Config.Callsign))), true
			},
		},
		{
			"dormouse_instance_since_seconds", "gauge", "When the instance entered its state, in Unix time.",
			func(st shell.Status) (int64, bool) { return st.Since.Unix(), !st.Since.IsZero() },
		},
	}
}

// writeInstanceMetrics writes how many instances are in each state, and the metrics of
// each instance.
func (f *Front) writeInstanceMetrics(m *metricsText) {
	var all []shell.Status
	inState := make(map[shell.State]int64)
	for _, sh := range f.supervisor.Shells() {
		st := sh.Status()
		all = append(all, st)
		inState[st.State]++
	}
	m.BeginMetric("dormouse_instances", "gauge", "Instances in each state.")
	for _, state := range lifecycleStates() {
		m.WriteSample(inState[state], "state", string(state))
	}
	m.BeginMetric("dormouse_instance_state", "gauge", "1 for the state that the instance is in.")
	for _, st := range all {
		m.WriteSample(1, "callsign", st.Config.Callsign, "state", string(st.State), "control", string(st.Control))
	}
	for _, one := range f.instanceMetrics() {
		m.BeginMetric(one.name, one.kind, one.help)
		for _, st := range all {
			if value, ok := one.value(st); ok {
				m.WriteSample(value, "callsign", st.Config.Callsign)
			}
		}
	}
}

// lifecycleStates returns every state that an instance can be in.
func lifecycleStates() []shell.State {
	var all []shell.State
	for _, row := range shell.Lifecycle {
		all = append(all, row.From, row.During, row.Then, row.Else)
	}
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(s shell.State) bool { return s == "" })
}

// MetricsWriter takes metrics, one after another.
type MetricsWriter interface {
	// BeginMetric begins the metric of that name, whose samples follow; kind is gauge or counter.
	BeginMetric(name, kind, help string)
	// WriteSample writes one value of the metric that was begun last; labels are names and values
	// in turn.
	WriteSample(value int64, labels ...string)
}

// metricsText is the text format of Prometheus, written one metric at a time.
type metricsText struct {
	bytes.Buffer
	name string // of the metric that is being written
}

// BeginMetric writes the head of the metric name, whose samples follow. kind is gauge
// or counter.
func (m *metricsText) BeginMetric(name, kind, help string) {
	m.name = name
	m.WriteString("# HELP " + name + " " + help + "\n# TYPE " + name + " " + kind + "\n")
}

// WriteSample writes one value of the metric that was begun last; labels are names and
// values in turn.
func (m *metricsText) WriteSample(value int64, labels ...string) {
	m.WriteString(m.name)
	for i := 0; i < len(labels); i += 2 {
		separator := ","
		if i == 0 {
			separator = "{"
		}
		m.WriteString(separator + labels[i] + `="` + labelEscapes.Replace(labels[i+1]) + `"`)
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	m.WriteString(" " + strconv.FormatInt(value, 10) + "\n")
}

// labelEscapes escapes the value of a label, as Prometheus's text format requires.
var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// counters is one number for each callsign. The zero value is ready.
type counters struct {
	mu         sync.Mutex
	byCallsign map[string]int64
}

func (c *counters) increment(callsign string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byCallsign == nil {
		c.byCallsign = make(map[string]int64)
	}
	c.byCallsign[callsign]++
}

// countOf returns the number of the callsign, 0 if nothing was counted.
func (c *counters) countOf(callsign string) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.byCallsign[callsign]
}

func (c *counters) forget(callsign string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.byCallsign, callsign)
}
