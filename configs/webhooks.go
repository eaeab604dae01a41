package configs

import "dormouse/internal/outbox/targets"

// Webhooks is the table [webhooks]: where the requests may go by which the host tells others of
// tasks.
type Webhooks struct {
	// Allow are the targets besides public addresses, each a text for targets.ParseRule.
	Allow []string `toml:"allow"`
}

// Rules returns what Allow allows. The table must have been checked by Load.
func (w Webhooks) Rules() (rules []targets.Rule) {
	for _, text := range w.Allow {
		if rule, err := targets.ParseRule(text); err == nil {
			rules = append(rules, rule)
		}
	}
	return rules
}

// readWebhooks reads the table [webhooks].
func (f *configFile) readWebhooks(t *tableReader) {
	t.ReadTextList("allow", &f.config.Webhooks.Allow, func(text string) error {
		_, err := targets.ParseRule(text)
		return err
	})
	t.ReportUnknownKeys()
}
