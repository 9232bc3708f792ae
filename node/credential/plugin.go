package credential

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	corev1 "k8s.io/api/core/v1"
	configv1 "k8s.io/kubelet/config/v1"
	providerv1 "k8s.io/kubelet/pkg/apis/credentialprovider/v1"
)

const (
	pluginTime  = time.Minute // for one call of a plug-in
	purgeEvery  = 15 * time.Minute
	maxResponse = 4 << 20
)

// A plugin is a program that knows logins, with what it has told before.
type plugin struct {
	config   configv1.CredentialProvider
	path     string
	accounts ServiceAccounts
	metrics  *metrics
	calls    singleflight.Group // one call at a time for the same question

	mu     sync.Mutex
	cache  map[string]cached
	purged time.Time
}

type cached struct {
	entries map[string]Entry
	until   time.Time
}

// ServiceAccounts reads service accounts and makes tokens for them.
type ServiceAccounts interface {
	ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error)
	// Token returns a new token of the account sa for an audience, bound to the pod.
	Token(ctx context.Context, sa *corev1.ServiceAccount, pod *corev1.Pod, audience string) (string, error)
}

// openPlugins reads the configuration of the plug-ins and looks for their programs.
func openPlugins(configPath, binDir string, accounts ServiceAccounts, m *metrics) ([]*plugin, error) {
	if _, err := os.Stat(binDir); err != nil {
		return nil, fmt.Errorf("inspect the plug-ins' directory: %w", err)
	}
	c, err := readConfig(configPath)
	if err != nil {
		return nil, err
	}
	var out []*plugin
	for _, p := range c.Providers {
		path, err := exec.LookPath(filepath.Join(binDir, p.Name))
		if err != nil {
			return nil, fmt.Errorf("credential provider %s: %w", p.Name, err)
		}
		out = append(out, &plugin{config: p, path: path, accounts: accounts, metrics: m, cache: map[string]cached{}})
	}
	return out, nil
}

// identity is in whose name a plug-in is asked. The zero value: the node's.
type identity struct {
	account     *Source
	annotations map[string]string
	token       string
}

// tokenHash stands for the token where the token itself should not be.
func (id identity) tokenHash() string {
	if id.token == "" {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256([]byte(id.token)))
}

// logins asks the plug-in, or what it has answered before.
func (p *plugin) logins(ctx context.Context, pod *corev1.Pod, repository string) (map[string]Entry, *Source, error) {
	if !slices.ContainsFunc(p.config.MatchImages, func(pattern string) bool { return Matches(pattern, repository) }) {
		return nil, nil, nil
	}
	id, ok, err := p.identify(ctx, pod)
	if err != nil || !ok {
		return nil, nil, err
	}
	scope := p.scope(id)
	now := time.Now()
	for _, key := range []string{repository, registryOf(repository), globalKey} {
		if entries, ok := p.recall(joinKey(key, scope), now); ok {
			return entries, id.account, nil
		}
	}
	answer, err, _ := p.calls.Do(joinKey(repository, id.tokenHash(), annotationsKey(id.annotations)), func() (any, error) {
		return p.ask(context.WithoutCancel(ctx), repository, id)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("failed to get credential from external registry credential provider: %w", err)
	}
	entries, err := p.keep(answer.(*providerv1.CredentialProviderResponse), repository, scope, id, now)
	return entries, id.account, err
}

// identify makes the token for a plug-in that wants one. ok is false where the plug-in is not to be asked.
func (p *plugin) identify(ctx context.Context, pod *corev1.Pod) (id identity, ok bool, err error) {
	t := p.config.TokenAttributes
	if t == nil {
		return id, true, nil
	}
	if pod.Spec.ServiceAccountName == "" {
		return id, !*t.RequireServiceAccount, nil
	}
	sa, err := p.accounts.ServiceAccount(ctx, pod.Namespace, pod.Spec.ServiceAccountName)
	if err != nil {
		return id, false, fmt.Errorf("failed to get service account: %w", err)
	}
	id.account = &Source{UID: string(sa.UID), Namespace: sa.Namespace, Name: sa.Name}
	id.annotations = map[string]string{}
	for _, key := range t.RequiredServiceAccountAnnotationKeys {
		value, ok := sa.Annotations[key]
		if !ok {
			return id, false, nil // how a workload stays out
		}
		id.annotations[key] = value
	}
	for _, key := range t.OptionalServiceAccountAnnotationKeys {
		if value, ok := sa.Annotations[key]; ok {
			id.annotations[key] = value
		}
	}
	if id.token, err = p.accounts.Token(ctx, sa, pod, t.ServiceAccountTokenAudience); err != nil {
		return id, false, fmt.Errorf("failed to get service account token: %w", err)
	}
	return id, true, nil
}

// scope is for whom an answer counts.
func (p *plugin) scope(id identity) string {
	if id.account == nil {
		return ""
	}
	parts := []string{id.account.Namespace, id.account.Name, id.account.UID, annotationsKey(id.annotations)}
	if p.config.TokenAttributes.CacheType == configv1.TokenServiceAccountTokenCacheType {
		parts = append(parts, id.tokenHash())
	}
	return joinKey(parts...)
}

// joinKey joins strings so that no two lists give the same key.
func joinKey(parts ...string) string {
	var b strings.Builder
	for _, s := range parts {
		fmt.Fprintf(&b, "%d:%s", len(s), s)
	}
	return b.String()
}

func annotationsKey(m map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, k, m[k])
	}
	return joinKey(parts...)
}

func registryOf(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}

// globalKey cannot be the name of a repository.
const globalKey = "<global>"

func (p *plugin) recall(key string, now time.Time) (map[string]Entry, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.purged) > purgeEvery {
		maps.DeleteFunc(p.cache, func(_ string, c cached) bool { return now.After(c.until) })
		p.purged = now
	}
	c, ok := p.cache[key]
	return c.entries, ok && !now.After(c.until)
}

// keep checks an answer and remembers it for as long as it says.
func (p *plugin) keep(answer *providerv1.CredentialProviderResponse, repository, scope string, id identity, now time.Time) (map[string]Entry, error) {
	entries := make(map[string]Entry, len(answer.Auth))
	for pattern, a := range answer.Auth {
		if id.token != "" && a.Password == id.token && p.config.TokenAttributes.CacheType != configv1.TokenServiceAccountTokenCacheType {
			return nil, errors.New("credential provider plugin returned the service account token as the password which is not allowed when service account cache type is not set to 'Token'")
		}
		entries[pattern] = Entry{Username: a.Username, Password: a.Password}
	}
	var key string
	switch answer.CacheKeyType {
	case providerv1.ImagePluginCacheKeyType:
		key = repository
	case providerv1.RegistryPluginCacheKeyType:
		key = registryOf(repository)
	case providerv1.GlobalPluginCacheKeyType:
		key = globalKey
	default:
		return nil, fmt.Errorf("credential provider plugin did not return a valid cacheKeyType: %s", answer.CacheKeyType)
	}
	lasts := p.config.DefaultCacheDuration.Duration
	if answer.CacheDuration != nil {
		lasts = answer.CacheDuration.Duration
	}
	if lasts > 0 {
		p.mu.Lock()
		p.cache[joinKey(key, scope)] = cached{entries: entries, until: now.Add(lasts)}
		p.mu.Unlock()
	}
	return entries, nil
}

// ask runs the program: the question on its standard input, the answer on its standard output.
func (p *plugin) ask(ctx context.Context, repository string, id identity) (*providerv1.CredentialProviderResponse, error) {
	question := &providerv1.CredentialProviderRequest{Image: repository, ServiceAccountToken: id.token, ServiceAccountAnnotations: id.annotations}
	question.APIVersion, question.Kind = p.config.APIVersion, "CredentialProviderRequest"
	in, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("failed to encode auth request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, pluginTime)
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, p.path, p.config.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), limit(&out), limit(&complaint)
	cmd.WaitDelay = time.Second // a child of the plug-in that keeps its output open is not waited for
	cmd.Env = os.Environ()
	for _, v := range p.config.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	began := time.Now()
	err = cmd.Run()
	p.metrics.durations.WithLabelValues(p.config.Name).Observe(time.Since(began).Seconds())
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		p.metrics.errors.WithLabelValues(p.config.Name).Inc()
		return nil, fmt.Errorf("error execing credential provider plugin %s for image %s: %w: %s", p.config.Name, repository, err, complaint.String())
	}
	return parseResponse(out.Bytes(), p.config.APIVersion)
}

// parseResponse never quotes what it was given: there may be passwords in it.
func parseResponse(data []byte, apiVersion string) (*providerv1.CredentialProviderResponse, error) {
	var answer providerv1.CredentialProviderResponse
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil {
		return nil, errors.New("error decoding credential provider plugin response from stdout")
	}
	if answer.APIVersion != apiVersion {
		return nil, fmt.Errorf("apiVersion from credential plugin response did not match expected apiVersion:%s, actual apiVersion:%.100s", apiVersion, answer.APIVersion)
	}
	if answer.Kind != "CredentialProviderResponse" {
		return nil, fmt.Errorf("failed to decode CredentialProviderResponse, unexpected Kind: %.100q", answer.Kind)
	}
	return &answer, nil
}

// limited keeps a talkative program from filling the memory.
type limited struct{ buffer *bytes.Buffer }

func limit(b *bytes.Buffer) *limited { return &limited{b} }

func (l *limited) Write(b []byte) (int, error) {
	if l.buffer.Len()+len(b) > maxResponse {
		return 0, fmt.Errorf("more than %d bytes of output", maxResponse)
	}
	return l.buffer.Write(b)
}
