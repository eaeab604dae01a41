package access

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// Audit logs the calls that change something and what clients were refused. Its lines name
// the client, the method and the instances, and hold no parameters.
type Audit struct {
	guard    *Guard
	log      zerolog.Logger
	front    string
	refusals limiter
}

// NewAudit returns the audit of the front of that name, for clients that guard knows.
func NewAudit(guard *Guard, log zerolog.Logger, front string) *Audit {
	return &Audit{guard: guard, log: log, front: front}
}

// LogChange logs a call that the client was allowed to make, if its method needs the role
// Operate or a higher one. result is "done", or the name of an error number.
func (a *Audit) LogChange(c Client, needed Role, targets []Target, result string) {
	if needed < Operate || len(targets) == 0 {
		return
	}
	log := a.logAbout(c, targets)
	log.Info().Str("result", result).Msg("a client called a method that changes something")
}

// LogRefusal logs what the client was refused. Beyond a number of refusals a second it only
// counts them, and tells the count with the next one.
func (a *Audit) LogRefusal(r *RefusalError) {
	suppressed, may := a.refusals.pass(time.Now())
	if !may {
		return
	}
	log := a.logAbout(r.Client, []Target{r.Target})
	log.Warn().Str("result", "refused").
		Stringer("needed", r.Needed).Stringer("has", r.Has).Func(countSuppressed(suppressed)).Msg("a client was refused")
}

// LogRejected logs why a request from the address was rejected before it named a method.
// It is limited like LogRefusal.
func (a *Audit) LogRejected(address, why string) {
	suppressed, may := a.refusals.pass(time.Now())
	if !may {
		return
	}
	a.log.Warn().Str("audit", a.front).Str("from", address).Str("result", "refused").
		Str("reason", why).Func(countSuppressed(suppressed)).Msg("a client was refused")
}

// countSuppressed adds to a line how many lines before it were not logged, unless none.
func countSuppressed(n int) func(*zerolog.Event) {
	return func(e *zerolog.Event) {
		if n > 0 {
			e.Int("suppressed", n)
		}
	}
}

// logAbout returns the log with the client and the targets in each line. All targets have
// the same method.
func (a *Audit) logAbout(c Client, targets []Target) zerolog.Logger {
	var callsigns []string
	for _, t := range targets {
		if t.Callsign != "" {
			callsigns = append(callsigns, shortened(t.Callsign))
		}
	}
	about := a.log.With().Str("audit", a.front).Str("client", a.guard.describe(c)).Str("from", cmp.Or(c.Address, "a unix socket")).
		Str("method", shortened(targets[0].Method))
	if callsigns != nil {
		about = about.Str("instance", strings.Join(callsigns, ", "))
	}
	return about.Logger()
}

// shortened returns the beginning of a name that a client sent.
func shortened(name string) string { return fmt.Sprintf("%.80s", name) }

// describe returns the client with names: `user alice (1000), pid 42`.
func (g *Guard) describe(c Client) string {
	switch name := nameOfToken(g.rules.Load().Tokens, c.Token); {
	case name != "":
		return fmt.Sprintf("token %q", name)
	case c.User == nil || c.Plugin != "" || c.Certificate != "":
		c.Address = "" // it has a place of its own
		return c.String()
	}
	text := fmt.Sprintf("user %s (%d)", g.users.find(c.User.UID).name, c.User.UID)
	if c.User.PID != 0 {
		text += fmt.Sprintf(", pid %d", c.User.PID)
	}
	return text
}
