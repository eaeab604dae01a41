package packager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"dormouse/configs"
	"dormouse/plugins/packager/database"
	"dormouse/plugins/packager/oci"
)

// registries fetches archives from OCI registries and layouts, and from web servers.
type registries struct {
	client    *oci.Client
	plainHTTP []string
	catalogue string
	maxSize   int64 // of an archive
}

// newRegistries returns a Remote as the configuration says.
func newRegistries(config configs.Packages, version string) (*registries, error) {
	c, err := oci.NewClient(oci.Options{
		PlainHTTP: config.PlainHTTP, Credentials: oci.CredentialsFile(config.Credentials, os.Getenv), UserAgent: "dormouse/" + version,
	})
	if err != nil {
		return nil, err
	}
	return &registries{c, config.PlainHTTP, strings.TrimSuffix(config.Catalogue, "/"), int64(config.MaxSize)}, nil
}

// close ends the connections.
func (r *registries) close() { r.client.Close() }

// fetch appends to file what it lacks of the archive that source names. When it returns nil, the
// file is whole and has the size and digest that the registry says.
func (r *registries) fetch(ctx context.Context, source, version string, file File, progress func(done, total int64)) error {
	if isURL(source) {
		return r.download(ctx, source, file, progress)
	}
	if isPath(source) {
		return r.copyFromLayout(ctx, source, file, progress)
	}
	if !oci.IsReference(source) {
		source = r.catalogue + "/" + source
	}
	ref, err := oci.ParseReference(source)
	if err != nil {
		return err
	}
	if ref.Tag == "" && ref.Digest == "" {
		if ref.Tag, err = r.tagFor(ctx, ref, version); err != nil {
			return err
		}
	}
	artifact, err := r.client.Resolve(ctx, ref)
	if err != nil {
		return err
	}
	if err := r.checkSize(artifact.Size); err != nil {
		return err
	}
	return r.client.Download(ctx, ref, artifact, file, progress)
}

// checkSize refuses an archive that is larger than the configuration allows.
func (r *registries) checkSize(size int64) error {
	if size > r.maxSize {
		return fmt.Errorf("%w: it has %d bytes, and [packages] max-size allows %d", ErrRefused, size, r.maxSize)
	}
	return nil
}

// tagFor returns the tag of the version, or with "" of the highest one that is no pre-release.
func (r *registries) tagFor(ctx context.Context, ref oci.Reference, version string) (string, error) {
	if version != "" {
		return oci.TagOf(version), nil
	}
	tags, err := r.client.Tags(ctx, ref)
	if err != nil {
		return "", err
	}
	if newest := newestVersion(tags); newest != "" {
		return newest, nil
	}
	return "", fmt.Errorf("cannot choose a version of %s: it has no tag that is a version; write the tag behind it", ref)
}

// copyFromLayout writes the archive of an artifact in an OCI layout into file.
func (r *registries) copyFromLayout(ctx context.Context, source string, file File, progress func(done, total int64)) error {
	dir, wanted, _ := oci.SplitLayout(source)
	layout, err := oci.OpenLayout(dir)
	if err != nil {
		return err
	}
	artifact, err := layout.Resolve(ctx, wanted)
	if err != nil {
		return err
	}
	if err := r.checkSize(artifact.Size); err != nil {
		return err
	}
	in, err := layout.Open(ctx, artifact)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := emptyFile(file); err != nil {
		return err
	}
	if _, err := io.Copy(file, &countedReader{ctx: ctx, from: in, total: artifact.Size, told: progress}); err != nil {
		return err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if digest, _, err := database.Digest(file); err != nil || digest != artifact.Archive {
		return errors.Join(fmt.Errorf("the archive in the layout %s has another digest than its manifest says", dir), err)
	}
	return nil
}

func emptyFile(file File) error {
	if err := file.Truncate(0); err != nil {
		return err
	}
	_, err := file.Seek(0, io.SeekStart)
	return err
}

// newestVersion returns the tag of the highest version that is no pre-release, "" for none.
func newestVersion(tags []string) string {
	for _, version := range versionsOf(tags) {
		if !strings.Contains(strings.SplitN(version, "+", 2)[0], "-") {
			return oci.TagOf(version)
		}
	}
	return ""
}
