package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"clipper/api"
	"clipper/image/reference"
	"clipper/node/podworker"
	"clipper/node/runtime"
)

// objects reads what pods refer to. It asks the server rather than a view: a pod may arrive before a view
// shows what was made just before it.
type objects struct{ client api.Client }

func (o objects) ConfigMap(ctx context.Context, ns, name string) (*corev1.ConfigMap, error) {
	return api.ConfigMaps.Get(ctx, o.client, ns, name)
}

func (o objects) Secret(ctx context.Context, ns, name string) (*corev1.Secret, error) {
	return api.Secrets.Get(ctx, o.client, ns, name)
}

func (o objects) Services(ns string) []*corev1.Service {
	return api.Services.View(o.client).List(ns)
}

// pullSecrets finds the credentials that a pod has for a registry: in its own pull secrets, which admission
// has filled in from its service account.
type pullSecrets struct {
	podworker.Objects
	client api.Client
}

// dockerConfig is the content of a pull secret.
type dockerConfig map[string]struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

func (s pullSecrets) credentials(ctx context.Context, pod *corev1.Pod, image string) []runtime.PullAuth {
	ref, err := reference.Parse(image)
	if err != nil {
		return nil
	}
	var out []runtime.PullAuth
	for _, r := range pod.Spec.ImagePullSecrets {
		sec, err := s.Secret(ctx, pod.Namespace, r.Name)
		if err != nil {
			slog.Debug("A pull secret cannot be read", "pod", pod.Namespace+"/"+pod.Name, "secret", r.Name, "err", err)
			continue
		}
		for host, auth := range parsePullSecret(sec) {
			if hostMatches(host, ref) {
				out = append(out, auth)
			}
		}
	}
	return out
}

func parsePullSecret(sec *corev1.Secret) map[string]runtime.PullAuth {
	var cfg dockerConfig
	switch sec.Type {
	case corev1.SecretTypeDockerConfigJson:
		var f struct {
			Auths dockerConfig `json:"auths"`
		}
		if json.Unmarshal(sec.Data[corev1.DockerConfigJsonKey], &f) != nil {
			return nil
		}
		cfg = f.Auths
	case corev1.SecretTypeDockercfg:
		if json.Unmarshal(sec.Data[corev1.DockerConfigKey], &cfg) != nil {
			return nil
		}
	}
	out := map[string]runtime.PullAuth{}
	for host, e := range cfg {
		a := runtime.PullAuth{Username: e.Username, Password: e.Password, IdentityToken: e.IdentityToken, RegistryToken: e.RegistryToken}
		if raw, err := base64.StdEncoding.DecodeString(e.Auth); err == nil && a.Username == "" {
			a.Username, a.Password, _ = strings.Cut(string(raw), ":")
		}
		out[host] = a
	}
	return out
}

// hostMatches reports whether a pull secret's key covers an image: host, optional port and path prefix,
// with * standing for one label of the host.
func hostMatches(key string, ref reference.Ref) bool {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(key, "/"), "/v1"), "/v2")
	host, path, _ := strings.Cut(key, "/")
	if host == "index.docker.io" || host == "registry-1.docker.io" {
		host = "docker.io"
	}
	if path != "" && path != ref.Repository && !strings.HasPrefix(ref.Repository, path+"/") {
		return false
	}
	h, port := splitHost(host)
	rh, rport := splitHost(ref.Registry)
	if port != rport {
		return false
	}
	return slices.EqualFunc(strings.Split(h, "."), strings.Split(rh, "."), func(pat, label string) bool {
		ok, err := filepath.Match(pat, label)
		return ok && err == nil
	})
}

func splitHost(s string) (host, port string) {
	if h, p, err := net.SplitHostPort(s); err == nil {
		return h, p
	}
	return s, ""
}

// sweepLogs removes the logs of pods that are gone.
func (a *Agent) sweepLogs(known map[types.UID]bool) {
	entries, err := os.ReadDir(a.opts.LogsDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		i := strings.LastIndexByte(e.Name(), '_')
		if i < 0 || known[types.UID(e.Name()[i+1:])] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(a.opts.LogsDir, e.Name())); err != nil {
			slog.Warn("Removing logs of a pod that is gone failed", "err", err)
		}
	}
}
