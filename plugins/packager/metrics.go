package packager

import (
	"strings"

	"dormouse/plugins/packager/records"
)

// MetricsWriter takes metrics, one after another.
type MetricsWriter interface {
	BeginMetric(name, kind, help string)
	WriteSample(value int64, labels ...string)
}

// WriteMetrics writes how many packages are in each state, and the state of each.
func (p *Packager) WriteMetrics(w MetricsWriter) {
	byState, disabled := p.records.Counts()
	w.BeginMetric("dormouse_packages", "gauge", "Packages in each state.")
	for _, state := range records.States[1:] {
		w.WriteSample(int64(byState[state]), "state", strings.ToUpper(string(state)))
	}
	w.BeginMetric("dormouse_packages_disabled", "gauge", "Packages that are disabled.")
	w.WriteSample(int64(disabled))
	all := p.records.All()
	w.BeginMetric("dormouse_package_state", "gauge", "1 for the state that the package is in.")
	for _, record := range all {
		w.WriteSample(1, "package", record.Name, "version", record.ShownVersion(), "state", strings.ToUpper(string(record.State)))
	}
	w.BeginMetric("dormouse_package_since_seconds", "gauge", "When the package entered its state, in Unix time.")
	for _, record := range all {
		w.WriteSample(record.Changed.Unix(), "package", record.Name)
	}
	p.writeCentralMetrics(w)
	ended := p.ended.byResult()
	w.BeginMetric("dormouse_package_operations_total", "counter", "Operations on packages that have ended.")
	for _, key := range sortedKeys(ended) {
		w.WriteSample(ended[key], "verb", string(key.verb), "result", key.result)
	}
}
