package configs

import (
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"time"
)

// Packages is the table [packages]: which plugin packages the host accepts, where they come
// from, and what an upgrade keeps.
type Packages struct {
	// Source is the side that the other is made equal to when the host starts.
	Source PackageSource `toml:"source"`

	// Keys are the public keys of minisign by which a package may be signed: the line of
	// base64 of a key file, or the path of such a file.
	Keys []string `toml:"keys"`

	// Unsigned is which packages without a valid signature are accepted.
	Unsigned Unsigned `toml:"unsigned"`

	// Bundled is the directory with the packages that came with the host.
	Bundled string `toml:"bundled"`

	// Catalogue is the OCI repository of the official packages, "" for none.
	Catalogue string `toml:"catalogue"`

	// Central is the OCI repository that says which packages this host should have, "" for
	// none. CentralEvery is how often the host looks there.
	Central      string   `toml:"central"`
	CentralEvery Duration `toml:"central-every"`

	// PlainHTTP are the registries, host or host:port, that are reached without TLS.
	PlainHTTP []string `toml:"plain-http"`

	// Credentials is the file with the credentials for registries, in the form of docker's
	// config.json. If empty, the host uses the systemd credential
	// "dormouse-registry-credentials", else docker's own file.
	Credentials string `toml:"credentials"`

	// MaxSize is how many bytes an archive, and KeepData how many bytes of an instance's data
	// kept for a rollback, may have.
	MaxSize  Bytes `toml:"max-size"`
	KeepData Bytes `toml:"keep-data"`

	// Trial is how long the new version must stay active and healthy after an upgrade.
	// AutoRollback reports whether the host rolls back by itself if it does not.
	Trial        Duration `toml:"trial"`
	AutoRollback bool     `toml:"auto-rollback"`

	Caps Caps `toml:"caps"`
}

// Caps is the table [packages.caps]: the most that a package may ask for. A limit of 0 is no
// cap.
type Caps struct {
	Memory    Bytes `toml:"memory"`
	Swap      Bytes `toml:"swap"`
	Pids      int   `toml:"pids"`
	CPUWeight int   `toml:"cpu-weight"`
	OpenFiles int   `toml:"open-files"`

	// Environment and Subsystems are patterns, see path.Match: the variables that instances
	// of a package may set, and the subsystems that they may control.
	Environment []string `toml:"environment"`
	Subsystems  []string `toml:"subsystems"`
}

// PackageSource is one of the two sides that the host brings into agreement at its start.
type PackageSource string

// The values of the key "source".
const (
	SourceDatabase   PackageSource = "database"
	SourceFilesystem PackageSource = "filesystem"
)

// Unsigned is which packages without a valid signature the host accepts.
type Unsigned string

// The values of the key "unsigned". UnsignedLocal accepts archives and directories that an
// admin of this machine gives.
const (
	UnsignedLocal  Unsigned = "local"
	UnsignedNever  Unsigned = "never"
	UnsignedAlways Unsigned = "always"
)

// defaultPackages returns the table [packages] of a host without configuration.
func defaultPackages() Packages {
	return Packages{
		Source:       SourceDatabase,
		Unsigned:     UnsignedLocal,
		Bundled:      "/usr/share/dormouse/packages",
		CentralEvery: Duration(5 * time.Minute),
		MaxSize:      1 << 30,
		KeepData:     1 << 30,
		Trial:        Duration(30 * time.Second),
		Caps:         Caps{Environment: []string{"*"}, Subsystems: []string{"*"}},
	}
}

// readPackages reads the table [packages].
func (f *configFile) readPackages(t *tableReader) {
	p := &f.config.Packages
	readAllowedWord(t, "source", &p.Source, SourceDatabase, SourceFilesystem)
	t.ReadTextList("keys", &p.Keys, checkKeyOrPath)
	for i, key := range p.Keys {
		if !IsPublicKey(key) {
			p.Keys[i] = absolutePath(f.dir, key)
			t.refersTo(ReferenceFile, "keys", p.Keys[i])
		}
	}
	readAllowedWord(t, "unsigned", &p.Unsigned, UnsignedLocal, UnsignedNever, UnsignedAlways)
	t.ReadPath("bundled", &p.Bundled, checkNotEmpty)
	t.ReadText("catalogue", &p.Catalogue, checkRepository)
	t.ReadText("central", &p.Central, checkRepository)
	t.readDuration("central-every", &p.CentralEvery)
	t.ReadTextList("plain-http", &p.PlainHTTP, checkRegistryHost)
	t.ReadPath("credentials", &p.Credentials)
	t.refersTo(ReferenceFile, "credentials", p.Credentials)
	t.readSize("max-size", &p.MaxSize, 1)
	t.ReadParsed("keep-data", `a size such as "64MiB"`, &p.KeepData)
	t.readDuration("trial", &p.Trial)
	t.ReadBool("auto-rollback", &p.AutoRollback)
	readCaps(t.table("caps", "in [packages.caps]", "a table, written [packages.caps]"), &p.Caps)
	t.ReportUnknownKeys()
}

// readCaps reads the table [packages.caps].
func readCaps(t *tableReader, c *Caps) {
	t.ReadParsed("memory", `a size such as "64MiB"`, &c.Memory)
	t.ReadParsed("swap", `a size such as "64MiB"`, &c.Swap)
	t.ReadInteger("pids", &c.Pids, 0, math.MaxInt32)
	t.ReadInteger("cpu-weight", &c.CPUWeight, 0, 10000)
	t.ReadInteger("open-files", &c.OpenFiles, 0, math.MaxInt32)
	t.ReadTextList("environment", &c.Environment, checkPattern)
	t.ReadTextList("subsystems", &c.Subsystems, checkPattern)
	t.ReportUnknownKeys()
}

// packageForm is what names of packages look like: safe as the name of a file, as part of a
// URL and as the name of an OCI repository.
const packageForm = `a lower-case letter, then at most 63 lower-case letters, digits or "-"`

// CheckPackageName returns an error if the name cannot be the name of a package.
func CheckPackageName(name string) error {
	isLower := func(r rune) bool { return 'a' <= r && r <= 'z' }
	for i, r := range name {
		if !isLower(r) && (i == 0 || r != '-' && (r < '0' || r > '9')) || i > 63 {
			return fmt.Errorf("%q is not the name of a package: it must be %s", name, packageForm)
		}
	}
	if name == "" || strings.HasSuffix(name, "-") {
		return fmt.Errorf("%q is not the name of a package: it must be %s, and not end in \"-\"", name, packageForm)
	}
	return nil
}

// IsPublicKey reports whether the text is a public key of minisign, its line of base64, and
// not the path of a file.
func IsPublicKey(text string) bool {
	raw, err := base64.StdEncoding.DecodeString(text)
	const length = 42 // of the algorithm "Ed", a number and an Ed25519 key
	return err == nil && len(raw) == length && string(raw[:2]) == "Ed"
}

// checkKeyOrPath returns an error if the text is neither a public key nor a path.
func checkKeyOrPath(text string) error {
	if !IsPublicKey(text) && !strings.Contains(text, "/") {
		return fmt.Errorf(`%q is neither a public key of minisign, as "RWQf6…", nor the path of one: a path has a "/"`, text)
	}
	return nil
}

// checkRepository returns an error if the text is neither "" nor an OCI repository such as
// "oci://registry.example/plugins".
func checkRepository(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "oci" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return fmt.Errorf("%q is not a repository such as \"oci://registry.example/plugins\"", text)
	}
	if path := strings.Trim(u.Path, "/"); path == "" || strings.ContainsAny(path, ":@") {
		return fmt.Errorf("%q must name a repository of the registry, without a tag, such as \"oci://%s/plugins\"", text, u.Host)
	}
	return nil
}

// checkRegistryHost returns an error if the text is not the host, or host:port, of a registry.
func checkRegistryHost(text string) error {
	host := text
	if strings.Contains(text, ":") {
		if err := checkAddress(text); err != nil {
			return err
		}
		host, _, _ = net.SplitHostPort(text)
	}
	return checkHostName(host)
}
