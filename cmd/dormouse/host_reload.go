package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"

	"dormouse/configs"
)

// logAwaited logs what waits for an instance of a package that may not exist yet.
func logAwaited(log zerolog.Logger, config configs.Config) {
	for _, awaited := range config.Awaited {
		log.Warn().Msg(awaited.Error())
	}
}

// reloadConfigAndLog reads the configuration again, applies it to the plugins, logs the
// outcome, and returns a line for each difference. After an error nothing is changed.
func (h *hostServer) reloadConfigAndLog(ctx context.Context) (changes []string, err error) {
	h.reloading.Lock()
	defer h.reloading.Unlock()
	defer func() {
		if err != nil {
			h.log.Error().Msg(err.Error())
		} else {
			h.log.Info().Strs("changes", changes).Msg("reloaded")
		}
	}()
	config, err := h.load()
	if err != nil {
		return nil, fmt.Errorf("cannot reload: the configuration stays as it was\n%w", err)
	}
	logAwaited(h.log, config)
	useCertificates, err := h.readCertificatesAgain()
	if err != nil {
		return nil, fmt.Errorf("cannot reload: the configuration stays as it was: %w", err)
	}
	changes, err = h.host.Supervisor.Reload(ctx, config.Plugins)
	if err != nil {
		return nil, fmt.Errorf("%w; the configuration stays as it was", err)
	}
	packageChanges, err := h.host.ReloadPackages(ctx, config)
	if err != nil {
		return nil, err
	}
	changes = append(changes, packageChanges...)
	if h.host.ReplaceAccessRules(config) {
		changes = append([]string{"access: adjusted, the rules differ"}, changes...)
	}
	if h.host.ReplaceWebhookTargets(config) {
		changes = append([]string{"webhooks: adjusted, allow differs"}, changes...)
	}
	if h.host.ReplaceStateQuotas(config) {
		changes = append([]string{"state: adjusted, the quotas differ"}, changes...)
	}
	if useCertificates() {
		changes = append([]string{"tls: adjusted, certificates differ"}, changes...)
	}
	return append(hostChangesForNextStart(h.config, config), changes...), nil
}

// readCertificatesAgain reads the files for TLS again. They count once use is called, for
// connections that come after; use reports whether any differs.
func (h *hostServer) readCertificatesAgain() (use func() (differ bool), err error) {
	var uses []func() bool
	var errs []error
	for _, l := range h.listeners {
		if l.tls != nil {
			use, err := l.tls.readAgain()
			uses, errs = append(uses, use), append(errs, err)
		}
	}
	return func() (differ bool) {
		for _, use := range uses {
			differ = use() || differ
		}
		return differ
	}, errors.Join(errs...)
}

// hostChangesForNextStart returns a line for each key of the host itself that has changed
// since the start. Such a change takes effect only at the next start.
func hostChangesForNextStart(started, now configs.Config) (lines []string) {
	for _, section := range []struct {
		name   string
		before any
		after  any
	}{
		{"host", started.Host, now.Host},
		{"flows", started.Flows, now.Flows},
		{"qhana", started.QHAna, now.QHAna},
		{"tasks", started.Tasks, now.Tasks},
		{"hibernate", started.Hibernate, now.Hibernate},
		{"host", listenerKey{started.Listeners}, listenerKey{now.Listeners}},
	} {
		before, after := reflect.ValueOf(section.before), reflect.ValueOf(section.after)
		for _, field := range reflect.VisibleFields(before.Type()) {
			key := field.Tag.Get("toml")    // empty for embedded keys, whose fields are visited too
			if key == "" || key == "open" { // a reload applies open
				continue
			}
			if !reflect.DeepEqual(before.FieldByIndex(field.Index).Interface(), after.FieldByIndex(field.Index).Interface()) {
				lines = append(lines, fmt.Sprintf("%s: %s differs, takes effect with the next start", section.name, key))
			}
		}
	}
	return lines
}

// listenerKey is a section whose only key is "listener", so that hostChangesForNextStart
// compares the listeners as it does the keys of the other sections.
type listenerKey struct {
	All []configs.Listener `toml:"listener"`
}

// reloadOnHangups reloads at each SIGHUP, once the host has started, until ctx ends. It
// tells systemd when a reload begins and ends.
func (h *hostServer) reloadOnHangups(ctx context.Context, hangups <-chan os.Signal, started <-chan struct{}) {
	select {
	case <-started:
	case <-ctx.Done():
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangups:
		}
		notifySystemd(systemdReloadingState())
		_, _ = h.reloadConfigAndLog(ctx) // it logs the outcome
		notifySystemd(daemon.SdNotifyReady + h.statusForSystemd())
	}
}
