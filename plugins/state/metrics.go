package state

import "context"

// MetricsWriter takes metrics, one after another.
type MetricsWriter interface {
	BeginMetric(name, kind, help string)
	WriteSample(value int64, labels ...string)
}

// ownerMetrics are the metrics with one value for each owner.
var ownerMetrics = []struct {
	name, kind, help string
	value            func(ownerRow) int64
}{
	{"dormouse_state_keys", "gauge", "Keys that the plugin keeps with the host.", func(r ownerRow) int64 { return r.keys }},
	{"dormouse_state_key_bytes", "gauge", "Bytes of these keys and their values.", func(r ownerRow) int64 { return r.keyBytes }},
	{"dormouse_state_blobs", "gauge", "Blobs that the plugin keeps with the host.", func(r ownerRow) int64 { return r.blobs }},
	{"dormouse_state_blob_bytes", "gauge", "Bytes of these blobs.", func(r ownerRow) int64 { return r.blobBytes }},
	{"dormouse_state_changes_total", "counter", "Changes of the plugin's keys and blobs; those made as one count once.", func(r ownerRow) int64 { return r.revision }},
}

// WriteMetrics writes the figures of each owner and of all together.
func (s *State) WriteMetrics(w MetricsWriter) {
	all, err := s.owners(context.Background())
	if err != nil {
		s.log.Error().Err(err).Msg("cannot read the figures of the state")
		return
	}
	for _, m := range ownerMetrics {
		w.BeginMetric(m.name, m.kind, m.help)
		for _, r := range all {
			w.WriteSample(m.value(r), "owner", r.owner)
		}
	}
	w.BeginMetric("dormouse_state_bytes", "gauge", "Bytes of the keys, values and blobs of all plugins.")
	w.WriteSample(s.allBytes())
	w.BeginMetric("dormouse_state_transfers", "gauge", "Blobs that are being received or sent.")
	w.WriteSample(int64(s.transfers.underWay()))
}
