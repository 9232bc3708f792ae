package content

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"clipper/api/containers"
	"clipper/node/volume/fsgroup"
	"clipper/node/volume/token"
)

func (s *Source) tokenFile(ctx context.Context, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection, mode *int32) (map[string]file, error) {
	seconds := int64(3600)
	if p.ExpirationSeconds != nil {
		seconds = *p.ExpirationSeconds
	}
	t, err := s.Tokens.Get(ctx, pod, token.Request{Audience: p.Audience, Seconds: seconds})
	if err != nil {
		return nil, fmt.Errorf("failed to fetch token: %w", err)
	}
	f := file{data: []byte(t.Value), mode: fileMode(nil, mode)}
	if user := singleUser(pod); user != nil {
		f.mode, f.uid = 0o600, user
	} else if fsgroup.Of(pod) != nil {
		f.mode = 0o600
	}
	return map[string]file{p.Path: f}, nil
}

// singleUser returns the user that every container of the pod runs as, if the spec fixes one.
func singleUser(pod *corev1.Pod) *int64 {
	var user *int64
	for c := range containers.Of(&pod.Spec) {
		var u *int64
		if sc := pod.Spec.SecurityContext; sc != nil {
			u = sc.RunAsUser
		}
		if sc := c.SecurityContext; sc != nil && sc.RunAsUser != nil {
			u = sc.RunAsUser
		}
		if u == nil || (user != nil && *user != *u) {
			return nil
		}
		user = u
	}
	return user
}

// AdoptTokens takes over the tokens that an earlier agent wrote for a pod; dir says where a volume is.
func (s *Source) AdoptTokens(pod *corev1.Pod, dir func(*corev1.Volume) string) {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Projected == nil {
			continue
		}
		for _, p := range v.Projected.Sources {
			t := p.ServiceAccountToken
			if t == nil || t.ExpirationSeconds == nil {
				continue
			}
			if b, err := os.ReadFile(filepath.Join(dir(v), t.Path)); err == nil {
				s.Tokens.Adopt(pod.UID, token.Request{Audience: t.Audience, Seconds: *t.ExpirationSeconds}, string(b))
			}
		}
	}
}
