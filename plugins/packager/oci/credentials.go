package oci

import (
	"os"
	"path/filepath"
)

// CredentialName is the name of the systemd credential with logins for registries.
const CredentialName = "dormouse-registry-credentials"

// CredentialsFile returns the file with the logins for registries: the configured one, else the
// systemd credential, else docker's own; "" if there is none.
func CredentialsFile(configured string, getenv func(string) string) string {
	if configured != "" {
		return configured
	}
	dockerDir := getenv("DOCKER_CONFIG")
	if home := getenv("HOME"); dockerDir == "" && home != "" {
		dockerDir = filepath.Join(home, ".docker")
	}
	for _, place := range [][2]string{{getenv("CREDENTIALS_DIRECTORY"), CredentialName}, {dockerDir, "config.json"}} {
		path := filepath.Join(place[0], place[1])
		if _, err := os.Stat(path); place[0] != "" && err == nil {
			return path
		}
	}
	return ""
}
