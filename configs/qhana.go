package configs

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// QHAna is the table [qhana]: whether the host serves its plugins to QHAna below /qhana, to
// which peers, and which registries are told of them.
type QHAna struct {
	// Enabled reports whether the host serves QHAna; nil: if it has a public URL, see ServesQHAna.
	Enabled *bool `toml:"enabled"`

	// Role is what requests below /qhana from the networks in From may do without showing
	// anything by which the host knows the client.
	Role Role     `toml:"role"`
	From []string `toml:"from"`

	// Registries are the API roots of the plugin registries that are told of each change.
	Registries []string `toml:"registries"`
}

// defaultQHAna returns the table [qhana] of a host without configuration.
func defaultQHAna() QHAna {
	return QHAna{Role: RoleCall, From: []string{"127.0.0.0/8", "::1/128"}}
}

// ServesQHAna reports whether the host serves QHAna.
func (c Config) ServesQHAna() bool {
	if c.QHAna.Enabled != nil {
		return *c.QHAna.Enabled
	}
	return c.Host.PublicURL != ""
}

// Networks returns the networks in From. The table must have been checked by Load.
func (q QHAna) Networks() []netip.Prefix {
	networks := make([]netip.Prefix, 0, len(q.From))
	for _, text := range q.From {
		if network, err := parseNetwork(text); err == nil {
			networks = append(networks, network)
		}
	}
	return networks
}

// readQHAna reads the table [qhana].
func (f *configFile) readQHAna(t *tableReader) {
	q := &f.config.QHAna
	t.ReadOptionalBool("enabled", &q.Enabled)
	readAllowedWord(t, "role", &q.Role, RoleRead, RoleCall, RoleOperate, RoleAdmin)
	t.ReadTextList("from", &q.From, func(text string) error {
		_, err := parseNetwork(text)
		return err
	})
	t.ReadTextList("registries", &q.Registries, checkRegistryRoot)
	f.qhanaAt = filePosition{f.path, t.Line("enabled")}
	t.ReportUnknownKeys()
}

// reportQHAnaWithoutURL reports what goes with QHAna only, where the host does not serve it.
func (l *configLoad) reportQHAnaWithoutURL() {
	report := func(at filePosition, format string, args ...any) {
		l.problems.Add(at.path, at.line, fmt.Errorf(format, args...))
	}
	if l.config.ServesQHAna() && l.config.Host.PublicURL == "" {
		report(l.qhanaAt, `[qhana] needs the key "public-url" in [host]: all links begin with it`)
	}
	if l.config.ServesQHAna() {
		return
	}
	if len(l.config.QHAna.Registries) > 0 {
		report(l.qhanaAt, `[qhana] has registries, but the host does not serve QHAna: set "public-url" in [host], and not enabled = false`)
	}
	for i, listener := range l.config.Listeners {
		if listener.Only == OnlyQHAna {
			report(l.listenersAt[i], `a listener with only = "qhana" has nothing to serve: set "public-url" in [host], and not enabled = false in [qhana]`)
		}
	}
}

// parseNetwork returns the network that the text names, an address standing for itself alone.
func parseNetwork(text string) (netip.Prefix, error) {
	if address, err := netip.ParseAddr(text); err == nil && address.Zone() == "" {
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil || network != network.Masked() {
		return netip.Prefix{}, fmt.Errorf(`%q is not a network such as "192.168.7.0/24", nor an address`, text)
	}
	return network, nil
}

// nameWithDot is what QHAna's programs take for the name of a host in a URL, besides localhost
// and addresses: marshmallow's check of URLs.
var nameWithDot = regexp.MustCompile(`(?i)^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9-]{2,}$`)

// CheckPublicURL returns an error if the text is neither "" nor a URL that QHAna's programs
// accept in links: of http or https, with an address, localhost or a name with a dot.
func CheckPublicURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := parseWebURL(text)
	if err != nil {
		return fmt.Errorf("%w such as \"http://192.168.7.2:9998\"", err)
	}
	host := u.Hostname()
	_, err = netip.ParseAddr(host)
	if err != nil && !strings.EqualFold(host, "localhost") && !nameWithDot.MatchString(host) {
		return fmt.Errorf("the host %q must be an address, localhost or a name with a dot: QHAna's programs refuse links with another", host)
	}
	return nil
}

// checkRegistryRoot returns an error if the text is not the URL of a plugin registry's API.
func checkRegistryRoot(text string) error {
	if _, err := parseWebURL(text); err != nil {
		return fmt.Errorf("%w of a registry's API such as \"http://127.0.0.1:5006/api/\"", err)
	}
	return nil
}

// parseWebURL returns the URL in the text, which must be of http or https, have a port from 1 to
// 65535 or none, and no user, query or fragment.
func parseWebURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil && (u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.ContainsAny(text, "?# ")) {
		err = errors.New("not of that form")
	}
	if err == nil && u.Port() != "" {
		if port, perr := strconv.ParseUint(u.Port(), 10, 16); perr != nil || port == 0 {
			return nil, fmt.Errorf("the port of %q must be from 1 to 65535 in a URL", text)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%q is not a URL", text)
	}
	return u, nil
}
