// Package docs compares what the documentation names with what the tree holds:
// files, functions, packages and decisions.
package docs

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the numbers of files into docs/architecture.md")

// root is the top of the tree, as seen from this package.
const root = "../.."

// pages returns the Markdown files of the project by their path below root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/decisions/*.md"} {
		paths, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			name, err := filepath.Rel(root, path)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	return all
}

// topFolders begin a path that is one of the tree's, and not of a machine where
// Dormouse runs.
var topFolders = []string{"cmd", "supervisor", "shell", "statecontrol", "hibernate", "configs", "plugins", "internal", "test", "docs", ".ci"}

var (
	codeSpan = regexp.MustCompile("`([^`\n]+)`")
	link     = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	braces   = regexp.MustCompile(`^(.*)\{([^{}]*)\}(.*)$`)
)

// mentioned returns the paths that a code span names, none if it is no path of
// this tree. A span such as `shell/{step,lane}.go` names several.
func mentioned(span string) []string {
	first, _, nested := strings.Cut(span, "/")
	if !nested || !slices.Contains(topFolders, first) || strings.ContainsAny(span, " <>…$") {
		return nil
	}
	if m := braces.FindStringSubmatch(span); m != nil {
		var paths []string
		for word := range strings.SplitSeq(m[2], ",") {
			paths = append(paths, m[1]+strings.TrimSpace(word)+m[3])
		}
		return paths
	}
	return []string{span}
}

// exists reports whether the tree holds the path, which may be a pattern.
func exists(path string) bool {
	found, err := filepath.Glob(filepath.Join(root, path))
	return err == nil && len(found) > 0
}

// TestFiles finds every path of the tree that a page names, in a code span or as
// the target of a link.
func TestFiles(t *testing.T) {
	for page, text := range pages(t) {
		for _, span := range codeSpan.FindAllStringSubmatch(text, -1) {
			for _, path := range mentioned(span[1]) {
				if !exists(path) && !existsAsSymbol(path) {
					t.Errorf("%s names %s, which does not exist", page, path)
				}
			}
		}
		for _, target := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(target[1], "://") {
				continue
			}
			if path := filepath.Join(filepath.Dir(page), target[1]); !exists(path) {
				t.Errorf("%s links to %s, which does not exist", page, path)
			}
		}
	}
}

// existsAsSymbol reports whether the path is a package and an identifier in it,
// such as plugins/sdk.Serve.
func existsAsSymbol(path string) bool {
	dot := strings.LastIndex(path, ".")
	if dot < 0 || !exists(path[:dot]) {
		return false
	}
	files, _ := filepath.Glob(filepath.Join(root, path[:dot], "*.go"))
	name := regexp.MustCompile(`(?m)^(func (\([^)]*\) )?|type |var |const |\t)` + regexp.QuoteMeta(path[dot+1:]) + `\b`)
	return slices.ContainsFunc(files, func(file string) bool {
		text, err := os.ReadFile(file)
		return err == nil && name.Match(text)
	})
}

// TestStory finds each function of the stories in docs/architecture.md in the
// file that the page names for it.
func TestStory(t *testing.T) {
	text := pages(t)["docs/architecture.md"]
	step := regexp.MustCompile("(?m)^[0-9]+\\. `([^`]+\\.go)`, `(?:([A-Za-z]+)\\.)?([A-Za-z]+)`")
	steps := step.FindAllStringSubmatch(text, -1)
	if len(steps) < 10 {
		t.Fatalf("the story has %d functions, expected are ten or more", len(steps))
	}
	for _, s := range steps {
		code, err := os.ReadFile(filepath.Join(root, s[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		receiver := `(\([^)]*\) )?`
		if s[2] != "" {
			receiver = `\(\w+ \*?` + s[2] + `\) `
		}
		if !regexp.MustCompile(`(?m)^func ` + receiver + s[3] + `[(\[]`).Match(code) {
			t.Errorf("%s has no function %s", s[1], s[3])
		}
	}
}

// packages returns every production package and how many files it has; tests and
// generated files do not count.
func packages(t *testing.T) map[string]int {
	t.Helper()
	found := make(map[string]int)
	for _, top := range topFolders {
		if top == "test" || top == "docs" || top == ".ci" {
			continue
		}
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "examples") {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, ".pb.go") {
				return nil
			}
			dir, err := filepath.Rel(root, filepath.Dir(path))
			found[dir]++
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// TestPackages compares the table of packages in docs/architecture.md with the
// tree: each package has one row, and the row says how many files it has.
func TestPackages(t *testing.T) {
	path := filepath.Join(root, "docs/architecture.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9/]+)` \\|(.*)\\| ([0-9]+) \\|$")
	want := packages(t)
	seen := make(map[string]bool)
	written := row.ReplaceAllFunc(text, func(line []byte) []byte {
		m := row.FindSubmatch(line)
		name := string(m[1])
		count, known := want[name]
		if !known {
			t.Errorf("docs/architecture.md has a row for %s, which is not a package", name)
			return line
		}
		if seen[name] {
			t.Errorf("docs/architecture.md has two rows for %s", name)
		}
		seen[name] = true
		return fmt.Appendf(nil, "| `%s` |%s| %d |", name, m[2], count)
	})
	for name := range want {
		if !seen[name] {
			t.Errorf("docs/architecture.md has no row for the package %s", name)
		}
	}
	switch {
	case bytes.Equal(written, text):
	case *update:
		if err := os.WriteFile(path, written, 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Error("the numbers of files in docs/architecture.md are old: run go test ./test/docs -update")
	}
}

// TestDecisions finds each decision in the index, and each number that is
// missing explained there.
func TestDecisions(t *testing.T) {
	index, err := os.ReadFile(filepath.Join(root, "docs/decisions/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(root, "docs/decisions/0*.md"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no decisions found: %v", err)
	}
	numbers := make(map[int]bool)
	for _, path := range paths {
		name := filepath.Base(path)
		number, err := strconv.Atoi(name[:4])
		if err != nil {
			t.Errorf("%s does not begin with a number", name)
			continue
		}
		numbers[number] = true
		if !strings.Contains(string(index), "]("+name+")") {
			t.Errorf("docs/decisions/README.md does not name %s", name)
		}
	}
	for number := 1; number <= len(paths); number++ {
		if !numbers[number] && !strings.Contains(string(index), fmt.Sprintf("\n| %d |", number)) {
			t.Errorf("docs/decisions/README.md does not say why there is no number %d", number)
		}
	}
}

// TestNamedTests finds every test that a page names in a code span, and at least one test in
// each row of the threats in docs/security.md.
func TestNamedTests(t *testing.T) {
	known := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(code, -1) {
			known[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test[A-Z]\\w*)`")
	for page, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s names the test %s, which does not exist", page, m[1])
			}
		}
	}
	_, threats, found := strings.Cut(pages(t)["docs/security.md"], "| attacker | attempt | what stops it | test |\n| --- | --- | --- | --- |\n")
	rows := 0
	for row := range strings.Lines(threats) {
		if !strings.HasPrefix(row, "|") {
			break
		}
		rows++
		if !named.MatchString(row) {
			t.Errorf("docs/security.md names no test for %s", row)
		}
	}
	if !found || rows < 10 {
		t.Errorf("docs/security.md has %d threats", rows)
	}
}
