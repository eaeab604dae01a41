package qhana

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"dormouse/internal/outbox"
)

// maxRegistryAnswer is how much of an answer of a registry is read, in bytes.
const maxRegistryAnswer = 1 << 20

// registryAnswer is an answer of a registry's API, as far as a walk needs it.
type registryAnswer struct {
	at    *url.URL // its own address
	Links []struct {
		Href         string   `json:"href"`
		Rel          []string `json:"rel"`
		ResourceType string   `json:"resourceType"`
	} `json:"links"`
}

// pluginLink returns the address of the first link to plugins that has one of the relations.
func (a registryAnswer) pluginLink(relations ...string) (*url.URL, error) {
	for _, l := range a.Links {
		if l.ResourceType == "plugin" && slices.ContainsFunc(relations, func(rel string) bool { return slices.Contains(l.Rel, rel) }) {
			u, err := a.at.Parse(l.Href)
			if err != nil {
				return nil, fmt.Errorf("the registry has a link that is no address at %s: %w", a.at, err)
			}
			return u, nil
		}
	}
	return nil, fmt.Errorf("the registry has no link to plugins with the relation %s at %s", strings.Join(relations, " or "), a.at)
}

// errNotServing is why a registry is not told: it would not reach the plugin, and forget it.
var errNotServing = errors.New("the host does not serve its plugins now")

// signalAddress returns the address to which a POST tells a registry of a plugin. It is found anew
// each time, from the root of the registry's API, which is the delivery's line.
func (q *QHAna) signalAddress(ctx context.Context, client *http.Client, d outbox.Delivery) (string, error) {
	if !q.isServing.Load() {
		return "", errNotServing
	}
	api, err := askRegistry(ctx, client, rootOfLine(d.Line))
	if err != nil {
		return "", err
	}
	collection, err := api.pluginLink("collection", "page")
	if err != nil {
		return "", err
	}
	plugins, err := askRegistry(ctx, client, collection.String())
	if err != nil {
		return "", err
	}
	door, err := plugins.pluginLink("post")
	if err != nil {
		return "", err
	}
	query := door.Query()
	query.Set("url", d.Event)
	door.RawQuery = query.Encode()
	return door.String(), nil
}

// askRegistry returns the answer of a registry's API at an address.
func askRegistry(ctx context.Context, client *http.Client, address string) (a registryAnswer, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return a, err
	}
	response, err := client.Do(request)
	if err != nil {
		return a, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return a, fmt.Errorf("the registry answered %s to GET %s; is that the root of its API?", response.Status, address)
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxRegistryAnswer))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return a, fmt.Errorf("cannot read the answer of the registry at %s: %w", address, err)
	}
	a.at = request.URL
	return a, nil
}
