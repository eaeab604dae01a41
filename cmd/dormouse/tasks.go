package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"dormouse/internal/bytesize"
	"dormouse/plugins/thunder"
)

// taskRecord is a task as Tasks.get returns it.
type taskRecord struct {
	ID       string `json:"id"`
	Callsign string `json:"callsign"`
	Title    string `json:"title"`
	Status   string `json:"status"`
	Reason   string `json:"reason"`
	Revision uint64 `json:"revision"`
	Created  string `json:"created"`
	Started  string `json:"started"`
	Finished string `json:"finished"`
	Log      string `json:"log"`
	Progress *struct {
		Value  float64 `json:"value"`
		Start  float64 `json:"start"`
		Target float64 `json:"target"`
		Unit   string  `json:"unit"`
	} `json:"progress"`
	Parameters json.RawMessage `json:"parameters"`
	Steps      []struct {
		ID        string `json:"id"`
		Title     string `json:"title"`
		Href      string `json:"href"`
		UI        string `json:"ui"`
		Cleared   bool   `json:"cleared"`
		Submitted bool   `json:"submitted"`
	} `json:"steps"`
	Outputs []struct {
		Name        string `json:"name"`
		Path        string `json:"path"`
		ContentType string `json:"contenttype"`
		Size        int64  `json:"size"`
	} `json:"outputs"`
	Links []struct {
		Type string `json:"type"`
		Href string `json:"href"`
	} `json:"links"`
	Waits     bool   `json:"waits"`
	Stuck     bool   `json:"stuck"`
	Cancelled bool   `json:"cancelled"`
	Resumed   uint32 `json:"resumed"`
}

// statusText returns the status with what keeps a pending task.
func (r taskRecord) statusText() string {
	switch {
	case r.Status != "PENDING":
		return r.Status
	case r.Cancelled:
		return r.Status + ", to be cancelled"
	case r.Stuck:
		return r.Status + ", stuck"
	case r.Waits:
		return r.Status + ", waits"
	}
	return r.Status
}

// progressText returns how far the task is, "" if it does not say.
func (r taskRecord) progressText() string {
	p := r.Progress
	if p == nil {
		return ""
	}
	text := strconv.FormatFloat(p.Value, 'g', 6, 64)
	if p.Target != 0 && p.Unit != "%" {
		text += " of " + strconv.FormatFloat(p.Target, 'g', 6, 64)
	}
	return strings.TrimSpace(text + " " + p.Unit)
}

// taskMethod calls a method of Tasks that returns a task.
func taskMethod(ctx context.Context, c *client, method string, params any) (r taskRecord, raw json.RawMessage, err error) {
	raw, err = c.call(ctx, "Tasks."+method, params)
	if err == nil {
		if err = json.Unmarshal(raw, &r); err != nil {
			err = fmt.Errorf("cannot understand the host's task: %w", err)
		}
	}
	return r, raw, err
}

// taskListVerb returns the action that lists tasks.
func taskListVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	pending := flags.Bool("pending", false, "only those that have not ended")
	most := flags.Int("limit", 1000, "at most so many")
	return func(ctx context.Context, t *terminal, args []string) error {
		all := []json.RawMessage{}
		for page := ""; len(all) < *most; {
			params := map[string]any{"page": page, "limit": min(*most-len(all), 1000)}
			if len(args) > 0 {
				params["callsign"] = args[0]
			}
			if *pending {
				params["status"] = "PENDING"
			}
			var some struct {
				Tasks []json.RawMessage `json:"tasks"`
				Next  string            `json:"next"`
			}
			answer, err := c.call(ctx, "Tasks.list", params)
			if err == nil {
				err = json.Unmarshal(answer, &some)
			}
			if err != nil {
				return fmt.Errorf("cannot list the tasks: %w", err)
			}
			all = append(all, some.Tasks...)
			if page = some.Next; page == "" {
				break
			}
		}
		if len(all) == 0 && len(args) > 0 {
			if _, err := c.listInstances(ctx, args[0]); hasAnyErrorNumber(err, thunder.UnknownKey) {
				return fmt.Errorf("cannot list the tasks: %w", c.unknownInstanceError(ctx, args[0], err))
			}
		}
		if format.isJSON() {
			return t.printIndentedJSON(all)
		}
		return printTasks(t, all)
	}
}

// printTasks prints a line for each task.
func printTasks(t *terminal, all []json.RawMessage) error {
	if len(all) == 0 {
		t.printf("there are no tasks\n")
		return nil
	}
	rows := table{}
	rows.addRow("ID", "INSTANCE", "TITLE", "STATUS", "PROGRESS", "CREATED", "WHY")
	for _, raw := range all {
		var r taskRecord
		if err := json.Unmarshal(raw, &r); err != nil {
			return fmt.Errorf("cannot understand the host's task: %w", err)
		}
		rows.addRow(r.ID, r.Callsign, textOrDash(r.Title), r.statusText(), textOrDash(r.progressText()), formatTimeAndAge(r.Created), errorCell(r.Reason))
	}
	t.printf("%s", rows.alignedText(t.width))
	return nil
}

// taskShowVerb returns the action that prints everything about one task.
func taskShowVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		_, raw, err := taskMethod(ctx, c, "get", map[string]string{"task": args[0]})
		if err != nil {
			return fmt.Errorf("cannot show the task: %w", err)
		}
		return printJSONOrText(t, format, "task", raw, taskRecord.detailsText)
	}
}

// detailsText returns everything about the task, for a person.
func (r taskRecord) detailsText() string {
	rows := table{}
	add := func(name, value string) {
		if value != "" {
			rows.addRow(name, value)
		}
	}
	add("task", r.ID)
	add("instance", r.Callsign)
	add("title", r.Title)
	add("status", r.statusText())
	rows.addTextRows("why", r.Reason)
	add("progress", r.progressText())
	add("created", formatTimeAndAge(r.Created))
	add("started", timeOrNothing(r.Started))
	add("finished", timeOrNothing(r.Finished))
	if r.Resumed > 0 {
		add("resumed", fmt.Sprintf("%d times", r.Resumed))
	}
	add("parameters", string(r.Parameters))
	for _, s := range r.Steps {
		add("step "+s.ID, stepText(s.Title, s.Href, s.Cleared, s.Submitted))
	}
	for _, o := range r.Outputs {
		add("output "+o.Name, strings.TrimSpace(fmt.Sprintf("%s %s at /Service/Tasks/%s", bytesize.Format(o.Size), o.ContentType, o.Path)))
	}
	for _, l := range r.Links {
		add("link "+l.Type, l.Href)
	}
	text := rows.alignedText(0)
	if r.Log != "" {
		text += "\n" + r.Log
	}
	return text
}

// stepText says what a step is and how far.
func stepText(title, href string, cleared, submitted bool) string {
	state := "open"
	switch {
	case cleared:
		state = "done"
	case submitted:
		state = "submitted"
	}
	return strings.TrimSpace(strings.Join([]string{state, title, href}, " "))
}

// timeOrNothing returns the time with its age, "" for none.
func timeOrNothing(rfc3339 string) string {
	if rfc3339 == "" {
		return ""
	}
	return formatTimeAndAge(rfc3339)
}

// taskStartVerb returns the action that starts a task.
func taskStartVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	title := flags.String("title", "", "what the task is called")
	follow := flags.Bool("follow", false, "follow the task until its end")
	return func(ctx context.Context, t *terminal, args []string) error {
		params := map[string]any{"callsign": args[0], "title": *title}
		if err := addJSONArgument(t, params, "parameters", args[1:]); err != nil {
			return err
		}
		r, _, err := taskMethod(ctx, c, "start", params)
		if err != nil {
			return fmt.Errorf("cannot start a task of %s: %w", args[0], withoutBeginning(err, "cannot start a task of "+args[0]))
		}
		t.printf("%s\n", r.ID)
		if !*follow {
			return nil
		}
		return followTask(ctx, t, c, r.ID)
	}
}

// addJSONArgument sets a parameter to the JSON that the first argument stands for, if there is one.
func addJSONArgument(t *terminal, params map[string]any, name string, args []string) error {
	if len(args) == 0 {
		return nil
	}
	raw, err := readJSONArgument(t.in, args[0])
	params[name] = raw
	return err
}

// taskSubmitVerb returns the action that gives the values for a step.
func taskSubmitVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		params := map[string]any{"task": args[0], "step": args[1]}
		if err := addJSONArgument(t, params, "values", args[2:]); err != nil {
			return err
		}
		r, _, err := taskMethod(ctx, c, "submit", params)
		if err != nil {
			return fmt.Errorf("cannot submit the step %s: %w", args[1], withoutBeginning(err, "cannot submit to the task"))
		}
		for _, s := range r.Steps {
			if s.ID == args[1] && !s.Cleared {
				t.printf("submitted; the plugin gets it when it runs\n")
			}
		}
		return nil
	}
}

// taskCancelVerb returns the action that asks for the end of tasks.
func taskCancelVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, _ *terminal, args []string) error {
		for _, id := range args {
			if _, _, err := taskMethod(ctx, c, "cancel", map[string]string{"task": id}); err != nil {
				return fmt.Errorf("cannot cancel the task %s: %w", id, withoutBeginning(err, "cannot cancel the task"))
			}
		}
		return nil
	}
}

// taskFollowVerb returns the action that follows a task until its end.
func taskFollowVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error { return followTask(ctx, t, c, args[0]) }
}

// followWait is how many seconds one request waits for a change.
const followWait = 20

// followTask prints the log, the progress and the steps of a task as they come, until it ends or
// ctx does. The error says that the task has failed.
func followTask(ctx context.Context, t *terminal, c *client, id string) error {
	var shown taskRecord
	for revision := uint64(0); ; {
		r, _, err := taskMethod(ctx, c, "get", map[string]any{"task": id, "revision": revision, "wait": followWait})
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // the user has ended it
		case err != nil:
			return fmt.Errorf("cannot follow the task: %w", err)
		}
		t.printf("%s", r.newsSince(shown))
		if t.writeErr != nil {
			return t.writeErr
		}
		if r.Status == "FAILURE" {
			return fmt.Errorf("the task has failed: %s", r.Reason)
		}
		if r.Status != "PENDING" {
			return nil
		}
		shown, revision = r, r.Revision
	}
}

// newsSince returns what is new of a task for a person, a line for each thing.
func (r taskRecord) newsSince(shown taskRecord) string {
	var news strings.Builder
	news.WriteString(unseenLog(shown.Log, r.Log))
	if p := r.progressText(); p != shown.progressText() {
		fmt.Fprintf(&news, "-- %s\n", p)
	}
	for i, s := range r.Steps {
		switch isNew := i >= len(shown.Steps); {
		case isNew && !s.Cleared && s.Href != "":
			fmt.Fprintf(&news, "-- waits for the step %s: open %s in a browser\n", cmp.Or(s.Title, s.ID), cmp.Or(s.UI, s.Href))
		case isNew && !s.Cleared:
			fmt.Fprintf(&news, "-- waits for the step %s: dormouse task submit %s %s\n", cmp.Or(s.Title, s.ID), r.ID, s.ID)
		case !isNew && s.Cleared && !shown.Steps[i].Cleared:
			fmt.Fprintf(&news, "-- the step %s is done\n", cmp.Or(s.Title, s.ID))
		}
	}
	if r.Stuck && !shown.Stuck {
		news.WriteString("-- the plugin has shown no sign of life for its quiet time\n")
	}
	if r.Status != "PENDING" {
		fmt.Fprintf(&news, "-- %s %s\n", r.Status, parseTimeOrZero(r.Finished).Local().Format(time.DateTime))
	}
	return news.String()
}

// unseenLog returns the lines of a log that were not shown. Of a log that was cut since it says so.
func unseenLog(shown, log string) string {
	if rest, whole := strings.CutPrefix(log, shown); whole {
		return rest
	}
	lines := strings.Split(strings.TrimSuffix(shown, "\n"), "\n")
	if _, rest, found := strings.Cut(log, "\n"+lines[len(lines)-1]+"\n"); found {
		return rest
	}
	_, rest, _ := strings.Cut(log, " lines are left out …\n")
	return "…\n" + rest
}
