package volume

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
)

// tokenKey names a token: pods that ask for the same twice get the same.
type tokenKey struct {
	pod      types.UID
	audience string
	seconds  int64
}

type token struct {
	value           string
	issued, expires time.Time
}

// maxTokenAge is when a token is renewed at the latest. Upstream's figure.
const maxTokenAge = 24 * time.Hour

// renewAt is when four fifths of the token's life are over.
func (t token) renewAt() time.Time {
	life := t.expires.Sub(t.issued)
	return t.issued.Add(min(life*4/5, maxTokenAge))
}

func (m *Manager) tokenFile(ctx context.Context, pod *corev1.Pod, s *corev1.ServiceAccountTokenProjection, mode *int32) (map[string]file, error) {
	seconds := int64(3600)
	if s.ExpirationSeconds != nil {
		seconds = *s.ExpirationSeconds
	}
	t, err := m.token(ctx, pod, tokenKey{pod.UID, s.Audience, seconds})
	if err != nil {
		return nil, fmt.Errorf("failed to fetch token: %w", err)
	}
	f := file{data: []byte(t.value), mode: fileMode(nil, mode)}
	if user := singleUser(pod); user != nil {
		f.mode, f.uid = 0o600, user
	} else if fsGroup(pod) != nil {
		f.mode = 0o600
	}
	return map[string]file{s.Path: f}, nil
}

// singleUser returns the user that every container of the pod runs as, if the spec fixes one.
func singleUser(pod *corev1.Pod) *int64 {
	var user *int64
	for _, cs := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range cs {
			var u *int64
			if sc := pod.Spec.SecurityContext; sc != nil {
				u = sc.RunAsUser
			}
			if sc := cs[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				u = sc.RunAsUser
			}
			if u == nil || (user != nil && *user != *u) {
				return nil
			}
			user = u
		}
	}
	return user
}

// token returns a current token, from memory or from the API.
func (m *Manager) token(ctx context.Context, pod *corev1.Pod, k tokenKey) (token, error) {
	m.mu.Lock()
	t, ok := m.tokens[k]
	m.mu.Unlock()
	if ok && time.Now().Before(t.renewAt()) {
		return t, nil
	}
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &k.seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	if k.audience != "" {
		req.Spec.Audiences = []string{k.audience}
	}
	sa := pod.Spec.ServiceAccountName
	if sa == "" {
		sa = "default"
	}
	req.Namespace, req.Name = pod.Namespace, sa
	issued := time.Now()
	obj, err := m.cfg.Client.CreateSubresource(ctx, api.ServiceAccounts.Resource, pod.Namespace, sa, "token", req)
	if err != nil {
		if ok && issued.Before(t.expires) {
			return t, nil // the old one still serves; it will be tried again
		}
		return token{}, err
	}
	st := obj.(*authenticationv1.TokenRequest).Status
	t = token{value: st.Token, issued: issued, expires: st.ExpirationTimestamp.Time}
	m.mu.Lock()
	m.tokens[k] = t
	m.mu.Unlock()
	select {
	case m.alarm <- struct{}{}:
	default:
	}
	return t, nil
}

// recall takes over the tokens that an earlier agent wrote for a pod, so that a restart of the agent does
// not ask for all of them anew.
func (m *Manager) recall(pod *corev1.Pod) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected == nil {
			continue
		}
		for _, s := range v.Projected.Sources {
			if s.ServiceAccountToken == nil || s.ServiceAccountToken.ExpirationSeconds == nil {
				continue
			}
			b, err := os.ReadFile(filepath.Join(m.dir(pod.UID, v), s.ServiceAccountToken.Path))
			if err != nil {
				continue
			}
			if t, ok := parseToken(string(b)); ok {
				m.mu.Lock()
				m.tokens[tokenKey{pod.UID, s.ServiceAccountToken.Audience, *s.ServiceAccountToken.ExpirationSeconds}] = t
				m.mu.Unlock()
			}
		}
	}
}

// parseToken reads a JWT's times. It trusts the file: only root can have written it.
func parseToken(s string) (token, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 {
		return token{}, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return token{}, false
	}
	var c struct {
		Exp int64 `json:"exp"`
		Iat int64 `json:"iat"`
	}
	if json.Unmarshal(raw, &c) != nil || c.Exp == 0 || c.Iat == 0 {
		return token{}, false
	}
	return token{value: s, issued: time.Unix(c.Iat, 0), expires: time.Unix(c.Exp, 0)}, true
}
