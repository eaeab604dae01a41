package packager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/plugins/packager/database"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
)

// registries fetches archives from OCI registries and layouts, and from web servers.
type registries struct {
	client    *oci.Client
	plainHTTP []string
	catalogue string
}

// newRegistries returns a Remote as the configuration says.
func newRegistries(config configs.Packages, version string) (*registries, error) {
	c, err := oci.NewClient(oci.Options{PlainHTTP: config.PlainHTTP, Credentials: config.Credentials, UserAgent: "dormouse/" + version})
	if err != nil {
		return nil, err
	}
	return &registries{client: c, plainHTTP: config.PlainHTTP, catalogue: strings.TrimSuffix(config.Catalogue, "/")}, nil
}

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
	return r.client.Download(ctx, ref, artifact, file, progress)
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

// silentTime is how long a web server may be silent.
const silentTime = 30 * time.Second

// download appends to file what it lacks of the archive that a web server has, if the server can
// go on there; else it begins anew.
func (r *registries) download(ctx context.Context, source string, file File, progress func(done, total int64)) error {
	u, err := url.Parse(source)
	if err != nil {
		return err
	}
	if u.Scheme != "https" && !slices.Contains(r.plainHTTP, u.Host) {
		return fmt.Errorf("%w: %s is not encrypted; if that is meant, add %q to plain-http in [packages]", ErrRefused, source, u.Host)
	}
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	silence := time.AfterFunc(silentTime, cancel)
	defer silence.Stop()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("cannot fetch the package: %w", err)
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusPartialContent && have > 0:
	case answer.StatusCode == http.StatusOK:
		have = 0
		if err := emptyFile(file); err != nil {
			return err
		}
	case answer.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return nil // it was whole
	default:
		return fmt.Errorf("cannot fetch %s: the server answers %s", source, answer.Status)
	}
	total := int64(0)
	if answer.ContentLength >= 0 {
		total = have + answer.ContentLength
	}
	_, err = io.Copy(file, &countedReader{ctx: ctx, from: answer.Body, done: have, total: total, told: func(done, total int64) {
		silence.Reset(silentTime)
		progress(done, total)
	}})
	return err
}

// newestVersion returns the highest of the tags that are versions and no pre-releases, "" for
// none.
func newestVersion(tags []string) (newest string) {
	for _, tag := range tags {
		version := strings.ReplaceAll(tag, "_", "+")
		if !manifest.IsVersion(version) || strings.Contains(strings.SplitN(version, "+", 2)[0], "-") {
			continue
		}
		if newest == "" || manifest.CompareVersions(version, strings.ReplaceAll(newest, "_", "+")) > 0 {
			newest = tag
		}
	}
	return newest
}
