package configs

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Remote is one table [[flows.remote]]: a topic whose messages go to a stream of a NATS server
// and come from there, so that flows of several machines share them.
type Remote struct {
	// Topic is what flows call it. It is bound once.
	Topic string `toml:"topic"`

	// NATS are the URLs of the servers, separated by commas.
	NATS string `toml:"nats"`

	// Subject is what messages are published to. A stream of the server must take it.
	Subject string `toml:"subject"`

	// Stream is the name of that stream; if empty, the host asks the server for it.
	Stream string `toml:"stream"`

	// Durable is the name of the consumer in the stream; if empty, "dormouse-" and the topic.
	// Hosts that use one name share the messages.
	Durable string `toml:"durable"`

	// How the host says which client it is: at most one of a file with credentials (JWT and
	// key), a file with an nkey's seed, a file with a token, and a user with a file that has
	// the password.
	Credentials  string `toml:"credentials"`
	NKeyFile     string `toml:"nkey-file"`
	TokenFile    string `toml:"token-file"`
	User         string `toml:"user"`
	PasswordFile string `toml:"password-file"`

	// CA is a file with the certificates that the server's must come from, the system's if
	// empty. Certificate and Key are files for a server that asks clients for a certificate.
	CA          string `toml:"ca"`
	Certificate string `toml:"certificate"`
	Key         string `toml:"key"`
}

// readRemote reads one table [[flows.remote]].
func (f *configFile) readRemote(t *tableReader) {
	var r Remote
	t.ReadText("topic", &r.Topic, CheckTopic)
	t.ReadText("nats", &r.NATS, checkNATSServers)
	t.ReadText("subject", &r.Subject, checkSubject)
	t.ReadText("stream", &r.Stream, checkNATSName)
	t.ReadText("durable", &r.Durable, checkNATSName)
	t.ReadText("user", &r.User)
	for key, path := range map[string]*string{
		"credentials": &r.Credentials, "nkey-file": &r.NKeyFile, "token-file": &r.TokenFile, "password-file": &r.PasswordFile,
		"ca": &r.CA, "certificate": &r.Certificate, "key": &r.Key,
	} {
		t.ReadPath(key, path)
		t.refersTo(ReferenceFile, key, *path)
	}
	for _, key := range []string{"topic", "nats", "subject"} {
		if !t.Has(key) {
			t.AddProblem(key, "key %q %s is missing", key, t.Name)
		}
	}
	ways := []string{r.Credentials, r.NKeyFile, r.TokenFile, r.User}
	switch ways = slices.DeleteFunc(ways, func(way string) bool { return way == "" }); {
	case len(ways) > 1:
		t.AddProblem("nats", `only one of "credentials", "nkey-file", "token-file" and "user" may stand %s`, t.Name)
	case (r.User == "") != (r.PasswordFile == ""):
		t.AddProblem("user", `"user" and "password-file" %s belong together`, t.Name)
	case (r.Certificate == "") != (r.Key == ""):
		t.AddProblem("certificate", `"certificate" and "key" %s belong together`, t.Name)
	case slices.ContainsFunc(f.config.Flows.Remotes, func(other Remote) bool { return other.Topic == r.Topic }):
		t.AddProblem("topic", "the topic %q %s is bound twice", r.Topic, t.Name)
	}
	t.ReportUnknownKeys()
	f.config.Flows.Remotes = append(f.config.Flows.Remotes, r)
}

// checkNATSServers returns an error if the text is not a list of URLs of NATS servers.
func checkNATSServers(list string) error {
	for server := range strings.SplitSeq(list, ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		switch {
		case err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
			return fmt.Errorf(`%q is not the URL of a NATS server, such as "nats://queue.example:4222" or "tls://queue.example:4222"`, server)
		case u.User != nil:
			return errors.New(`the URL of a NATS server must hold no user or password: use "user" and "password-file", "token-file" or "credentials"`)
		}
	}
	return nil
}

// checkSubject returns an error if messages can't be published to the subject.
func checkSubject(subject string) error {
	for token := range strings.SplitSeq(subject, ".") {
		if token == "" || strings.ContainsAny(token, "*> \t\r\n") {
			return fmt.Errorf(`%q is not a subject: it must be words with "." between them, without "*", ">" and spaces`, subject)
		}
	}
	return nil
}

// checkNATSName returns an error if the text can't be the name of a stream or a consumer.
func checkNATSName(name string) error {
	if strings.ContainsAny(name, ".*>/\\ \t\r\n") {
		return fmt.Errorf(`%q can't be the name of a stream or a consumer: it must not hold ".", "*", ">", slashes or spaces`, name)
	}
	return nil
}
