package main

import (
	"context"
	"fmt"
)

// function is what is minimized.
type function interface {
	// size returns how many weights it has.
	size(ctx context.Context) (int, error)
	// loss returns its value.
	loss(ctx context.Context, weights []float64) (float64, error)
}

// search is how far a search is. A round moves one weight after the other by a step up or down as
// long as that is better, and halves the step if nothing was.
type search struct {
	Weights []float64
	Loss    float64
	Step    float64
	Rounds  int
}

// maxRounds is after how many rounds a search gives up.
const maxRounds = 10_000

// newSearch returns a search that begins with zeros.
func newSearch(ctx context.Context, f function) (s search, err error) {
	size, err := f.size(ctx)
	if err != nil {
		return s, err
	}
	s = search{Weights: make([]float64, size), Step: 1}
	s.Loss, err = f.loss(ctx, s.Weights)
	return s, err
}

// round makes one round.
func (s *search) round(ctx context.Context, f function) error {
	improved := false
	for i := range s.Weights {
		for _, move := range []float64{s.Step, -s.Step} {
			before := s.Weights[i]
			s.Weights[i] += move
			loss, err := f.loss(ctx, s.Weights)
			if err != nil {
				return err
			}
			if loss < s.Loss {
				s.Loss, improved = loss, true
				break
			}
			s.Weights[i] = before
		}
	}
	if !improved {
		s.Step /= 2
	}
	if s.Rounds++; s.Rounds > maxRounds {
		return fmt.Errorf("there is no minimum within %d rounds", maxRounds)
	}
	return nil
}
