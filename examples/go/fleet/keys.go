package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// apiKey is an entry of the file of -keys. The key itself is not in it, only its SHA-256.
type apiKey struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	// Admin sees and cancels everybody's jobs, and tries dead letters again.
	Admin bool `json:"admin,omitempty"`
	// The most of each request; 0 is the front's own limit.
	MaxPixels int64 `json:"max_pixels,omitempty"` // of all frames together
	MaxSteps  int   `json:"max_steps,omitempty"`
	// MaxJobs is how many jobs may wait or run at once; 0 is -queue-per-key alone.
	MaxJobs int `json:"max_jobs,omitempty"`
}

// keyring knows who may ask for what.
type keyring struct {
	config *config
	keys   atomic.Pointer[[]apiKey]
}

func newKeyring(c *config) (*keyring, error) {
	k := &keyring{config: c}
	if c.keys != "" {
		return k, k.read()
	}
	host, _, err := net.SplitHostPort(c.http)
	if err != nil {
		return nil, fmt.Errorf("-listen: expected host:port, found %q", c.http)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) && !c.open {
		return nil, errors.New("-listen: without -keys, anybody who reaches this address may use the fleet: give keys, or say -open")
	}
	return k, nil
}

// read reads the file, again if it was read before. A file with a mistake changes nothing.
func (k *keyring) read() error {
	text, err := os.ReadFile(k.config.keys)
	if err != nil {
		return fmt.Errorf("-keys: %w", err)
	}
	var file struct {
		Keys []apiKey `json:"keys"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return fmt.Errorf("-keys: %s: %w", k.config.keys, err)
	}
	if len(file.Keys) == 0 {
		return fmt.Errorf("-keys: %s has no keys", k.config.keys)
	}
	names := map[string]bool{}
	for _, key := range file.Keys {
		if sum, err := hex.DecodeString(key.SHA256); err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("-keys: %q: sha256: expected 64 hexadecimal digits", key.Name)
		}
		if !token.MatchString(key.Name) || names[key.Name] {
			return fmt.Errorf("-keys: %q: expected names of letters, digits, '-' and '_', each once", key.Name)
		}
		if key.MaxPixels < 0 || key.MaxSteps < 0 || key.MaxJobs < 0 {
			return fmt.Errorf("-keys: %q: expected limits of 0 and more", key.Name)
		}
		names[key.Name] = true
	}
	k.keys.Store(&file.Keys)
	return nil
}

// who finds the key that a request came with, with the front's limits where it has none of its own.
func (k *keyring) who(r *http.Request) (*apiKey, error) {
	if k.config.keys == "" {
		return k.limited(apiKey{Name: "anyone", Admin: true}), nil
	}
	text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		text = r.Header.Get("X-API-Key")
	}
	if text == "" {
		return nil, refusal(http.StatusUnauthorized, "UNAUTHORIZED", "say who you are: Authorization: Bearer KEY")
	}
	sum := sha256.Sum256([]byte(text))
	given := hex.EncodeToString(sum[:])
	var found *apiKey
	for _, key := range *k.keys.Load() {
		if subtle.ConstantTimeCompare([]byte(strings.ToLower(key.SHA256)), []byte(given)) == 1 {
			found = k.limited(key)
		}
	}
	if found == nil {
		return nil, refusal(http.StatusUnauthorized, "UNAUTHORIZED", "the key is not known")
	}
	return found, nil
}

func (k *keyring) limited(key apiKey) *apiKey {
	if key.MaxPixels == 0 {
		key.MaxPixels = k.config.maxPixels
	}
	if key.MaxSteps == 0 {
		key.MaxSteps = k.config.maxSteps
	}
	return &key
}

type keyInContext struct{}

// withKey lets those through who have a key.
func (k *keyring) withKey(handle http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		key, err := k.who(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, err)
			return
		}
		handle(w, r.WithContext(context.WithValue(r.Context(), keyInContext{}, key)))
	}
}

func keyOf(r *http.Request) *apiKey { return r.Context().Value(keyInContext{}).(*apiKey) }

// sees says whether the key may see jobs of an owner.
func (k *apiKey) sees(owner string) bool { return k.Admin || k.Name == owner }

// printKey makes a key and says what goes into the file.
func printKey(name string) error {
	key := "fleet_" + rand.Text()
	sum := sha256.Sum256([]byte(key))
	entry, err := json.Marshal(apiKey{Name: name, SHA256: hex.EncodeToString(sum[:])})
	if err != nil {
		return err
	}
	fmt.Printf("the key, which is shown only now:  %s\nits entry in the file of -keys:    %s\n", key, entry)
	return nil
}
