package controller

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"strconv"
	"strings"
	"syscall"

	"dormouse/configs"
)

// builtinPage is the web page of the host where no other page is installed: one document,
// so that its policy names one script and one style.
var builtinPage = joinedPage()

// pageFiles are the parts of the built-in page.
//
//go:embed page
var pageFiles embed.FS

// joinedPage returns the built-in page with its style and its scripts inside.
func joinedPage() string {
	scripts := pageFile("instances.js") + pageFile("packages.js") + pageFile("flows.js")
	page := strings.Replace(pageFile("page.html"), "<style>", "<style>\n"+pageFile("style.css"), 1)
	return strings.Replace(page, "<script>", "<script>\n"+scripts, 1)
}

// pageFile returns a part of the built-in page.
func pageFile(name string) string {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // the name is not one of the embedded files
	}
	return string(text)
}

// redirectToConfiguredPage redirects / to the page that the configuration of the host names.
func (f *Front) redirectToConfiguredPage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache") // else browsers keep it for ever
	http.Redirect(w, r, f.options.Host.Redirect, http.StatusMovedPermanently)
}

// serveWebUI serves a file of an instance's web page while the instance is active.
// Without a directory for its page, the host serves the built-in one.
func (f *Front) serveWebUI(w http.ResponseWriter, r *http.Request, callsign, fileName string) {
	if why := f.errorIfNotServing(callsign); why != nil {
		f.respondREST(w, why.Response())
		return
	}
	if fileName == "" && !strings.HasSuffix(r.URL.Path, "/") {
		// The page's relative links mean files below UI/.
		http.Redirect(w, r, (&url.URL{Path: "UI/", RawQuery: r.URL.RawQuery}).String(), http.StatusMovedPermanently)
		return
	}
	if fileName == "" || strings.HasSuffix(fileName, "/") || strings.HasSuffix(fileName, ".html") {
		f.noteDialectOfPage(w, r, callsign)
	}
	root, err := os.OpenRoot(f.uiDirOrEmpty(callsign))
	switch {
	case err == nil:
		defer func() { _ = root.Close() }()
		f.serveFile(w, r, root, fileName)
	case callsign == configs.ControllerCallsign && errors.Is(err, fs.ErrNotExist) && (fileName == "" || fileName == "index.html"):
		f.serveBuiltinPage(w)
	default:
		http.NotFound(w, r)
	}
}

// uiDirOrEmpty returns the directory of an instance's web page, which need not exist;
// empty if none is configured.
func (f *Front) uiDirOrEmpty(callsign string) string {
	if callsign == configs.ControllerCallsign {
		return f.options.Host.UIDir()
	}
	var config configs.Plugin
	if sh, ok := f.supervisor.Shell(callsign); ok {
		config = sh.Config()
	}
	return config.WebUI
}

// framePolicy is a Content-Security-Policy that lets the host's own pages alone show a page in
// a frame.
const framePolicy = "frame-ancestors 'self'"

// serveFile serves one file below root. Neither fileName nor a link can lead out of
// root. A directory is served as its index.html, never listed.
func (f *Front) serveFile(w http.ResponseWriter, r *http.Request, root *os.Root, fileName string) {
	if fileName == "" || strings.HasSuffix(fileName, "/") {
		fileName += "index.html"
	}
	// Without O_NONBLOCK, opening a named pipe would wait for its writer.
	file, err := root.OpenFile(path.Clean(fileName), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("ETag", `"`+strconv.FormatInt(info.ModTime().UnixNano(), 36)+"-"+strconv.FormatInt(info.Size(), 36)+`"`)
	h.Set("Cache-Control", "no-cache") // browsers revalidate by the ETag
	h.Set("Content-Security-Policy", framePolicy)
	defer f.startWriteDeadline(w)()
	http.ServeContent(w, r, info.Name(), info.ModTime(), file)
}

// serveBuiltinPage serves the built-in page of the host.
func (f *Front) serveBuiltinPage(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Security-Policy", builtinPagePolicy())
	f.respond(w, http.StatusOK, "text/html; charset=utf-8", []byte(builtinPage))
}

// builtinPagePolicy returns a Content-Security-Policy with which the page can run
// its own script and style and call this host, and nothing else.
func builtinPagePolicy() string {
	return "default-src 'none'; script-src " + inlineElementHash("script") + "; style-src " + inlineElementHash("style") +
		"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// inlineElementHash returns the hash, as a Content-Security-Policy names it, of the built-in
// page's only element of that name: script or style.
func inlineElementHash(element string) string {
	_, rest, _ := strings.Cut(builtinPage, "<"+element+">")
	inline, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(inline))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
