package outbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dormouse/internal/store"
)

// secretPrefix begins each secret of Standard Webhooks.
const secretPrefix = "whsec_"

// rotation is how long the secret before signs beside a new one.
const rotation = 24 * time.Hour

// ErrSecret means that a text is not a secret of Standard Webhooks.
var ErrSecret = errors.New(`a secret is "whsec_" and 24 to 64 bytes in base64`)

// secret is one secret of a line as its row has it.
type secret struct {
	Text  string `json:"secret"`
	Until int64  `json:"until,omitempty"` // when it stops signing; 0 for the newest
}

// keyOf returns the key that a secret spells, or ErrSecret.
func keyOf(text string) ([]byte, error) {
	encoded, prefixed := strings.CutPrefix(text, secretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !prefixed || err != nil || len(key) < 24 || len(key) > 64 {
		return nil, ErrSecret
	}
	return key, nil
}

// CheckSecret returns ErrSecret if the text is not a secret of Standard Webhooks.
func CheckSecret(text string) error {
	_, err := keyOf(text)
	return err
}

// SetSecret has the line's deliveries signed with the secret, from the next try on. A secret
// that the line had before signs too, for a day, so that the receiver can change over. With ""
// nothing is signed.
func (o *Outbox) SetSecret(tx *store.Tx, line, text string) error {
	if text != "" {
		if err := CheckSecret(text); err != nil {
			return err
		}
	}
	number, _, err := lineIn(tx, line)
	if err != nil {
		return fmt.Errorf("cannot set the secret of a line: %w", err)
	}
	before, err := secretsIn(tx, number)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(rotated(before, text, o.now()))
	if err == nil {
		_, err = tx.Exec(`UPDATE outbox_lines SET secrets = ? WHERE number = ?`, string(raw), number)
	}
	if err != nil {
		return fmt.Errorf("cannot set the secret of a line: %w", err)
	}
	return nil
}

// rotated returns the secrets after text became the newest.
func rotated(before []secret, text string, now time.Time) []secret {
	switch {
	case text == "":
		return []secret{}
	case len(before) == 0:
		return []secret{{Text: text}}
	case before[0].Text == text:
		return before
	}
	return []secret{{Text: text}, {Text: before[0].Text, Until: now.Add(rotation).UnixMilli()}}
}

// secretsIn returns the secrets of the line, the newest first.
func secretsIn(tx *store.Tx, line int64) (all []secret, err error) {
	var raw string
	if err = tx.QueryRow(`SELECT secrets FROM outbox_lines WHERE number = ?`, line).Scan(&raw); err == nil {
		err = json.Unmarshal([]byte(raw), &all)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the secrets of a line: %w", err)
	}
	return all, nil
}

// sign adds the header of Standard Webhooks, with one signature for each secret that is valid
// now. Without secrets it adds nothing.
func sign(header http.Header, d Delivery, secrets []secret, now time.Time) {
	seconds := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, s := range secrets {
		key, err := keyOf(s.Text)
		if err != nil || s.Until != 0 && s.Until < now.UnixMilli() {
			continue
		}
		mac := hmac.New(sha256.New, key)
		_, _ = fmt.Fprintf(mac, "%s.%s.%s", d.ID, seconds, d.Body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	if len(signatures) == 0 {
		return
	}
	header.Set("Webhook-Id", d.ID)
	header.Set("Webhook-Timestamp", seconds)
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
}
