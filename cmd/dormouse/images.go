package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/hibernate/pack"
)

// imageStore is a host's store of images, as a verb finds it on disk whether the host runs or
// not.
type imageStore struct {
	dir     string
	catalog *hibernate.Catalog // nil if there is no store yet
	engine  *criu.Engine
}

// addImageStoreFlags declares the flags that name a host's configuration, and returns the
// function that opens the host's store of images.
func addImageStoreFlags(flags *flag.FlagSet) func() (imageStore, error) {
	path := flags.String("config", "", "the configuration `FILE` of the host, "+configs.DefaultPath+" if not given")
	var o configs.Overrides
	flags.StringVar(&o.Root, "root", "", "the root `DIR` of the host, if it was started with --root")
	flags.StringVar(&o.Criu, "criu", "", "the `PATH` of CRIU's executable")
	return func() (imageStore, error) {
		config, err := configs.LoadWithoutBadDropIns(*path, os.Getenv, o)
		if err != nil {
			return imageStore{}, fmt.Errorf("cannot tell where the host keeps its images:\n%w", err)
		}
		store, err := openImageStore(config.Hibernate)
		if err == nil && store.catalog == nil && (*path != "" || o.Root != "") {
			err = fmt.Errorf("there are no images in %s: no host has had this root; give --root and --config as the host got them", store.dir)
		}
		return store, err
	}
}

// openImageStore opens a store to look at it. Without the key of encrypted images the store is
// opened all the same.
func openImageStore(c configs.Hibernate) (imageStore, error) {
	var key []byte
	if c.KeyFile != "" {
		key, _ = pack.ReadKey(c.KeyFile) // the entry of an encrypted image says that its key is missing
	}
	catalog, err := hibernate.OpenCatalog(c.Dir, key, hibernate.KeepFor)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		catalog = nil
	case errors.Is(err, fs.ErrPermission):
		return imageStore{}, fmt.Errorf("%w; run this as the user of the host, which is root as a rule", err)
	case err != nil:
		return imageStore{}, err
	}
	return imageStore{c.Dir, catalog, criu.Open(c.Criu, c.Dir)}, nil
}

// entries returns the images of the store, none if there is no store. Without CRIU each image
// that needs it has that as its WhyUnusable.
func (s imageStore) entries() ([]hibernate.CatalogEntry, error) {
	if s.catalog == nil {
		return nil, nil
	}
	all, err := s.catalog.Entries(s.engine)
	if missing := s.engine.WhyNotFound(); missing != nil {
		for i := range all {
			if !all[i].Quarantined {
				all[i].WhyUnusable = missing
			}
		}
	}
	return all, err
}
