// Package oci keeps package archives in OCI registries and layouts: each archive is the one
// layer of an artifact, so that other tools of OCI can copy it. It does not know what an
// archive holds.
package oci

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"oras.land/oras-go/v2/registry"
)

// scheme is the beginning of a reference to a registry.
const scheme = "oci://"

// Reference is the address of an artifact in a registry, or with neither Tag nor Digest that
// of a whole repository.
type Reference struct {
	// Host is the registry's name, with its port if that is not 443.
	Host       string
	Repository string
	// Tag is a name that the registry may give to another artifact at any time.
	Tag string
	// Digest is that of the artifact's manifest, "sha256:…". With Tag and Digest the tag only
	// tells a reader what the artifact is.
	Digest string
}

// IsReference reports whether text is meant as a Reference.
func IsReference(text string) bool { return strings.HasPrefix(text, scheme) }

// ParseReference reads oci://host/repository[:tag][@digest].
func ParseReference(text string) (Reference, error) {
	rest, ok := strings.CutPrefix(text, scheme)
	if !ok {
		return Reference{}, fmt.Errorf("cannot read the reference %q: it does not begin with %s", text, scheme)
	}
	if host, _, _ := strings.Cut(rest, "/"); strings.Contains(host, "@") {
		return Reference{}, fmt.Errorf("cannot read a reference to a registry: it must not hold a login; put that into the file that credentials in [packages] names")
	}
	parsed, err := registry.ParseReference(rest)
	if err != nil {
		return Reference{}, fmt.Errorf("cannot read the reference %q: %w; the form is %shost/repository:tag, with @sha256:… behind it if that very artifact is meant", text, err, scheme)
	}
	r := Reference{Host: parsed.Registry, Repository: parsed.Repository}
	named, digest, pinned := strings.Cut(rest, "@")
	if pinned {
		r.Digest = digest
		if parsed.ValidateReferenceAsDigest() != nil || !strings.HasPrefix(digest, "sha256:") {
			return Reference{}, fmt.Errorf("cannot read the reference %q: a digest is sha256: and 64 hexadecimal digits", text)
		}
	}
	if i := strings.LastIndexByte(named, ':'); i > strings.LastIndexByte(named, '/') {
		r.Tag = named[i+1:]
		if r.Tag == "" {
			return Reference{}, fmt.Errorf("cannot read the reference %q: the tag is missing behind the colon", text)
		}
	}
	return r, nil
}

// String returns the reference as ParseReference reads it.
func (r Reference) String() string {
	text := scheme + r.Host + "/" + r.Repository
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	if r.Digest != "" {
		text += "@" + r.Digest
	}
	return text
}

// wanted returns what the registry is asked for: the digest, else the tag.
func (r Reference) wanted() string {
	if r.Digest != "" {
		return r.Digest
	}
	return r.Tag
}

// SplitLayout returns the directory and the tag or digest, "" for none, if path names an OCI
// layout: DIRECTORY, DIRECTORY:TAG or DIRECTORY@DIGEST.
func SplitLayout(path string) (dir, wanted string, isLayout bool) {
	if hasLayoutFile(path) {
		return path, "", true
	}
	for _, separator := range "@:" {
		if i := strings.IndexRune(path, separator); i > 0 && hasLayoutFile(path[:i]) {
			return path[:i], path[i+1:], true
		}
	}
	return "", "", false
}

// hasLayoutFile reports whether dir has the file that marks an OCI layout.
func hasLayoutFile(dir string) bool {
	info, err := os.Lstat(filepath.Join(dir, "oci-layout"))
	return err == nil && info.Mode().IsRegular()
}
