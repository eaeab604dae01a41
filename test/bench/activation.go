package main

import (
	"context"
	"errors"
	"os/exec"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// compareActivation activates and deactivates a plugin, in turn with go-plugin
// launching the same program and killing it.
func (s *stage) compareActivation(ctx context.Context, program string, runs int) (row, error) {
	config := s.counterConfig()
	config.Callsign, config.Executable = "Activated", program
	own := s.instanceOf(config)
	defer own.Close()
	var activations, launches series
	for run := range runs + 1 {
		var client *plugin.Client
		err := errors.Join(
			timed(&activations, func() error { return own.Activate(ctx, shell.Requested) }),
			own.Deactivate(ctx, shell.Requested),
			timed(&launches, func() (err error) {
				client, err = launch(program)
				return err
			}),
		)
		client.Kill()
		if err != nil {
			return row{}, err
		}
		if run == 0 {
			activations, launches = nil, nil // warm-up
		}
	}
	return row{what: "activate", own: activations, yardstick: "go-plugin launch", plain: launches, aim: 1.5}, nil
}

// launch is what a program that uses go-plugin as it comes does.
func launch(program string) (*plugin.Client, error) {
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: shellpb.ProtocolVersion, MagicCookieKey: shellpb.CookieKey, MagicCookieValue: shellpb.CookieValue,
		},
		Plugins:          plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		Cmd:              exec.Command(program),
		Logger:           hclog.NewNullLogger(),
	})
	protocol, err := client.Client()
	if err == nil {
		err = protocol.Ping()
	}
	return client, err
}
