package hibernate

import (
	"errors"
	"fmt"

	"dormouse/hibernate/pack"
)

var (
	// ErrUnsupported means that this host can't hibernate anything; the text says
	// why and what would help.
	ErrUnsupported = errors.New("hibernation is not available")
	// ErrNoImage means that the instance is not hibernated.
	ErrNoImage = errors.New("there is no image")
	// ErrRefused means that an image is not, or no longer, what this host wrote
	// for this instance, or does not fit what it would wake up in. It must not be
	// restored.
	ErrRefused = errors.New("the image is refused")
	// ErrSpent is an ErrRefused: the image is the one that was woken last, and
	// its host did not live to remove it.
	ErrSpent = fmt.Errorf("%w: it has been used", ErrRefused)
	// ErrObstacle means that there is something about the tree that the engine has no
	// image of; the text names it and says what to do.
	ErrObstacle = errors.New("not everything can go into an image")
	// ErrPassing is an ErrObstacle that may be gone at the next attempt.
	ErrPassing = fmt.Errorf("%w now", ErrObstacle)
	// ErrForged means that an image in the making gives a task other rights than
	// the kernel says it has. It is not committed.
	ErrForged = errors.New("the image lies about a task")
	// ErrSpace means that the disk has no room for the image.
	ErrSpace = errors.New("not enough space")
	// ErrKey means that the host lacks the key of an image, which is kept.
	ErrKey = pack.ErrKey
	// ErrBudget means that the images would take more than they may; the text
	// names what takes it.
	ErrBudget = errors.New("the budget for images is used up")
)
