// Package credential finds the logins with which an image may be pulled: in the pull secrets of a pod, in the
// node's own docker configuration, and from credential provider plug-ins. Matching, order and hashes are those
// of a v1.36 kubelet.
package credential

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
)

// A Login is what to show a registry, and where it comes from.
type Login struct {
	Username, Password string
	// Hash tells whether two logins are the same without telling what they are.
	Hash string
	// At most one of Secret and ServiceAccount is set. Neither: every pod of the node may use it.
	Secret, ServiceAccount *Source
}

// A Source is the object that gave a login.
type Source struct{ UID, Namespace, Name string }

// An Entry is one registry's part of a docker configuration.
type Entry struct {
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Email    string `json:"email,omitempty"`
}

// hash is upstream's, so that records of pulls mean the same to a kubelet.
func (e Entry) hash() string {
	b, err := json.Marshal(e)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// A Keyring holds logins by what they are for: a host, which may contain wildcards, and a path.
type Keyring struct {
	index  []string // sorted backwards: the more specific path comes first
	logins map[string][]Login
}

// Add puts a docker configuration's logins into the keyring. secret or account, if not nil, is its origin.
func (k *Keyring) Add(cfg map[string]Entry, secret, account *Source) {
	if k.logins == nil {
		k.logins = map[string][]Login{}
	}
	for location, e := range cfg {
		key, ok := keyOf(location)
		if !ok {
			continue
		}
		l := Login{Username: e.Username, Password: e.Password, Hash: e.hash(), Secret: secret, ServiceAccount: account}
		k.logins[key] = append(k.logins[key], l)
		k.index = append(k.index, key)
	}
	slices.Sort(k.index)
	k.index = slices.Compact(k.index)
	slices.Reverse(k.index)
}

// keyOf is a docker configuration's key without scheme and version of the registry's API.
func keyOf(location string) (string, bool) {
	if !strings.HasPrefix(location, "https://") && !strings.HasPrefix(location, "http://") {
		location = "https://" + location
	}
	u, err := url.Parse(location)
	if err != nil {
		return "", false
	}
	path := u.Path
	if strings.HasPrefix(path, "/v2/") || strings.HasPrefix(path, "/v1/") {
		path = path[3:]
	}
	if path == "/" {
		path = ""
	}
	return u.Host + path, true
}

// dockerHub is how docker configurations name the registry docker.io.
const dockerHub = "index.docker.io"

// Lookup returns the logins for the repository of an image ("docker.io/library/nginx"), the most specific
// first. There may be several for one registry: while a password is changed, say.
func (k *Keyring) Lookup(repository string) []Login {
	var out []Login
	for _, key := range k.index {
		if Matches(key, repository) {
			out = append(out, k.logins[key]...)
		}
	}
	if len(out) == 0 && isDockerHub(repository) {
		out = slices.Clone(k.logins[dockerHub])
	}
	return out
}

func isDockerHub(repository string) bool {
	host, _, found := strings.Cut(repository, "/")
	switch {
	case host == "":
		return false
	case !found || host == "docker.io" || host == dockerHub:
		return true
	}
	return !strings.ContainsAny(host, ".:")
}

// Matches reports whether a pattern, HOST[:PORT][/PATH] where parts of the host's name may have wildcards,
// covers a repository.
func Matches(pattern, repository string) bool {
	p, err := url.Parse("https://" + pattern)
	if err != nil {
		return false
	}
	r, err := url.Parse("https://" + repository)
	if err != nil {
		return false
	}
	want, wantPort := labels(p.Host)
	has, hasPort := labels(r.Host)
	if wantPort != hasPort || !strings.HasPrefix(r.Path, p.Path) {
		return false
	}
	return slices.EqualFunc(want, has, func(glob, label string) bool {
		ok, err := filepath.Match(glob, label)
		return ok && err == nil
	})
}

func labels(hostPort string) (parts []string, port string) {
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		host, port = hostPort, ""
	}
	return strings.Split(host, "."), port
}
