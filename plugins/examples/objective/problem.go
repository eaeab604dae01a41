package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"dormouse/plugins/sdk"
)

// problem is the function loss(w) = mean (w·x − y)² + regularization · |w|² over the rows x of
// Features with their y of Target. It does not change once it is made.
type problem struct {
	Features       [][]float64
	Target         []float64
	Regularization float64
}

// problemBlob is the name of the blob that holds a problem, in the state of its virtual plugin.
const problemBlob = "problem.json"

// maxData is how many bytes the features or the target may have.
const maxData = 64 << 20

// keepData fetches features and target, and keeps them as a blob, unless an earlier life has done
// so.
func (o *objective) keepData(ctx context.Context, child, features, target string, regularization float64) error {
	state := o.host.StateOf(child)
	if _, err := state.ShowBlob(ctx, problemBlob); !errors.Is(err, sdk.ErrNotFound) {
		return err
	}
	p := problem{Regularization: regularization}
	if err := fetch(ctx, features, &p.Features); err != nil {
		return fmt.Errorf("cannot get the features: %w", err)
	}
	if err := fetch(ctx, target, &p.Target); err != nil {
		return fmt.Errorf("cannot get the target: %w", err)
	}
	if err := p.validate(); err != nil {
		return err
	}
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = state.PutBlob(ctx, problemBlob, "application/json", bytes.NewReader(raw))
	return err
}

// validate returns an error unless each row has as many numbers, and a target.
func (p problem) validate() error {
	if len(p.Features) == 0 || len(p.Features) != len(p.Target) {
		return fmt.Errorf("there are %d rows of features, and %d targets", len(p.Features), len(p.Target))
	}
	for i, row := range p.Features {
		if len(row) != p.weights() {
			return fmt.Errorf("row %d of the features has %d numbers, the first has %d", i+1, len(row), p.weights())
		}
	}
	return nil
}

// weights returns how many weights the function has.
func (p problem) weights() int { return len(p.Features[0]) }

// evaluate returns the loss of the weights, of which there must be as many as weights returns.
func (p problem) evaluate(weights []float64) float64 {
	loss := 0.0
	for i, row := range p.Features {
		miss := -p.Target[i]
		for j, x := range row {
			miss += weights[j] * x
		}
		loss += miss * miss / float64(len(p.Target))
	}
	for _, w := range weights {
		loss += p.Regularization * w * w
	}
	return loss
}

// problemOf returns the problem of a virtual plugin. The error is an *sdk.Error with NotExist if it
// has none yet, or none any more.
func (o *objective) problemOf(ctx context.Context, child string) (*problem, error) {
	o.mu.Lock()
	p := o.problems[child]
	o.mu.Unlock()
	if p != nil {
		return p, nil
	}
	blob, err := o.host.StateOf(child).OpenBlob(ctx, problemBlob)
	if err != nil {
		return nil, &sdk.Error{Code: sdk.NotExist, Message: fmt.Sprintf("%s has no data: %v", child, err)}
	}
	defer blob.Close()
	if err := json.NewDecoder(blob).Decode(&p); err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.problems[child] = p
	return p, nil
}

// fetch decodes the JSON at an address.
func fetch(ctx context.Context, address string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, response.Status)
	}
	return json.NewDecoder(io.LimitReader(response.Body, maxData)).Decode(into)
}
