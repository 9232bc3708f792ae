package daemon

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/apiserver/bootstrap"
	"clipper/apiserver/configfile"
)

// authorities are whose certificates are believed, in PEM: the cluster's own and those of files.
type authorities struct{ clients, proxies []byte }

// trust reads the files.
func (cp *controlPlane) trust() (a authorities, err error) {
	o := &cp.options.Identity
	if a.clients, err = withFile(cp.pki.CA.CertPEM, "--client-ca-file", o.ClientCAFile); err != nil {
		return a, err
	}
	a.proxies, err = withFile(cp.pki.FrontProxyCA.CertPEM, "--requestheader-client-ca-file", o.ProxyCAFile)
	return a, err
}

// withFile adds the certificates of a file, if one is given, to those of the cluster.
func withFile(own []byte, flag, file string) ([]byte, error) {
	if file == "" {
		return own, nil
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	if !x509.NewCertPool().AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s %s: no PEM certificate in it", flag, file)
	}
	return slices.Concat(own, text), nil
}

func pool(certificates []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(certificates)
	return p
}

// publish writes what extension servers need to believe whom this server believes, in the form of their config map.
func (cp *controlPlane) publish(a authorities) (map[string]string, error) {
	out := map[string]string{"client-ca-file": string(a.clients), "requestheader-client-ca-file": string(a.proxies)}
	p := &cp.options.Identity.Proxy
	for key, list := range map[string][]string{
		"requestheader-allowed-names": cp.proxyNames(), "requestheader-username-headers": p.UserHeaders, "requestheader-uid-headers": p.UIDHeaders,
		"requestheader-group-headers": p.GroupHeaders, "requestheader-extra-headers-prefix": p.ExtraPrefixes,
	} {
		if key == "requestheader-uid-headers" && len(list) == 0 {
			continue // as upstream: servers that never heard of it find nothing new
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", key, err)
		}
		out[key] = string(text)
	}
	return out, nil
}

// followAuthorities takes the files over when they change, until ctx ends.
func (cp *controlPlane) followAuthorities(ctx context.Context) error {
	var taking sync.Mutex
	take := func(ctx context.Context) {
		taking.Lock()
		defer taking.Unlock()
		if err := cp.takeAuthorities(ctx); err != nil && ctx.Err() == nil {
			slog.Error("authorities of certificates not read again; those from before are believed on", "err", err)
		}
	}
	var following sync.WaitGroup
	for _, file := range []string{cp.options.Identity.ClientCAFile, cp.options.Identity.ProxyCAFile} {
		if file != "" {
			following.Go(func() { configfile.Follow(ctx, file, take) })
		}
	}
	following.Wait()
	<-ctx.Done()
	return ctx.Err()
}

func (cp *controlPlane) takeAuthorities(ctx context.Context) error {
	next, err := cp.trust()
	if err != nil || bytes.Equal(next.clients, cp.trusted.clients) && bytes.Equal(next.proxies, cp.trusted.proxies) {
		return err
	}
	entries, err := cp.publish(next)
	if err != nil {
		return err
	}
	cp.authenticator.TrustClients(pool(next.clients))
	cp.proxy.Trust(pool(next.proxies))
	_, err = api.ConfigMaps.Mutate(ctx, cp.client, metav1.NamespaceSystem, bootstrap.AuthenticationConfig, "", func(m *corev1.ConfigMap) (bool, error) {
		if m.Data == nil {
			m.Data = map[string]string{}
		}
		maps.Copy(m.Data, entries)
		return true, nil
	})
	if err != nil {
		return fmt.Errorf("tell extension servers: %w", err)
	}
	cp.trusted = next
	slog.Info("other authorities of certificates are believed")
	return nil
}
