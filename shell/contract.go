package shell

import (
	"context"
	"fmt"
	"slices"

	"dormouse/internal/schema"
	"dormouse/shell/shellpb"
)

// contract holds the schemas of the parameters of methods that a plugin's types declare, by
// the method. It never changes.
type contract map[string][]*schema.Schema

// newContractOrNil compiles the schemas of a profile, which Check has accepted; nil for none.
func newContractOrNil(p Profile) *contract {
	var c contract
	for _, t := range p.Provides {
		for _, m := range t.Methods {
			compiled, err := compileOrNil(m.Params)
			if err != nil || compiled == nil {
				continue
			}
			if c == nil {
				c = make(contract)
			}
			c[m.Name] = append(c[m.Name], compiled)
		}
	}
	if c == nil {
		return nil
	}
	return &c
}

// check returns an error that wraps ErrInvalidParams, with the path of the wrong member, if a
// type does not allow the parameters of the method.
func (c contract) check(method string, params []byte) error {
	for _, s := range c[method] {
		if err := s.CheckJSON(params); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidParams, err)
		}
	}
	return nil
}

// Question is the message of a call that knows the request of the Dispatcher's Invoke in it.
type Question interface {
	// InvokeRequest returns the request. It may be slow.
	InvokeRequest() (*shellpb.InvokeRequest, error)
}

// checkedBy returns send, preceded by check if the contract has changed until then, as it may by
// the start of the plugin; or the error of check now. Without a contract check is not called.
func (s *Shell) checkedBy(check func(contract) error, send func(context.Context) error) (func(context.Context) error, error) {
	before := s.contract.Load()
	if before != nil {
		if err := check(*before); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context) error {
		if now := s.contract.Load(); now != before && now != nil {
			if err := check(*now); err != nil {
				return err
			}
		}
		return send(ctx)
	}, nil
}

// checkQuestion is contract.check for a gRPC call. A call of another method than Invoke, or about
// a virtual plugin of the plugin, passes.
func (s *Shell) checkQuestion(c contract, method string, question any) error {
	if method != shellpb.Dispatcher_Invoke_FullMethodName {
		return nil
	}
	request, ok := question.(*shellpb.InvokeRequest)
	if encoded, isEncoded := question.(Question); isEncoded {
		var err error
		if request, err = encoded.InvokeRequest(); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalidParams, err)
		}
	} else if !ok {
		return nil
	}
	if about := request.GetCallsign(); about != "" && about != s.callsign {
		return nil
	}
	return c.check(request.GetMethod(), request.GetParams())
}

// Profile returns what others find the instance by: what the plugin itself says, and what its
// package says of it; false if its program was never asked and no package says anything.
func (s *Shell) Profile() (p Profile, known bool) {
	p = s.profileNow()
	return p, s.information().Class != "" || !p.IsZero()
}

// profileNow returns the profile of the plugin with what its package says besides.
func (s *Shell) profileNow() Profile {
	p := s.information().Profile
	if s.declared != nil {
		p = p.with(s.declared())
	}
	return p
}

// with returns the profile with what another says besides: what only one has, and all elements
// of lists. Of two types by the same name the profile's own counts.
func (p Profile) with(other Profile) Profile {
	if other.IsZero() {
		return p
	}
	all := p
	if all.Entry == nil {
		all.Entry = other.Entry
	}
	for _, pair := range []struct{ own, other *string }{
		{&all.Title, &other.Title}, {&all.Name, &other.Name}, {&all.Version, &other.Version}, {&all.Description, &other.Description},
	} {
		if *pair.own == "" {
			*pair.own = *pair.other
		}
	}
	all.Tags = union(p.Tags, other.Tags)
	all.Provides = withOthers(p.Provides, other.Provides, func(t Type) string { return t.Name })
	all.Uses = withOthers(p.Uses, other.Uses, func(u Use) string { return u.Type + "\x00" + u.Parameter })
	all.Links = withOthers(p.Links, other.Links, func(l Link) string { return l.Type })
	return all
}

// withOthers returns own, then those of others whose keys are not among the keys of own.
func withOthers[E any](own, others []E, key func(E) string) []E {
	all := slices.Clone(own)
	known := make(map[string]bool)
	for _, e := range own {
		known[key(e)] = true
	}
	for _, e := range others {
		if !known[key(e)] {
			all = append(all, e)
		}
	}
	return all
}
