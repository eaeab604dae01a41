package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"dormouse/plugins/sdk"
)

// given is what evaluate takes, and losses what it answers.
type given struct {
	Weights []float64 `json:"weights"`
}

type losses struct {
	Loss float64 `json:"loss"`
}

// Methods returns the methods of the virtual plugins.
func (o *objective) Methods() sdk.Methods {
	return sdk.Methods{
		"weights": sdk.Method(func(ctx context.Context, _ struct{}) (int, error) {
			p, err := o.problemOf(ctx, sdk.VirtualOf(ctx))
			if err != nil {
				return 0, err
			}
			return p.weights(), nil
		}),
		"evaluate": sdk.Method(func(ctx context.Context, g given) (losses, error) { return o.evaluate(ctx, sdk.VirtualOf(ctx), g) }),
	}
}

// evaluate returns the loss of a virtual plugin's problem.
func (o *objective) evaluate(ctx context.Context, child string, g given) (losses, error) {
	p, err := o.problemOf(ctx, child)
	if err != nil {
		return losses{}, err
	}
	if len(g.Weights) != p.weights() {
		return losses{}, &sdk.Error{Code: sdk.InvalidParameter, Message: fmt.Sprintf("%d weights are needed, not %d", p.weights(), len(g.Weights))}
	}
	return losses{p.evaluate(g.Weights)}, nil
}

// Web answers the links of the tasks, which programs of QHAna use: of/TASK/weights and
// of/TASK/evaluate.
func (o *objective) Web() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /of/{task}/weights", func(w http.ResponseWriter, r *http.Request) {
		p, err := o.problemOf(r.Context(), o.childOf(r.PathValue("task")))
		if err != nil {
			answer(w, nil, err)
			return
		}
		answer(w, map[string]int{"weights": p.weights()}, nil)
	})
	mux.HandleFunc("POST /of/{task}/evaluate", func(w http.ResponseWriter, r *http.Request) {
		var g given
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&g); err != nil {
			answer(w, nil, &sdk.Error{Code: sdk.InvalidParameter, Message: err.Error()})
			return
		}
		l, err := o.evaluate(r.Context(), o.childOf(r.PathValue("task")), g)
		answer(w, l, err)
	})
	return mux
}

// answer answers with the value as JSON, or with the error.
func answer(w http.ResponseWriter, value any, err error) {
	if err != nil {
		status := http.StatusInternalServerError
		if e, ok := errors.AsType[*sdk.Error](err); ok && e.Code == sdk.NotExist {
			status = http.StatusNotFound
		} else if ok && e.Code == sdk.InvalidParameter {
			status = http.StatusUnprocessableEntity
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(value) // the client may be gone
}
