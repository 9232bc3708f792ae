package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
)

// Config says how registries are reached. It is read-only after New.
type Config struct {
	// HostsDirs are folders as containerd's config_path has them: HOST/hosts.toml, or _default/hosts.toml
	// for the rest, names the mirrors of a registry and how to verify them. Where a host's folder has no such
	// file, its certificates count, as docker's certs.d has them. The first folder that has one for a registry
	// decides.
	HostsDirs []string
	// PlainHTTP lists registries (host or host:port) that speak no TLS. Loopback addresses may always.
	PlainHTTP []string
	// Transport replaces the network, for tests. Default: http.DefaultTransport's settings.
	Transport *http.Transport
}

// An endpoint is one place to ask for a registry's content.
type endpoint struct {
	host          string // host or host:port
	path          string // of the API, "/v2" nearly always
	plainHTTP     bool
	mirror        bool // stands for another registry, and is told which
	resolve, pull bool // what it is asked for: which image a tag means; the image
	verify        tlsFiles
	header        http.Header
	dialTimeout   time.Duration // 0: the default
}

type tlsFiles struct {
	ca         []string
	client     [][2]string // certificate, key
	skipVerify bool
}

// hostsFile is containerd's hosts.toml.
type hostsFile struct {
	Server string              `toml:"server"`
	Host   map[string]hostPart `toml:"host"`
	hostPart
}

type hostPart struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`     // a path or a list
	Client       any            `toml:"client"` // a path, or a list of paths or [cert, key] pairs
	SkipVerify   bool           `toml:"skip_verify"`
	Header       map[string]any `toml:"header"` // a value or a list
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// endpoints returns where to ask for the content of registry, in order: its mirrors, then itself.
func (c *Config) endpoints(registry string) ([]endpoint, error) {
	for _, dir := range c.HostsDirs {
		for _, name := range folders(registry) {
			folder := filepath.Join(dir, name)
			b, err := os.ReadFile(filepath.Join(folder, "hosts.toml"))
			if err == nil {
				eps, err := c.parseHosts(registry, folder, b)
				if err != nil {
					return nil, fmt.Errorf("registry %s: %s: %w", registry, filepath.Join(folder, "hosts.toml"), err)
				}
				return eps, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("registry %s: %w", registry, err)
			}
			if verify, ok := certificates(folder); ok {
				e := c.direct(registry)
				e.verify = verify
				return []endpoint{e}, nil
			}
		}
	}
	return []endpoint{c.direct(registry)}, nil
}

// folders are the names that a registry's folder may have: ":" is no good in file names everywhere.
func folders(registry string) []string {
	names := []string{registry}
	if i := strings.LastIndex(registry, ":"); i > 0 {
		names = []string{registry[:i] + "_" + registry[i+1:] + "_", registry}
	}
	return append(names, "_default")
}

// certificates finds authorities (.crt) and client certificates (.cert with .key) in a folder.
func certificates(folder string) (files tlsFiles, ok bool) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return files, false
	}
	for _, e := range entries {
		file := filepath.Join(folder, e.Name())
		switch base, ext := strings.TrimSuffix(file, filepath.Ext(file)), filepath.Ext(file); ext {
		case ".crt":
			files.ca = append(files.ca, file)
		case ".cert":
			key := base + ".key"
			if _, err := os.Stat(key); err != nil {
				key = file
			}
			files.client = append(files.client, [2]string{file, key})
		}
	}
	return files, len(files.ca)+len(files.client) > 0
}

func (c *Config) direct(registry string) endpoint {
	return endpoint{host: registry, path: "/v2", plainHTTP: slices.Contains(c.PlainHTTP, registry), resolve: true, pull: true}
}

func (c *Config) parseHosts(registry, folder string, b []byte) ([]endpoint, error) {
	var file hostsFile
	meta, err := toml.NewDecoder(bytes.NewReader(b)).Decode(&file)
	if err != nil {
		return nil, err
	}
	var eps []endpoint
	for _, key := range meta.Keys() { // in the order of the file, which is the order to try
		if len(key) != 2 || key[0] != "host" {
			continue
		}
		e, err := parseHost(key[1], folder, file.Host[key[1]])
		if err != nil {
			return nil, fmt.Errorf("host %q: %w", key[1], err)
		}
		e.mirror = true
		eps = append(eps, e)
	}
	server := file.Server
	if server == "" {
		server = registry
		if c.direct(registry).mayPlain() {
			server = "http://" + registry
		}
	}
	origin, err := parseHost(server, folder, file.hostPart)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", server, err)
	}
	origin.mirror = origin.host != registry
	return append(eps, origin), nil
}

// parseHost reads what stands about one host in a file of the folder dir.
func parseHost(raw, dir string, p hostPart) (endpoint, error) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil {
		return endpoint{}, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return endpoint{}, errors.New("want http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]")
	}
	e := endpoint{host: u.Host, plainHTTP: u.Scheme == "http", path: apiPath(u.Path, p.OverridePath)}
	if e.resolve, e.pull, err = capabilities(p.Capabilities); err != nil {
		return endpoint{}, err
	}
	if p.DialTimeout != "" {
		if e.dialTimeout, err = time.ParseDuration(p.DialTimeout); err != nil {
			return endpoint{}, fmt.Errorf("dial_timeout: %w", err)
		}
	}
	if e.header, err = headers(p.Header); err != nil {
		return endpoint{}, err
	}
	e.verify, err = parseTLS(dir, p)
	return e, err
}

// apiPath is where a host has the API: below its path there is "/v2" unless the path is said to be all.
func apiPath(p string, override bool) string {
	p = strings.TrimSuffix(path.Clean("/"+p), "/")
	if !override && !strings.HasSuffix(p, "/v2") {
		p += "/v2"
	}
	return p
}

func capabilities(names []string) (resolve, pull bool, err error) {
	if len(names) == 0 {
		return true, true, nil
	}
	for _, n := range names {
		switch strings.ToLower(n) {
		case "resolve":
			resolve = true
		case "pull":
			pull = true
		case "push", "referrers": // nothing that a node does
		default:
			return false, false, fmt.Errorf("unknown capability %v", n)
		}
	}
	return resolve, pull, nil
}

func headers(in map[string]any) (http.Header, error) {
	out := http.Header{}
	for name, value := range in {
		values, err := stringsOf(value)
		if err != nil {
			return nil, fmt.Errorf("header %q: %w", name, err)
		}
		for _, v := range values {
			out.Add(name, v)
		}
	}
	return out, nil
}

func parseTLS(dir string, p hostPart) (files tlsFiles, err error) {
	files.skipVerify = p.SkipVerify
	ca, err := stringsOf(p.CA)
	if err != nil {
		return files, fmt.Errorf("ca: %w", err)
	}
	for _, f := range ca {
		files.ca = append(files.ca, within(dir, f))
	}
	clients, ok := p.Client.([]any)
	if !ok && p.Client != nil {
		clients = []any{p.Client}
	}
	for _, c := range clients {
		pair, err := stringsOf(c)
		switch {
		case err != nil:
			return files, fmt.Errorf("client: %w", err)
		case len(pair) == 1: // both in one file
			files.client = append(files.client, [2]string{within(dir, pair[0]), within(dir, pair[0])})
		case len(pair) == 2:
			files.client = append(files.client, [2]string{within(dir, pair[0]), within(dir, pair[1])})
		default:
			return files, fmt.Errorf("client: invalid pair %v", pair)
		}
	}
	return files, nil
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// stringsOf reads what may be one string or several.
func stringsOf(v any) ([]string, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, fmt.Errorf("%v is not a string", e)
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, fmt.Errorf("%v is neither a string nor a list of strings", v)
}
