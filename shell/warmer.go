package shell

import (
	"context"

	"dormouse/hibernate"
)

// Warmer is a Backend that can start its plugin from a golden image: as it was right
// after Initialize in an earlier life.
type Warmer interface {
	// Warm is Launch and Initialize in one. Without an image that fits, the error wraps
	// ErrCold and nothing was tried. After any error nothing of the plugin runs.
	Warm(ctx context.Context) (Information, error)
	// Preserve must be called after each Initialize of an instance with warm-start:
	// before it no event of the plugin is passed on. If wanted, it makes the golden
	// image. After an error there is none and the plugin runs on as before, unless the
	// error wraps ErrExited.
	Preserve(ctx context.Context, wanted bool) error
	// Began is the golden image that the running plugin began from, nil after a cold
	// start. It is asked after an adoption.
	Began() *hibernate.Image
	// DropGolden removes the image, if there is one, for that reason.
	DropGolden(why error)
	// Golden is the image, or why there is none. It may be called at any time.
	Golden() (*hibernate.Image, error)
}
