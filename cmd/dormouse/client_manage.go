package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
)

func cloneVerb(flags *flag.FlagSet) action {
	c := addClientFlags(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		_, err := c.call(ctx, "Controller.clone", map[string]string{"callsign": args[0], "newcallsign": args[1]})
		if err != nil {
			return fmt.Errorf("cannot clone %s: %w", args[0], c.addAdvice(ctx, "clone", args[0], err))
		}
		t.printf("%s is there, start it with: dormouse plugin activate %s\n", args[1], args[1])
		return nil
	}
}

func destroyVerb(flags *flag.FlagSet) action {
	c := addClientFlags(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		for _, name := range args {
			if _, err := c.call(ctx, "Controller.destroy", map[string]string{"callsign": name}); err != nil {
				return fmt.Errorf("cannot destroy %s: %w", name, c.addAdvice(ctx, "destroy", name, err))
			}
			if _, err := c.getInstance(ctx, name); err == nil {
				return fmt.Errorf("cannot destroy %s: it is no clone; take it out of the configuration and run: dormouse reload", name)
			}
			t.printf("%s is gone\n", name)
		}
		return nil
	}
}

func configureVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	keep := flags.Bool("keep", false, "keep it across restarts of the host")
	forget := flags.Bool("forget", false, "go back to what the configuration file says")
	return func(ctx context.Context, t *terminal, args []string) error {
		name := args[0]
		callsign := map[string]string{"callsign": name}
		switch {
		case *forget && len(args) > 1:
			return &usageError{err: fmt.Errorf("--forget takes no new configuration")}
		case *forget:
			if _, err := c.call(ctx, "Controller.restore", callsign); err != nil {
				return fmt.Errorf("cannot configure %s: %w", name, c.addAdvice(ctx, "configure", name, err))
			}
		case len(args) > 1:
			raw, err := readJSONArgument(t.in, args[1])
			if err != nil {
				return err
			}
			if _, err := c.call(ctx, "Controller.configuration@"+name, raw); err != nil {
				return fmt.Errorf("cannot configure %s: %w", name, c.addAdvice(ctx, "configure", name, err))
			}
		}
		if *keep {
			if _, err := c.call(ctx, "Controller.persist", callsign); err != nil {
				return fmt.Errorf("cannot keep the configuration of %s: %w", name, err)
			}
		}
		now, err := c.call(ctx, "Controller.configuration@"+name, nil)
		if err != nil {
			return fmt.Errorf("cannot read the configuration of %s: %w", name, c.addAdvice(ctx, "configure", name, err))
		}
		if t.outIsTerminal || format.isJSON() {
			return t.printJSON(now)
		}
		t.printf("%s\n", now)
		return nil
	}
}

func subsystemsVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.subsystems", nil)
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printJSON(result)
		}
		var all []struct {
			Subsystem string `json:"subsystem"`
			Active    bool   `json:"active"`
		}
		if err := json.Unmarshal(result, &all); err != nil {
			return fmt.Errorf("cannot understand the host's subsystems: %w", err)
		}
		rows := table{}
		rows.add("SUBSYSTEM", "STATE")
		for _, s := range all {
			state := "down"
			if s.Active {
				state = "up"
			}
			rows.add(s.Subsystem, state)
		}
		t.printf("%s", rows.text(t.width))
		return nil
	}
}

func reloadVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.reload", nil)
		if err != nil {
			return fmt.Errorf("cannot reload: %w", err)
		}
		if format.isJSON() {
			return t.printJSON(result)
		}
		var changes []string
		if err := json.Unmarshal(result, &changes); err != nil {
			return fmt.Errorf("cannot understand what the host changed: %w", err)
		}
		for _, change := range changes {
			t.printf("%s\n", change)
		}
		if len(changes) == 0 {
			t.printf("nothing differs\n")
		}
		return nil
	}
}
