package flows

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Headers of a message that is published over HTTP, and of the answer.
const (
	idHeader       = "Message-Id"
	metadataHeader = "Metadata"     // a JSON object of texts
	seenHeader     = "Message-Seen" // "true" in the answer if the id was seen before
)

// Endpoint answers POST of a message to the path with the name of a flow.
func (b *backend) Endpoint(httpMethod, path string) (shell.Endpoint, bool) {
	if httpMethod != http.MethodPost || configs.CheckFlowName(path) != nil {
		return shell.Endpoint{}, false
	}
	publish := func(w http.ResponseWriter, r *http.Request) { b.servePost(w, r, path) }
	return shell.Endpoint{Handler: http.HandlerFunc(publish), Needs: "publish", MaxBody: shellpb.MaxFlowBody}, true
}

// servePost publishes the body of a request to the flow: 202 with the id of the message as text,
// or the status of the error with its text.
func (f *Flows) servePost(w http.ResponseWriter, r *http.Request, flow string) {
	m, err := messageFromRequest(r)
	if err != nil {
		respondError(w, err)
		return
	}
	receipt, err := f.Publish(r.Context(), "", flow, m)
	if err != nil {
		respondError(w, err)
		return
	}
	w.Header().Set(idHeader, receipt.ID)
	if receipt.Seen {
		w.Header().Set(seenHeader, "true")
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, receipt.ID+"\n")
}

// respondError answers with the status and the text of the error, and with when to try again.
func respondError(w http.ResponseWriter, err error) {
	answers.To(err).WriteHTTP(w, err)
}

// messageFromRequest returns the message in a request, or an ErrInvalid or ErrTooLarge.
func messageFromRequest(r *http.Request) (*shellpb.Message, error) {
	m := &shellpb.Message{Id: r.Header.Get(idHeader), ContentType: r.Header.Get("Content-Type")}
	if text := strings.TrimSpace(r.Header.Get(metadataHeader)); text != "" {
		if err := json.Unmarshal([]byte(text), &m.Metadata); err != nil {
			return nil, fmt.Errorf("%w: the header %s is not a JSON object of strings: %w", ErrInvalid, metadataHeader, jsonrpc.DecodeError(err))
		}
	}
	body, err := io.ReadAll(r.Body)
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("%w: its body has more than %d bytes", ErrTooLarge, tooLong.Limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body could not be read: %w", ErrInvalid, err)
	}
	m.Body = body
	return m, nil
}
