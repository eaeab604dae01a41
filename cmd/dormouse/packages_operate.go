package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dormouse/configs"
)

// packageOperation is a verb of the client that changes a package.
type packageOperation struct {
	name string
	// takesSource reports whether the argument may be a path or an address.
	takesSource bool
	// flags are the verb's own flags, with what they mean.
	flags [][2]string
	// stopsWaiting reports whether the verb ends an operation instead of beginning one, so that
	// there is nothing to wait for.
	stopsWaiting bool
}

var (
	replaceFlag   = [2]string{"replace", "take other bytes for a version that is installed"}
	downgradeFlag = [2]string{"downgrade", "take a lower version than the one that is installed"}
	grantFlag     = [2]string{"grant", "grant what the new version asks for beyond the installed one"}

	installingPackage   = packageOperation{name: "install", takesSource: true, flags: [][2]string{replaceFlag, downgradeFlag, grantFlag}}
	upgradingPackage    = packageOperation{name: "upgrade", takesSource: true, flags: [][2]string{replaceFlag, downgradeFlag, grantFlag}}
	rollingPackageBack  = packageOperation{name: "rollback"}
	retryingPackage     = packageOperation{name: "retry", flags: [][2]string{replaceFlag, downgradeFlag, grantFlag}}
	enablingPackage     = packageOperation{name: "enable"}
	disablingPackage    = packageOperation{name: "disable"}
	cancellingPackage   = packageOperation{name: "cancel", stopsWaiting: true}
	uninstallingPackage = packageOperation{name: "uninstall", flags: [][2]string{
		{"drain", "first wait until its flows hold no message"},
		{"discard", "throw away the messages that its flows hold"},
		{"force", "also if other packages need it or its flows hold messages"},
		{"purge", "remove what its plugins have stored, too"},
	}}
)

// packageVerb returns the function that declares the flags of the verb for the operation o, and
// returns its action.
func packageVerb(o packageOperation) func(*flag.FlagSet) action {
	return func(flags *flag.FlagSet) action {
		c, format := addHostFlag(flags), addFormatFlag(flags)
		wait, version := new(bool), new(string)
		if !o.stopsWaiting {
			flags.BoolVar(wait, "wait", false, "return when it is done, and fail if it fails")
		}
		if o.takesSource {
			flags.StringVar(version, "version", "", "of a package that is named, take this `VERSION` instead of the newest")
		}
		given := make(map[string]*bool)
		for _, f := range o.flags {
			given[f[0]] = flags.Bool(f[0], false, f[1])
		}
		return func(ctx context.Context, t *terminal, names []string) error {
			options := make(map[string]any)
			for name, is := range given {
				if *is {
					options[name] = true
				}
			}
			if *version != "" {
				options["version"] = *version
			}
			return c.operateOnPackages(ctx, t, o, names, options, *wait, format)
		}
	}
}

// packageOutcome is what came of an operation on one package, as JSON.
type packageOutcome struct {
	Package   string      `json:"package"`
	Operation string      `json:"operation,omitempty"`
	Error     string      `json:"error,omitempty"`
	End       *packageEnd `json:"end,omitempty"`
}

// operateOnPackages carries out an operation on one package after the other and prints what came
// of it. It goes on after one has failed, and then returns errReported.
func (c *client) operateOnPackages(ctx context.Context, t *terminal, o packageOperation, names []string, options map[string]any, wait bool, format *outputFormat) error {
	var outcomes []packageOutcome
	var failed error
	for _, name := range names {
		outcome, err := c.operateOnPackage(ctx, t, o, name, options, wait)
		switch {
		case errors.Is(err, errUnreachable):
			return err
		case err != nil:
			failed = errReported
			err = fmt.Errorf("cannot %s %s: %w", o.name, name, err)
			t.printErrf("dormouse: %v\n", err)
			outcome.Error = err.Error()
		case format.isJSON():
		case outcome.End != nil:
			t.printf("%s\n", outcome.End.text())
			c.warnOfUnmetUsesOfPackage(ctx, t, outcome.Package)
		default:
			t.printf("%s\n", o.begunText(outcome.Package))
		}
		outcomes = append(outcomes, outcome)
		if ctx.Err() != nil {
			break
		}
	}
	if format.isJSON() {
		return errors.Join(t.printIndentedJSON(outcomes), failed)
	}
	return failed
}

// begunText says that an operation has begun, and how to see its end.
func (o packageOperation) begunText(name string) string {
	if o.stopsWaiting {
		return name + ": " + o.name + " asked for"
	}
	return fmt.Sprintf("%s: %s has begun; its end: dormouse plugin history, or --wait next time", name, o.name)
}

// operateOnPackage begins an operation on one package, and with wait returns when it has ended.
func (c *client) operateOnPackage(ctx context.Context, t *terminal, o packageOperation, name string, options map[string]any, wait bool) (packageOutcome, error) {
	outcome := packageOutcome{Package: name, Operation: rand.Text()}
	if o.stopsWaiting {
		outcome.Operation = ""
		return outcome, c.beginOnPackage(ctx, o, name, options, "")
	}
	if !wait {
		return outcome, c.beginOnPackage(ctx, o, name, options, outcome.Operation)
	}
	follower, err := c.followPackage(ctx, t, outcome.Operation)
	if err != nil {
		return outcome, err
	}
	defer follower.close()
	if err := c.beginOnPackage(ctx, o, name, options, outcome.Operation); err != nil {
		return outcome, err
	}
	end, err := follower.wait(ctx)
	if err != nil {
		return outcome, err
	}
	outcome.Package, outcome.End = end.Package, &end
	if end.Result != "done" {
		return outcome, c.packageFailure(ctx, end)
	}
	return outcome, nil
}

// packageFailure returns the error for an operation that has ended badly, with the last lines of
// the plugin's log, and what the operator can do now.
func (c *client) packageFailure(ctx context.Context, end packageEnd) error {
	text := end.Result
	if end.Reason != "" {
		text += ": " + end.Reason
	}
	now, err := c.getPackage(ctx, end.Package)
	if err != nil {
		return errors.New(text)
	}
	if f := now.Failure; f != nil && len(f.Log) > 0 {
		text += "\n  its log ends with:\n    " + strings.Join(f.Log, "\n    ")
	}
	text += fmt.Sprintf("\n  %s is %s", now.Name, now.statusText())
	if len(now.Verbs) > 0 {
		text += "; you can: " + strings.Join(now.Verbs, ", ")
	}
	return errors.New(text)
}

// beginOnPackage asks the host to begin an operation. An archive or directory of this machine is
// named by its path to a host on this machine, and sent to any other.
func (c *client) beginOnPackage(ctx context.Context, o packageOperation, name string, options map[string]any, id string) error {
	params := map[string]any{"package": name}
	maps.Copy(params, options)
	if id != "" {
		params["operation"] = id
	}
	if path, is := pathOfSource(name); o.takesSource && is {
		if !c.isLocal() {
			return c.upload(ctx, path, params)
		}
		params["package"] = path
	}
	_, err := c.call(ctx, "Packager."+o.name, params)
	return err
}

// pathOfSource returns the absolute path of what is meant as a file of this machine: what has a
// slash, or is named as an archive. Any other word is the name of a package.
func pathOfSource(source string) (path string, is bool) {
	isArchive := slices.ContainsFunc([]string{".tar.zst", ".tar.gz", ".tgz"}, func(suffix string) bool { return strings.HasSuffix(source, suffix) })
	if strings.Contains(source, "://") || !isArchive && !strings.ContainsRune(source, filepath.Separator) {
		return "", false
	}
	path, err := filepath.Abs(source)
	return path, err == nil
}

// isLocal reports whether the host runs on this machine.
func (c *client) isLocal() bool {
	for _, address := range c.addresses {
		host := strings.TrimPrefix(address, tlsPrefix)
		if i := strings.LastIndexByte(host, ':'); i >= 0 {
			host = strings.Trim(host[:i], "[]")
		}
		if !strings.HasPrefix(address, unixPrefix) && !configs.IsLoopback(host) {
			return false
		}
	}
	return true
}

// upload sends an archive to the host, which installs it.
func (c *client) upload(ctx context.Context, path string, params map[string]any) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no archive; only an archive can be sent to another machine: dormouse package build %s", path, path)
	}
	query := make(url.Values)
	for key, value := range params {
		if key != "package" {
			query.Set(key, fmt.Sprint(value))
		}
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.urlOf("http", "/Service/Packager/packages?"+query.Encode()), file)
	if err != nil {
		return err
	}
	post.ContentLength = info.Size()
	post.Header = c.header()
	post.Header.Set("Content-Type", "application/octet-stream")
	response, err := c.http.Do(post)
	if err != nil {
		return c.noAnswerError(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return c.noAnswerError(ctx, err)
	}
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("the host at %s answers %s: %s", c, response.Status, strings.TrimSpace(string(text)))
	}
	return nil
}

// packageHistoryVerb returns the action that lists the operations on packages that have ended.
func packageHistoryVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		name := ""
		if len(args) > 0 {
			name = args[0]
		}
		all, err := c.packageHistory(ctx, name)
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printIndentedJSON(all)
		}
		if len(all) == 0 {
			t.printf("no operation on a package has ended yet\n")
			return nil
		}
		rows := table{}
		rows.addRow("ENDED", "PACKAGE", "OPERATION", "FROM", "TO", "RESULT", "TOOK", "REASON")
		for _, e := range all {
			rows.addRow(e.Ended.Local().Format("2006-01-02 15:04:05"), e.Package, e.Verb, textOrDash(e.From), textOrDash(e.To), e.Result, formatSeconds(e.Ended.Sub(e.Begun)), errorCell(e.Reason))
		}
		t.printf("%s", rows.alignedText(t.width))
		return nil
	}
}

// packageListVerb returns the action that lists the packages.
func packageListVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		all, err := c.listPackages(ctx)
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printIndentedJSON(all)
		}
		if len(all) == 0 {
			t.printf("no package is installed; dormouse plugin install FILE installs one\n")
			return nil
		}
		t.printf("%s", packagesTable(all, t.width))
		return nil
	}
}

// packageBrowseVerb returns the action that lists what the catalogue offers.
func packageBrowseVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	again := flags.Bool("again", false, "have the host read the catalogue again first")
	return func(ctx context.Context, t *terminal, _ []string) error {
		if *again {
			if _, err := c.call(ctx, "Packager.synchronize", nil); err != nil {
				return fmt.Errorf("cannot have the catalogue read again: %w", err)
			}
		}
		answer, err := c.call(ctx, "Packager.browse", nil)
		if err != nil {
			return fmt.Errorf("cannot browse the catalogue: %w", err)
		}
		type offer struct {
			Name        string   `json:"name"`
			Versions    []string `json:"versions"`
			Description string   `json:"description"`
		}
		return printJSONOrText(t, format, "catalogue", answer, func(all []offer) string {
			rows := table{}
			rows.addRow("PACKAGE", "VERSIONS", "DESCRIPTION")
			for _, o := range all {
				rows.addRow(o.Name, strings.Join(o.Versions, " "), o.Description)
			}
			return rows.alignedText(t.width)
		})
	}
}

// packageTrashVerb returns the action that lists what lies in the trash.
func packageTrashVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		answer, err := c.call(ctx, "Packager.trash", nil)
		if err != nil {
			return fmt.Errorf("cannot look into the trash: %w", err)
		}
		type trashed struct{ ID, Label, At string }
		return printJSONOrText(t, format, "trash", answer, func(all []trashed) string {
			if len(all) == 0 {
				return "the trash is empty\n"
			}
			rows := table{}
			rows.addRow("ID", "WHAT", "SINCE")
			for _, one := range all {
				rows.addRow(one.ID, one.Label, formatTimeAndAge(one.At))
			}
			return rows.alignedText(t.width)
		})
	}
}

// packageRestoreVerb returns the action that installs a package from the trash again.
func packageRestoreVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		all, err := c.call(ctx, "Packager.trash", nil)
		if err != nil {
			return fmt.Errorf("cannot look into the trash: %w", err)
		}
		params := map[string]string{"package": args[0]}
		var lying []struct{ ID string }
		_ = json.Unmarshal(all, &lying) // the host refuses what is not there
		for _, one := range lying {
			if one.ID == args[0] {
				params = map[string]string{"id": args[0]}
			}
		}
		if _, err := c.call(ctx, "Packager.restore", params); err != nil {
			return fmt.Errorf("cannot restore %s: %w", args[0], err)
		}
		t.printf("%s: its installation from the trash has begun; its end: dormouse plugin history\n", args[0])
		return nil
	}
}

// packageSyncVerb returns the action that brings database and file system into agreement.
func packageSyncVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	dryRun := flags.Bool("dry-run", false, "only say what would be done")
	really := flags.Bool("really", false, "delete also if the source looks lost: only if you know that it is whole")
	return func(ctx context.Context, t *terminal, _ []string) error {
		if *dryRun && *really {
			return &usageError{err: errors.New("it takes either --dry-run or --really")}
		}
		answer, err := c.call(ctx, "Packager.sync", map[string]bool{"dryrun": *dryRun, "really": *really})
		if err != nil {
			return fmt.Errorf("cannot synchronize: %w", err)
		}
		return printJSONOrText(t, format, "synchronization", answer, func(lines []string) string {
			if len(lines) == 0 {
				return "database and file system agree\n"
			}
			return strings.Join(lines, "\n") + "\n"
		})
	}
}
