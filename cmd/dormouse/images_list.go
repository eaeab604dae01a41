package main

import (
	"context"
	"flag"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/bytesize"
)

// imageRecord is an image as -o json prints it.
type imageRecord struct {
	Callsign   string `json:"callsign"`
	Kind       string `json:"kind"` // image, golden or refused
	Bytes      int64  `json:"bytes"`
	Created    string `json:"created"`
	AgeSeconds int64  `json:"ageSeconds"`
	Generation uint64 `json:"generation,omitempty"`
	Engine     string `json:"engine,omitempty"`
	// Until is when the image will be removed, "" for an image that stays.
	Until  string `json:"until,omitempty"`
	Usable bool   `json:"usable"`
	Why    string `json:"why,omitempty"` // it is not usable
}

// imagesListVerb returns the action that lists the images of a host.
func imagesListVerb(flags *flag.FlagSet) action {
	open, format := addImageStoreFlags(flags), addFormatFlag(flags)
	return func(_ context.Context, t *terminal, _ []string) error {
		store, err := open()
		if err != nil {
			return err
		}
		all, err := store.entries()
		if err != nil {
			return err
		}
		if format.isJSON() {
			records := make([]imageRecord, len(all))
			for i, e := range all {
				records[i] = imageRecordOf(e)
			}
			return t.printIndentedJSON(records)
		}
		if len(all) == 0 {
			t.printErrf("There are no images in %s. A plugin that is put to sleep on disk leaves one; a host with another root needs its --root here.\n", store.dir)
			return nil
		}
		t.printf("%s", imageTable(all).alignedText(t.width))
		return nil
	}
}

// imageTable returns the table of images, with a heading.
func imageTable(all []hibernate.CatalogEntry) *table {
	rows := &table{}
	rows.addRow("NAME", "KIND", "SIZE", "AGE", "KEPT UNTIL", "USABLE")
	for _, e := range all {
		until := "-"
		if !e.Until.IsZero() {
			until = e.Until.Local().Format(time.DateTime)
		}
		usable := "yes"
		if e.WhyUnusable != nil {
			usable = "no: " + errorCell(e.WhyUnusable.Error())
		}
		rows.addRow(e.Callsign, e.KindWord(), bytesize.Format(e.Bytes), formatAge(e.Age()), until, usable)
	}
	return rows
}

// imageRecordOf returns the record of an image.
func imageRecordOf(e hibernate.CatalogEntry) imageRecord {
	r := imageRecord{
		Callsign: e.Callsign, Kind: e.KindWord(), Bytes: e.Bytes, Created: e.Written.UTC().Format(time.RFC3339),
		AgeSeconds: int64(e.Age().Seconds()), Usable: e.WhyUnusable == nil,
	}
	if e.Image != nil {
		r.Created, r.Engine = e.Image.Created.UTC().Format(time.RFC3339), e.Image.Engine
		if !e.Golden {
			r.Generation = e.Image.Generation
		}
	}
	if !e.Until.IsZero() {
		r.Until = e.Until.UTC().Format(time.RFC3339)
	}
	if e.WhyUnusable != nil {
		r.Why = e.WhyUnusable.Error()
	}
	return r
}
