package host

import (
	"dormouse/configs"
	"dormouse/plugins/access"
)

// openAccess makes the guard, and follows the token file. A private host has no tokens.
func (h *Host) openAccess() error {
	h.Access = access.NewGuard(accessRules(h.options.Config))
	h.warnIfOpen(h.options.Config.Host.Open)
	if h.options.private {
		return nil
	}
	file := access.TokenFileIn(h.options.Config.Host.Root)
	tokens, err := file.Read()
	if err != nil {
		return err
	}
	h.Access.SetTokens(tokens)
	h.stopTokens, err = file.Watch(func() { h.readTokensAgain(file) })
	return err
}

// readTokensAgain gives the guard the tokens in the file. While the file can't be used, no
// token is valid.
func (h *Host) readTokensAgain(file access.TokenFile) {
	tokens, err := file.Read()
	if err != nil {
		h.log.Error().Err(err).Msg("no token is valid")
	}
	h.Access.SetTokens(tokens)
}

// ReplaceAccessRules gives the guard the rules of a configuration that was read again, and
// reports whether they differ.
func (h *Host) ReplaceAccessRules(config configs.Config) (differ bool) {
	rules := accessRules(config)
	rules.OperatorGroup = h.options.Config.Host.CommunicatorGroup // its socket does not change either
	differ = h.Access.SetRules(rules)
	if differ {
		h.warnIfOpen(rules.Open)
	}
	return differ
}

// warnIfOpen logs that all users have a role, unless it is empty.
func (h *Host) warnIfOpen(role configs.Role) {
	if role != "" {
		h.log.Warn().Str("role", string(role)).Msg("every user of this machine has this role, because of the key open in [host]")
	}
}

// accessRules returns the rules in the configuration.
func accessRules(c configs.Config) access.Rules {
	return access.Rules{Open: c.Host.Open, Rows: c.Access, OperatorGroup: c.Host.CommunicatorGroup}
}
