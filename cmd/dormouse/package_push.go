package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"dormouse/configs"
	"dormouse/internal/regularfile"
	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
)

// registryFlags say how a registry is reached.
type registryFlags struct {
	plainHTTP         bool
	credentials, user string
}

// addRegistryFlags declares the flags of a verb that speaks to a registry itself.
func addRegistryFlags(flags *flag.FlagSet) *registryFlags {
	f := &registryFlags{}
	flags.BoolVar(&f.plainHTTP, "plain-http", false, "reach the registry without TLS")
	flags.StringVar(&f.credentials, "credentials", "", "the `FILE` with logins, docker's config.json if not given")
	flags.StringVar(&f.user, "user", "", "log in as `NAME`; the password is asked for, or read from the standard input")
	return f
}

// client returns a client for the registry of the reference.
func (f *registryFlags) client(t *terminal, at oci.Reference) (*oci.Client, error) {
	o := oci.Options{Credentials: oci.CredentialsFile(f.credentials, os.Getenv), UserAgent: "dormouse"}
	if f.plainHTTP {
		o.PlainHTTP = []string{at.Host}
	}
	if f.user != "" {
		password, err := readPassword(t, "Password of "+f.user+" at "+at.Host+": ")
		if err != nil {
			return nil, err
		}
		o.Login = &oci.Login{Host: at.Host, User: f.user, Password: password}
	}
	return oci.NewClient(o)
}

// parseReference returns the reference in an argument.
func parseReference(text string) (oci.Reference, error) {
	r, err := oci.ParseReference(text)
	if err != nil {
		return r, &usageError{err: err}
	}
	return r, nil
}

// pushRecord is what was written into a registry, as -o json prints it.
type pushRecord struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
	// Reference names the artifact by its digest.
	Reference string `json:"reference"`
	Size      int64  `json:"size,omitempty"`
}

// packagePushVerb returns the action that writes an archive into a registry.
func packagePushVerb(flags *flag.FlagSet) action {
	format, registry := addFormatFlag(flags), addRegistryFlags(flags)
	intoCatalogue := flags.Bool("catalogue", false, "REFERENCE is a catalogue: push into the package's repository below it, and offer the package there")
	return func(ctx context.Context, t *terminal, args []string) error {
		to, err := parseReference(args[1])
		if err != nil {
			return err
		}
		if to.Digest != "" || *intoCatalogue && to.Tag != "" {
			return &usageError{err: errors.New("REFERENCE must have no digest, and that of a catalogue no tag")}
		}
		m, head, err := peekArchive(ctx, args[0])
		if err != nil {
			return fmt.Errorf("cannot push %s: %w", args[0], err)
		}
		catalogue := to
		if *intoCatalogue {
			to = oci.RepositoryOf(catalogue, m.Name)
		}
		to.Tag = cmp.Or(to.Tag, oci.TagOf(m.Version))
		client, err := registry.client(t, to)
		if err != nil {
			return err
		}
		defer client.Close()
		f, err := regularfile.Open(args[0])
		if err != nil {
			return err
		}
		defer f.Close()
		progress, hide := byteProgress(t, "pushing "+filepath.Base(args[0]))
		artifact, err := client.Push(ctx, to, f, oci.Label{
			Name: m.Name, Version: m.Version, Digest: string(head.Digest()), FileName: filepath.Base(args[0]),
		}, progress)
		hide()
		if err == nil && *intoCatalogue {
			err = client.PublishOffer(ctx, catalogue, oci.Offer{Package: m.Name, Description: m.Description})
		}
		if err != nil {
			return err
		}
		to.Digest = artifact.Manifest
		return printPushed(t, format, pushRecord{m.Name, m.Version, to.String(), artifact.Size})
	}
}

func printPushed(t *terminal, format *outputFormat, r pushRecord) error {
	if format.isJSON() {
		return t.printIndentedJSON(r)
	}
	t.printf("%s %s  %s\n", r.Name, r.Version, r.Reference)
	return nil
}

// peekArchive returns what an archive says of itself.
func peekArchive(ctx context.Context, file string) (m manifest.Manifest, head archive.Head, err error) {
	f, err := regularfile.Open(file)
	if err != nil {
		return m, head, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return m, head, err
	}
	limits := archive.LimitsFor(max(info.Size(), int64(configs.Default().Packages.MaxSize)))
	if head, err = archive.Peek(ctx, f, limits, manifest.FileName); err != nil {
		return m, head, err
	}
	m, err = manifest.Parse(file, head.File)
	return m, head, err
}

// packageWantVerb returns the action that publishes a wish for many machines.
func packageWantVerb(flags *flag.FlagSet) action {
	format, registry := addFormatFlag(flags), addRegistryFlags(flags)
	grant := flags.Bool("grant", false, "the package may ask for more than the version that a machine has")
	return func(ctx context.Context, t *terminal, args []string) error {
		wanted, err := parseReference(args[0])
		if err != nil {
			return err
		}
		central, err := parseReference(args[1])
		if err != nil {
			return err
		}
		if central.Tag != "" || central.Digest != "" || central.Host != wanted.Host && (registry.user != "" || registry.plainHTTP) {
			return &usageError{err: errors.New("CENTRAL must be a repository without a tag; --user and --plain-http are for one registry")}
		}
		client, err := registry.client(t, central)
		if err != nil {
			return err
		}
		defer client.Close()
		artifact, err := client.Resolve(ctx, wanted)
		if err != nil {
			return err
		}
		if err := configs.CheckPackageName(artifact.Name); err != nil {
			return fmt.Errorf("cannot wish for %s: %w", wanted, err)
		}
		wanted.Digest = artifact.Manifest
		_, err = client.PublishWish(ctx, central, oci.Wish{Package: artifact.Name, Reference: wanted, Published: time.Now(), Grant: *grant})
		if err != nil {
			return err
		}
		return printPushed(t, format, pushRecord{artifact.Name, artifact.Version, wanted.String(), artifact.Size})
	}
}

// centralRecord is the central repository as Packager.central returns it.
type centralRecord struct {
	Repository string `json:"repository"`
	LastLook   string `json:"lastlook"`
	Error      string `json:"error"`
	Wishes     []struct {
		Package   string `json:"package"`
		Reference string `json:"reference"`
		State     string `json:"state"`
		Reason    string `json:"reason"`
	} `json:"wishes"`
}

// packageWishesVerb returns the action that lists what the central repository wishes.
func packageWishesVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	again := flags.Bool("again", false, "let the host look there now; it does so by itself, too")
	return func(ctx context.Context, t *terminal, _ []string) error {
		if *again {
			if _, err := c.call(ctx, "Packager.look", nil); err != nil {
				return err
			}
		}
		result, err := c.call(ctx, "Packager.central", nil)
		if err != nil {
			return err
		}
		return printJSONOrText(t, format, "wishes", result, func(r centralRecord) string {
			if r.Repository == "" && len(r.Wishes) == 0 {
				return "No central repository is configured: set central in [packages].\n"
			}
			rows := table{}
			rows.addRow("PACKAGE", "STATE", "REFERENCE", "REASON")
			for _, w := range r.Wishes {
				rows.addRow(w.Package, w.State, w.Reference, w.Reason)
			}
			if r.Error != "" {
				rows.addRow(r.Repository + " could not be read: " + r.Error)
			}
			return rows.alignedText(t.width)
		})
	}
}
