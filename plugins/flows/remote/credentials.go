package remote

import (
	"fmt"
	"os"
	"strings"

	"github.com/nats-io/nats.go"
)

// credentials returns the options that say which client the host is, and which servers it
// trusts. Files are read again at each connection, so that they can be replaced.
func (b *binding) credentials() (options []nats.Option, err error) {
	switch {
	case b.Credentials != "":
		options = append(options, nats.UserCredentials(b.Credentials))
		_, err = os.Stat(b.Credentials)
	case b.NKeyFile != "":
		var option nats.Option
		if option, err = nats.NkeyOptionFromSeed(b.NKeyFile); err == nil {
			options = append(options, option)
		}
	case b.TokenFile != "":
		_, err = secretIn(b.TokenFile)
		options = append(options, nats.TokenHandler(func() string { return b.secret(b.TokenFile) }))
	case b.User != "":
		_, err = secretIn(b.PasswordFile)
		options = append(options, nats.UserInfoHandler(func() (string, string) { return b.User, b.secret(b.PasswordFile) }))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the credentials for the NATS server %s: %w", b.NATS, err)
	}
	if b.CA != "" {
		options = append(options, nats.RootCAs(b.CA))
	}
	if b.Certificate != "" {
		options = append(options, nats.ClientCert(b.Certificate, b.Key))
	}
	return options, nil
}

// secret returns what the file holds. A file that can't be read any more is reported; the server
// refuses the empty secret.
func (b *binding) secret(path string) string {
	text, err := secretIn(path)
	if err != nil {
		b.log.Error().Err(err).Msg("cannot read the secret for the NATS server")
	}
	return text
}

// secretIn returns the first line of the file.
func secretIn(path string) (string, error) {
	raw, err := os.ReadFile(path)
	line, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimSuffix(line, "\r"), err
}
