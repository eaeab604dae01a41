package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dormouse/configs"
	"dormouse/internal/failpoint"
	"dormouse/shell"
)

// Virtual is a virtual plugin as its parent defines it.
type Virtual struct {
	Callsign string
	// Parent is the callsign of the instance whose plugin does the work.
	Parent  string
	Profile shell.Profile
	// Configuration is a JSON object, nil for none.
	Configuration json.RawMessage
}

// Limits of virtual plugins.
const (
	MaxVirtuals             = 256       // of one parent
	maxVirtualConfiguration = 64 << 10  // bytes of JSON
	maxVirtualProfile       = 256 << 10 // bytes of JSON
)

// Errors of the methods for virtual plugins.
var (
	// ErrTooManyVirtuals means that the parent has MaxVirtuals virtual plugins.
	ErrTooManyVirtuals = errors.New("there are too many virtual plugins")
	// ErrNoParent means that the instance can't have virtual plugins: it is part of the host, or
	// itself virtual.
	ErrNoParent = errors.New("the instance can't have virtual plugins")
	// ErrBadVirtual means that the definition of a virtual plugin can't be used.
	ErrBadVirtual = errors.New("the definition of the virtual plugin is not valid")
)

// virtualRecord is what is kept of a virtual plugin.
type virtualRecord struct {
	Version       int             `json:"version"`
	Parent        string          `json:"parent"`
	Profile       shell.Profile   `json:"profile"`
	Configuration json.RawMessage `json:"configuration,omitempty"`
}

// record returns what is kept of a virtual plugin.
func (v Virtual) record() virtualRecord {
	return virtualRecord{recordVersion, v.Parent, v.Profile, v.Configuration}
}

// virtual returns the virtual plugin of that callsign of which the record is kept.
func (r virtualRecord) virtual(callsign string) Virtual {
	return Virtual{Callsign: callsign, Parent: r.Parent, Profile: r.Profile, Configuration: r.Configuration}
}

// normalized returns the definition with its defaults, and an error that wraps ErrBadVirtual if it
// can't be used.
func (v Virtual) normalized() (Virtual, error) {
	v.Profile.Name, v.Profile.Version = cmp.Or(v.Profile.Name, v.Callsign), cmp.Or(v.Profile.Version, "0.0.0")
	if len(bytes.TrimSpace(v.Configuration)) == 0 {
		v.Configuration = nil
	}
	if err := configs.CheckCallsign(v.Callsign); err != nil {
		return v, fmt.Errorf("%w: %w", ErrBadVirtual, err)
	}
	if len(v.Configuration) > maxVirtualConfiguration {
		return v, fmt.Errorf("%w: its configuration has %d bytes, at most %d are allowed", ErrBadVirtual, len(v.Configuration), maxVirtualConfiguration)
	}
	if _, err := v.table(); err != nil {
		return v, fmt.Errorf("%w: %w", ErrBadVirtual, err)
	}
	if err := v.Profile.Check(); err != nil {
		return v, fmt.Errorf("%w: its profile: %w", ErrBadVirtual, err)
	}
	profile, err := json.Marshal(v.Profile)
	if err != nil {
		return v, fmt.Errorf("%w: a schema in its profile is not JSON: %w", ErrBadVirtual, err)
	}
	if len(profile) > maxVirtualProfile {
		return v, fmt.Errorf("%w: its profile has %d bytes as JSON, at most %d are allowed", ErrBadVirtual, len(profile), maxVirtualProfile)
	}
	return v, nil
}

// table returns the members of the configuration. The error is ErrNotAnObject.
func (v Virtual) table() (map[string]any, error) {
	if v.Configuration == nil {
		return nil, nil
	}
	return decodeJSONObject(v.Configuration)
}

// equals reports whether two definitions of one virtual plugin are the same.
func (v Virtual) equals(other Virtual) bool {
	mine, _ := v.table()
	theirs, _ := other.table()
	return v.Parent == other.Parent && isSameJSON(v.Profile, other.Profile) && isSameJSON(mine, theirs)
}

// config returns the configuration of the instance.
func (v Virtual) config() configs.Plugin {
	config := configs.DefaultPlugin()
	config.Callsign, config.StartMode, config.Requires = v.Callsign, configs.StartActivated, []string{v.Parent}
	config.Configuration, _ = v.table()
	return config
}

// information returns the description of the instance. Version is what a version of three numbers
// has of it.
func (v Virtual) information() shell.Information {
	about := shell.Information{Class: v.Profile.Name, Description: v.Profile.Description, Profile: v.Profile}
	_, _ = fmt.Sscanf(v.Profile.Version, "%d.%d.%d", &about.Version.Major, &about.Version.Minor, &about.Version.Patch)
	return about
}

// CreateVirtual makes a virtual plugin of the parent, durably. It is active when CreateVirtual
// returns if the parent is, and exists until RemoveVirtual, or until it is destroyed; while there
// is no parent there is none. If there is an equal one already, CreateVirtual does nothing. The
// error may wrap ErrBadVirtual, ErrExists, ErrTooManyVirtuals, ErrNoParent, ErrUnknown or, once
// the host stops, shell.ErrUnavailable.
func (s *Supervisor) CreateVirtual(_ context.Context, parent string, v Virtual) error {
	v.Parent = parent
	v, err := v.normalized()
	if err == nil {
		err = s.createVirtual(v)
	}
	if err != nil {
		return fmt.Errorf("cannot create the virtual plugin %q: %w", v.Callsign, err)
	}
	return nil
}

// createVirtual is CreateVirtual for a definition that is valid.
func (s *Supervisor) createVirtual(v Virtual) error {
	done, err := s.waitAndBeginVirtualChange()
	if err != nil {
		return err
	}
	defer done()
	parent, err := s.parentOfVirtuals(v.Parent)
	if err != nil {
		return err
	}
	before, ok := s.virtuals.find(v.Callsign)
	isKept := ok && before.equals(v)
	switch {
	case isKept && s.ParentOf(v.Callsign) != "":
		return nil
	case isKept: // it was left out, because another instance had its callsign
		err = s.roster.takenError(v.Callsign)
	default:
		err = s.checkNewVirtual(v)
	}
	failpoint.Hit("virtual.creating")
	if err == nil && !isKept {
		err = s.virtuals.put(v)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("virtual.kept")
	s.attachVirtual(v, parent)
	failpoint.Hit("virtual.created")
	s.log.Info().Str("callsign", v.Callsign).Str("parent", v.Parent).Msg("a virtual plugin was created")
	return nil
}

// UpdateVirtual replaces profile and configuration of a virtual plugin of the parent, durably. The
// error wraps ErrUnknown if the parent has none of that callsign; see CreateVirtual for others.
func (s *Supervisor) UpdateVirtual(_ context.Context, parent string, v Virtual) error {
	v.Parent = parent
	v, err := v.normalized()
	if err == nil {
		err = s.updateVirtual(v)
	}
	if err != nil {
		return fmt.Errorf("cannot update the virtual plugin %q: %w", v.Callsign, err)
	}
	return nil
}

// updateVirtual is UpdateVirtual for a definition that is valid.
func (s *Supervisor) updateVirtual(v Virtual) error {
	done, err := s.waitAndBeginVirtualChange()
	if err != nil {
		return err
	}
	defer done()
	before, ok := s.virtuals.find(v.Callsign)
	if !ok || before.Parent != v.Parent {
		return fmt.Errorf("%w: %s has no such virtual plugin", ErrUnknown, v.Parent)
	}
	if before.equals(v) {
		return nil
	}
	if err := s.checkNameAndVersion(v); err != nil {
		return err
	}
	return s.changeVirtual(before, v)
}

// changeVirtual makes v of a virtual plugin that was before. The caller has begun a change of virtual
// plugins.
func (s *Supervisor) changeVirtual(before, v Virtual) error {
	if before.equals(v) {
		return nil
	}
	if err := s.virtuals.put(v); err != nil {
		return err
	}
	failpoint.Hit("virtual.changed")
	if sh, ok := s.Shell(v.Callsign); ok {
		sh.SetNextConfiguration(v.config().Configuration)
		sh.Describe(v.information())
		s.events.Roster(RosterChange{Callsign: v.Callsign, Parent: v.Parent, Kind: RosterChanged})
	}
	return nil
}

// RemoveVirtual removes a virtual plugin of the parent, durably, with all that is kept of it. Calls
// to it that run are still answered. It does nothing if there is none of that callsign. The error
// wraps ErrUnknown if it is not the parent's.
func (s *Supervisor) RemoveVirtual(_ context.Context, parent, callsign string) error {
	done, err := s.waitAndBeginVirtualChange()
	if err == nil {
		defer done()
		err = s.removeVirtual(parent, callsign)
	}
	if err != nil {
		return fmt.Errorf("cannot remove the virtual plugin %q: %w", callsign, err)
	}
	return nil
}

// removeVirtual is RemoveVirtual for a caller that has begun a change of virtual plugins. While it
// removes what is kept, the virtual plugin exists for nothing else; after an error it is there
// again.
func (s *Supervisor) removeVirtual(parent, callsign string) error {
	v, ok := s.virtuals.find(callsign)
	if !ok {
		return nil
	}
	if v.Parent != parent {
		return fmt.Errorf("%w: %s has no such virtual plugin", ErrUnknown, parent)
	}
	sh, exists := s.Shell(callsign)
	if exists {
		s.detachVirtual(v)
	}
	failpoint.Hit("virtual.removing")
	err := s.options.RemoveKept(callsign)
	failpoint.Hit("virtual.emptied")
	if err == nil {
		err = s.virtuals.delete(callsign)
	}
	failpoint.Hit("virtual.removed")
	if err != nil {
		if exists {
			s.reattachVirtual(v, sh)
		}
		return err
	}
	if exists {
		s.endVirtual(v, sh)
	}
	s.log.Info().Str("callsign", callsign).Str("parent", parent).Msg("a virtual plugin was removed")
	return nil
}

// destroyVirtual removes a virtual plugin for a client, if its parent does not refuse.
func (s *Supervisor) destroyVirtual(ctx context.Context, v Virtual) error {
	sh, ok := s.Shell(v.Callsign)
	if !ok {
		return s.UnknownError(v.Callsign)
	}
	if err := sh.AskParent(ctx, shell.Destroy, shell.Requested); err != nil {
		return err
	}
	done, err := s.waitAndBeginVirtualChange()
	if err != nil {
		return err
	}
	defer done()
	return s.removeVirtual(v.Parent, v.Callsign)
}

// VirtualsOf returns the virtual plugins of a parent, sorted by callsign; also those that are kept
// while there is no such parent.
func (s *Supervisor) VirtualsOf(parent string) []Virtual { return s.virtuals.of(parent) }

// VirtualOf returns the virtual plugin of that callsign, false if there is none now.
func (s *Supervisor) VirtualOf(callsign string) (Virtual, bool) {
	if s.ParentOf(callsign) == "" {
		return Virtual{}, false
	}
	return s.virtuals.find(callsign)
}

// ParentOf returns the parent of the virtual plugin of that callsign, empty for any other
// callsign. It does not block.
func (s *Supervisor) ParentOf(callsign string) string { return s.virtuals.parentOf(callsign) }

// parentOfVirtuals returns the instance that is to have a virtual plugin.
func (s *Supervisor) parentOfVirtuals(callsign string) (*shell.Shell, error) {
	sh, ok := s.Shell(callsign)
	switch {
	case !ok:
		return nil, s.UnknownError(callsign)
	case sh.IsVirtual():
		return nil, fmt.Errorf("%w: %s is itself one of %s", ErrNoParent, callsign, sh.Parent())
	case sh.IsBuiltIn():
		return nil, fmt.Errorf("%w: %s is part of the host", ErrNoParent, callsign)
	}
	return sh, nil
}

// checkNewVirtual returns why there can't be a virtual plugin of that definition.
func (s *Supervisor) checkNewVirtual(v Virtual) error {
	if other, ok := s.virtuals.findEqualFold(v.Callsign); ok {
		if other.Callsign == v.Callsign && other.Parent == v.Parent {
			return fmt.Errorf("%w: it is there already, with another definition; update it", ErrExists)
		}
		return fmt.Errorf("%w: %q is a virtual plugin of %s", ErrExists, other.Callsign, other.Parent)
	}
	if len(s.virtuals.of(v.Parent)) >= MaxVirtuals {
		return fmt.Errorf("%w: %s has %d; remove some", ErrTooManyVirtuals, v.Parent, MaxVirtuals)
	}
	if source, ok := findEqualFold(*s.definitions.sources.Load(), v.Callsign); ok {
		return fmt.Errorf("%w: %s names it", ErrExists, sourceText(source))
	}
	if err := s.checkNewCallsign(v.Callsign); err != nil {
		return err
	}
	return s.checkNameAndVersion(v)
}

// checkNameAndVersion returns ErrExists if another plugin has name and version of the definition:
// others know a plugin by both.
func (s *Supervisor) checkNameAndVersion(v Virtual) error {
	for _, other := range s.virtuals.allSorted() {
		if other.Callsign != v.Callsign && other.Profile.Name == v.Profile.Name && other.Profile.Version == v.Profile.Version {
			return fmt.Errorf("%w: %s has the name %q and the version %q", ErrExists, other.Callsign, v.Profile.Name, v.Profile.Version)
		}
	}
	for _, sh := range s.Shells() {
		if name, version := nameAndVersion(sh); !sh.IsVirtual() && name == v.Profile.Name && version == v.Profile.Version {
			return fmt.Errorf("%w: %s has the name %q and the version %q", ErrExists, sh.Callsign(), name, version)
		}
	}
	return nil
}

// nameAndVersion returns the name and the version by which others know an instance: those of its
// profile, or of its program.
func nameAndVersion(sh *shell.Shell) (name, version string) {
	about := sh.EffectiveInformation()
	return cmp.Or(about.Profile.Name, about.Class), cmp.Or(about.Profile.Version, fmt.Sprintf("%d.%d.%d", about.Version.Major, about.Version.Minor, about.Version.Patch))
}

// waitAndBeginVirtualChange waits until no virtual plugin is being made, changed or removed, and
// begins to do so; done ends the change. A change of the roster may be under way meanwhile: it may
// be one that waits for the plugin which asks for the change. The error wraps shell.ErrUnavailable
// once the host stops.
func (s *Supervisor) waitAndBeginVirtualChange() (done func(), err error) {
	s.virtuals.changing.Lock()
	if s.isStopping() {
		s.virtuals.changing.Unlock()
		return nil, fmt.Errorf("%w: the host is shutting down", shell.ErrUnavailable)
	}
	return s.virtuals.changing.Unlock, nil
}

// RemoveKept removes all that is kept of an instance that does not exist any more, and of its
// virtual plugins.
func (s *Supervisor) RemoveKept(callsign string) error {
	return errors.Join(s.removeKeptVirtualsOf(callsign), s.options.RemoveKept(callsign))
}

// removeKeptVirtualsOf removes what is kept of the virtual plugins of a parent that does not exist
// any more.
func (s *Supervisor) removeKeptVirtualsOf(parent string) (err error) {
	s.virtuals.changing.Lock()
	defer s.virtuals.changing.Unlock()
	for _, v := range s.virtuals.of(parent) {
		err = errors.Join(err, s.removeVirtual(parent, v.Callsign))
	}
	return err
}

// virtualCallsigns returns the callsigns of virtual plugins, joined, for logs.
func virtualCallsigns(all []Virtual) string {
	names := make([]string, 0, len(all))
	for _, v := range all {
		names = append(names, v.Callsign)
	}
	return strings.Join(names, ", ")
}

// sortedVirtuals returns the virtual plugins of a map, sorted by callsign.
func sortedVirtuals(all map[string]Virtual) []Virtual {
	sorted := make([]Virtual, 0, len(all))
	for _, callsign := range slices.Sorted(maps.Keys(all)) {
		sorted = append(sorted, all[callsign])
	}
	return sorted
}
