package flows

import (
	"context"
	"time"

	"dormouse/configs"
	"dormouse/internal/queue"
)

// record is a flow as clients see it, or a bound topic by the name of its queue.
type record struct {
	Name string `json:"name"`
	// Kind of a placeholder is the last one, all else of the declaration is absent; of a bound
	// topic it is KindRemote.
	Kind    configs.FlowKind  `json:"kind,omitempty"`
	Package string            `json:"package,omitempty"`
	Plugin  string            `json:"instance,omitempty"`
	State   configs.FlowState `json:"state,omitempty"` // absent of a bound topic
	// Effect is what becomes of a message now: "processed", "queued" or "rejected"; "unknown"
	// for a placeholder that no package under way may declare. Why says why the plugin does not get it, or why it did not get the
	// last one.
	Effect string `json:"effect"`
	Why    string `json:"why,omitempty"`
	// Ready is the system's side: whether the plugin can process messages.
	Ready bool `json:"ready"`

	Messages int64 `json:"messages"` // that wait, or are with the plugin
	Bytes    int64 `json:"bytes"`
	// Oldest is for how many seconds the first message has waited, 0 if there is none.
	Oldest float64 `json:"oldest"`
	Dead   int64   `json:"dead"`

	// In, Out and Failed are messages each second over the last minute: accepted, processed,
	// and attempts that failed. The totals count since the start of the host.
	In        float64 `json:"in"`
	Out       float64 `json:"out"`
	Failed    float64 `json:"failed"`
	Published int64   `json:"published"`
	Processed int64   `json:"processed"`
	Failures  int64   `json:"failures"`

	Takes       []string `json:"takes,omitempty"`
	Gives       []string `json:"gives,omitempty"`
	Unrouted    string   `json:"unrouted,omitempty"`
	Parallel    int      `json:"parallel,omitempty"`
	MaxMessages int      `json:"maxmessages,omitempty"`
	MaxBytes    int64    `json:"maxbytes,omitempty"`
	Attempts    int      `json:"attempts,omitempty"`

	// First says how it goes with the first message, if it has failed.
	First *firstMessage `json:"first,omitempty"`

	// Remote is what is known of a bound topic besides.
	Remote *RemoteTopic `json:"remote,omitempty"`
}

// firstMessage is what is known of the first message of a flow once it has failed.
type firstMessage struct {
	Failed int       `json:"failed"`
	Reason string    `json:"reason"`
	Again  time.Time `json:"again"`
}

// effects are the words for the verdicts.
var effects = map[verdict]string{process: "processed", keep: "queued", reject: "rejected"}

// recordOf returns the flow as clients see it now.
func (f *Flows) recordOf(ctx context.Context, w *flow) (record, error) {
	s := w.now()
	waiting, err := f.Queues.Stats(ctx, w.key())
	if err != nil {
		return record{}, err
	}
	now := time.Now()
	r := record{
		Name: s.Name, Kind: s.Kind, Package: s.pkg, Plugin: s.Receiver(), State: s.state, Effect: "unknown",
		Messages: waiting.Messages, Bytes: waiting.Bytes, Dead: waiting.Dead,
		Takes: s.Takes, Gives: s.Gives, Unrouted: s.Unrouted, Parallel: s.Parallel,
		MaxMessages: s.MaxMessages, MaxBytes: int64(s.MaxBytes), Attempts: s.Attempts,
	}
	r.Published, r.In = w.published.figures(now)
	r.Processed, r.Out = w.processed.figures(now)
	r.Failures, r.Failed = w.failed.figures(now)
	if !waiting.Oldest.IsZero() {
		r.Oldest = now.Sub(waiting.Oldest).Seconds()
	}
	if waiting.Failed > 0 {
		r.First = &firstMessage{waiting.Failed, waiting.Reason, waiting.Again}
	}
	r.Why = "no package declares it"
	if _, expected := f.isExpected(s); expected || !s.isPlaceholder() {
		v, why := f.decideNow(s)
		r.Effect, r.Ready = effects[v], f.readinessOf(s).Ready
		r.Why = f.whyItWaits(s, v, why, waiting)
	}
	return r, nil
}

// whyItWaits returns why the plugin does not get a message: why the verdict is not to process
// it, or what hinders its delivery.
func (f *Flows) whyItWaits(s snapshot, v verdict, why string, waiting queue.Stats) string {
	switch {
	case v != process:
		return why
	case waiting.Messages == 0:
		return ""
	case s.hindered != "":
		return s.hindered
	case waiting.Failed > 0:
		return "its first message has failed: " + waiting.Reason
	}
	if sh := f.shellOf(s); sh != nil && sh.State().IsInSleepCycle() {
		return s.Receiver() + " sleeps, and is woken when more wait, or for longer"
	}
	return ""
}

// records returns all flows as clients see them now, sorted by name.
func (f *Flows) records(ctx context.Context) ([]record, error) {
	all := []record{}
	for _, w := range f.all() {
		r, err := f.recordOf(ctx, w)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// deadRecord is a dead letter as clients see it. Body and Metadata are those of one that was
// asked for alone.
type deadRecord struct {
	Key         int64             `json:"key"`
	ID          string            `json:"id"`
	Published   time.Time         `json:"published"`
	Died        time.Time         `json:"died"`
	Failed      int               `json:"failed"`
	Kills       int               `json:"kills"`
	Why         string            `json:"why"`
	Size        int64             `json:"size"`
	Topic       string            `json:"topic,omitempty"`
	ContentType string            `json:"contenttype,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"`
	Body        []byte            `json:"body,omitempty"` // base64
}

// deadRecordOf returns a dead letter as clients see it, with its content if asked for.
func deadRecordOf(d queue.DeadLetter, withContent bool) deadRecord {
	r := deadRecord{
		Key: d.Key, ID: d.ID, Published: d.Published, Died: d.Died, Failed: d.Failed, Kills: d.Kills,
		Why: d.Reason, Size: d.Size,
	}
	m, err := fromQueue(d.Message)
	if err != nil {
		return r
	}
	r.Topic, r.ContentType = m.GetTopic(), m.GetContentType()
	if withContent {
		r.Metadata, r.Body = m.GetMetadata(), m.GetBody()
	}
	return r
}
