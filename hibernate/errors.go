package hibernate

import (
	"errors"
	"fmt"

	"dormouse/hibernate/pack"
)

var (
	// ErrUnsupported means that this host can't hibernate any plugin; the text says
	// why and what would help.
	ErrUnsupported = errors.New("hibernation is not available")
	// ErrNoImage means that the instance has no image of that kind.
	ErrNoImage = errors.New("there is no image")
	// ErrRefused means that an image is not, or no longer, what this host wrote for
	// this instance. It must not be restored.
	ErrRefused = errors.New("the image is refused")
	// ErrChanged means that this host is not what it was when it made the image: its
	// kernel, the engine, the executable or a library is another one. The image itself
	// is good.
	ErrChanged = errors.New("the image does not fit this host any more")
	// ErrUsedUp means that a wake has used the image, but the plugin did not become
	// ready. Nothing of the plugin is left.
	ErrUsedUp = errors.New("the image is used up")
	// ErrSpent is an ErrRefused: the image is the one that was woken last, and its host
	// ended before it had deleted the image.
	ErrSpent = fmt.Errorf("%w: it has been used", ErrRefused)
	// ErrObstacle means that the engine can't put something about the tree into an
	// image; the text names it and says what to do.
	ErrObstacle = errors.New("not everything can go into an image")
	// ErrPassing is an ErrObstacle that may be gone at the next attempt.
	ErrPassing = fmt.Errorf("%w now", ErrObstacle)
	// ErrForged means that a new image would give a thread other rights than the thread
	// has. The image is not committed.
	ErrForged = errors.New("the image lies about a thread")
	// ErrSpace means that the disk has no room for the image.
	ErrSpace = errors.New("not enough space")
	// ErrKey means that the host lacks the key of an image. The image is kept.
	ErrKey = pack.ErrKey
	// ErrBudget means that the images would take more space than the operator allows;
	// the text names what takes the space.
	ErrBudget = errors.New("the budget for images is used up")
)
