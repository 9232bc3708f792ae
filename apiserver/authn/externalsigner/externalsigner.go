// Package externalsigner has service-account tokens signed by a process of the operator's, which keeps the keys: in a
// hardware module, for one. It is asked over a Unix socket, by upstream's protocol ExternalJWTSigner v1, and says which
// public keys verify its tokens, and for how long that holds.
package externalsigner

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	externaljwtv1 "k8s.io/externaljwt/apis/v1"

	"clipper/apiserver/authn/satoken"
)

const (
	// Upstream's figures: how long fetching keys may take, signing a token and asking what can be had; when keys are
	// fetched again after that failed; how long an id may be.
	fetchTimeout    = time.Minute
	signTimeout     = 10 * time.Second
	metadataTimeout = 10 * time.Second
	retryAfter      = 10 * time.Second
	maxID           = 1024

	// searchEvery is how often tokens that name unknown keys may make us fetch them.
	searchEvery = time.Second
)

// algorithms are those that tokens may be signed with.
var algorithms = []string{"RS256", "ES256", "ES384", "ES512"}

// A Signer is the connection to the process. It implements satoken.External.
type Signer struct {
	conn    *grpc.ClientConn
	client  externaljwtv1.ExternalJWTSignerClient
	known   atomic.Pointer[known]
	metrics *metrics

	fetching sync.Mutex
	searched time.Time // when an unknown key was last looked for
}

// known is what was fetched last.
type known struct {
	keys []satoken.ExternalKey
	next time.Time // when to fetch them again
}

// Dial connects to the process at socket and fetches its keys. A socket that begins with @ is an abstract one.
func Dial(ctx context.Context, socket string) (*Signer, error) {
	counted := newMetrics()
	conn, err := grpc.NewClient("passthrough:///"+socket,
		grpc.WithUnaryInterceptor(counted.measure),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("localhost"),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		}))
	if err != nil {
		return nil, fmt.Errorf("while dialing grpc socket at %q: %w", socket, err)
	}
	s := &Signer{conn: conn, client: externaljwtv1.NewExternalJWTSignerClient(conn), metrics: counted}
	if err := s.fetch(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("while initially filling key cache: %w", err)
	}
	return s, nil
}

// Run fetches the keys as often as the process wants it, until ctx ends.
func (s *Signer) Run(ctx context.Context) error {
	defer s.Close()
	wait := time.Until(s.known.Load().next)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		err := s.fetch(ctx)
		if wait = time.Until(s.known.Load().next); err != nil && ctx.Err() == nil {
			slog.Error("keys of the external signer not fetched; those from before stay in use", "err", err)
			wait = retryAfter
		}
	}
}

// Close ends the connection. Run does so, too.
func (s *Signer) Close() error { return s.conn.Close() }

// Longest is how long its tokens may live.
func (s *Signer) Longest(ctx context.Context) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	m, err := s.client.Metadata(ctx, &externaljwtv1.MetadataRequest{})
	if err != nil {
		return 0, err
	}
	return time.Duration(m.MaxTokenExpirationSeconds) * time.Second, nil
}

// Keys returns the keys that verify its tokens now.
func (s *Signer) Keys() []satoken.ExternalKey { return s.known.Load().keys }

// MaxAge is how long the keys are good for others.
func (s *Signer) MaxAge() time.Duration { return max(0, time.Until(s.known.Load().next)) }

// Search fetches the keys because a token names one that is not among them.
func (s *Signer) Search(ctx context.Context) error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	if time.Since(s.searched) < searchEvery {
		return nil // whoever makes up tokens does not get to ask the process for each
	}
	s.searched = time.Now()
	return s.fetchLocked(ctx)
}

func (s *Signer) fetch(ctx context.Context) error {
	s.fetching.Lock()
	defer s.fetching.Unlock()
	return s.fetchLocked(ctx)
}

// fetchLocked holds the lock for as long as the process takes: two would learn the same. REQUIRES: s.fetching.
func (s *Signer) fetchLocked(ctx context.Context) error {
	keys, err := s.askForKeys(ctx)
	s.metrics.fetches.WithLabelValues(code(err)).Inc()
	if err != nil {
		return err
	}
	s.metrics.fetched.SetToCurrentTime()
	s.known.Store(keys)
	return nil
}

func (s *Signer) askForKeys(ctx context.Context) (*known, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	answer, err := s.client.FetchKeys(ctx, &externaljwtv1.FetchKeysRequest{})
	if err != nil {
		return nil, fmt.Errorf("while getting externally supported jwt signing keys: %w", err)
	}
	keys, err := read(answer)
	if err != nil {
		return nil, err
	}
	s.metrics.data.Set(float64(answer.DataTimestamp.AsTime().UnixNano()) / float64(time.Second))
	return &known{keys, time.Now().Add(time.Duration(answer.RefreshHintSeconds) * time.Second)}, nil
}

// read checks what the process says about its keys.
func read(answer *externaljwtv1.FetchKeysResponse) ([]satoken.ExternalKey, error) {
	if answer.RefreshHintSeconds <= 0 {
		return nil, fmt.Errorf("found invalid refresh hint (%ds)", answer.RefreshHintSeconds)
	}
	if len(answer.Keys) == 0 {
		return nil, errors.New("found no keys")
	}
	if err := answer.DataTimestamp.CheckValid(); err != nil {
		return nil, fmt.Errorf("invalid data timestamp: %w", err)
	}
	var out []satoken.ExternalKey
	for _, k := range answer.Keys {
		switch {
		case k == nil:
			return nil, errors.New("found nil public key")
		case k.KeyId == "" || len(k.KeyId) > maxID:
			return nil, fmt.Errorf("found invalid public key id %q", k.KeyId)
		case len(k.Key) == 0:
			return nil, errors.New("found empty public key")
		}
		public, err := x509.ParsePKIXPublicKey(k.Key)
		if err != nil {
			return nil, fmt.Errorf("while parsing external public keys: %w", err)
		}
		out = append(out, satoken.ExternalKey{ID: k.KeyId, Key: public, Hidden: k.ExcludeFromOidcDiscovery})
	}
	return out, nil
}

// Sign returns the header and the signature of a token with the payload. All three are in base64.
func (s *Signer) Sign(ctx context.Context, payload string) (header, signature string, err error) {
	header, signature, err = s.sign(ctx, payload)
	s.metrics.signs.WithLabelValues(code(err)).Inc()
	return header, signature, err
}

func (s *Signer) sign(ctx context.Context, payload string) (header, signature string, err error) {
	ctx, cancel := context.WithTimeout(ctx, signTimeout)
	defer cancel()
	answer, err := s.client.Sign(ctx, &externaljwtv1.SignJWTRequest{Claims: payload})
	if err != nil {
		return "", "", fmt.Errorf("while signing jwt: %w", err)
	}
	id, err := readHeader(answer.Header)
	if err == nil {
		err = s.mayBeUsed(ctx, id)
	}
	if err != nil {
		return "", "", fmt.Errorf("while validating header: %w", err)
	}
	if answer.Signature == "" {
		return "", "", errors.New("empty signature returned")
	}
	return answer.Header, answer.Signature, nil
}

// readHeader checks a token's header and returns the id of its key.
func readHeader(encoded string) (id string, err error) {
	text, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil {
		return "", fmt.Errorf("while unwrapping header: %w", err)
	}
	var header struct {
		Algorithm string `json:"alg,omitempty"`
		KeyID     string `json:"kid,omitempty"`
		Type      string `json:"typ,omitempty"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&header); err != nil {
		return "", fmt.Errorf("while parsing header JSON: %w", err)
	}
	switch {
	case header.Type != "JWT":
		return "", errors.New("bad type")
	case header.KeyID == "":
		return "", errors.New("key id missing")
	case len(header.KeyID) > maxID:
		return "", errors.New("key id longer than 1 kb")
	case !slices.Contains(algorithms, header.Algorithm):
		return "", fmt.Errorf("bad signing algorithm %q", header.Algorithm)
	}
	return header.KeyID, nil
}

// mayBeUsed refuses keys that are only there for tokens of before: others could not check what they sign. What a key is
// that we have not heard of, the process is asked.
func (s *Signer) mayBeUsed(ctx context.Context, id string) error {
	k, ok := s.key(id)
	if !ok {
		if err := s.fetch(ctx); err != nil {
			slog.Warn("keys of the external signer not fetched for one that it has signed with", "id", id, "err", err)
		}
		k, _ = s.key(id)
	}
	if k.Hidden {
		return fmt.Errorf("key used for signing JWT (kid: %s) is excluded from OIDC discovery docs", id)
	}
	return nil
}

func (s *Signer) key(id string) (satoken.ExternalKey, bool) {
	for _, k := range s.Keys() {
		if k.ID == id {
			return k, true
		}
	}
	return satoken.ExternalKey{}, false
}
