package join

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"clipper/apiserver/authn"
	"clipper/pki"
)

// sharedFiles are what all servers of a cluster have in common: its authorities, the key of service-account
// tokens, and how secrets are encrypted. Everything else each server makes from them.
var sharedFiles = []string{
	"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd-ca.crt", "etcd-ca.key", "sa.key", "encryption.yaml",
}

const (
	keysField = "server-keys" // of a bootstrap token's Secret: the files, sealed
	sealBytes = 32
)

// CreateServerToken makes a token with which a machine becomes a further server: it carries the key to the
// files of dir, which are left, sealed with it, in the token's Secret. Only the token's bearer may read that,
// and it goes when the token expires.
func CreateServerToken(ctx context.Context, clients kubernetes.Interface, dir, caHash string, life time.Duration, description string) (Token, error) {
	t, err := NewToken(caHash)
	if err != nil {
		return Token{}, err
	}
	key := make([]byte, sealBytes)
	rand.Read(key) // never fails
	t.Key = hex.EncodeToString(key)
	files, err := readShared(dir)
	if err != nil {
		return Token{}, err
	}
	sealed, err := t.seal(files)
	if err != nil {
		return Token{}, err
	}
	secret := t.BootstrapSecret(life, description, time.Now())
	secret.Data[keysField] = sealed
	secret, err = clients.CoreV1().Secrets(metav1.NamespaceSystem).Create(ctx, secret, metav1.CreateOptions{})
	if err != nil {
		return Token{}, fmt.Errorf("server token: store it as a secret in kube-system: %w", err)
	}
	return t, t.allow(ctx, clients, secret)
}

// allow lets the token's bearer read the token's own Secret.
func (t Token) allow(ctx context.Context, clients kubernetes.Interface, secret *corev1.Secret) error {
	meta := metav1.ObjectMeta{
		Namespace: metav1.NamespaceSystem, Name: "clipper:join-server:" + t.ID,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(secret, corev1.SchemeGroupVersion.WithKind("Secret"))},
	}
	role := &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{secret.Name}},
	}}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "system:bootstrap:" + t.ID}},
	}
	if _, err := clients.RbacV1().Roles(role.Namespace).Create(ctx, role, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("server token: let its bearer read its secret: %w", err)
	}
	if _, err := clients.RbacV1().RoleBindings(role.Namespace).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("server token: let its bearer read its secret: %w", err)
	}
	return nil
}

func readShared(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range sharedFiles {
		data, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case err == nil:
			files[name] = data
		case !errors.Is(err, fs.ErrNotExist): // not every cluster has all of them
			return nil, fmt.Errorf("server token: %w; run this on a server, as root, with its --data-dir", err)
		}
	}
	return files, nil
}

// FetchServerKeys fills dir with the files that the server at an address shares with the token's bearer. It does
// nothing if dir exists: this machine is a server already.
func FetchServerKeys(ctx context.Context, server, token, dir string) error {
	if _, err := os.Stat(filepath.Join(dir, caFile)); err == nil {
		return nil
	}
	server, err := normalize(server)
	if err != nil {
		return err
	}
	t, err := ParseToken(token)
	if err != nil {
		return err
	}
	if t.Key == "" {
		return errors.New("join: with this token one becomes a node, not a server; make one with `clipper token create --server` on a server")
	}
	ca, err := fetchAuthority(ctx, server, t)
	if err != nil {
		return err
	}
	files, err := t.fetch(ctx, &rest.Config{Host: server, BearerToken: t.Bearer(), TLSClientConfig: rest.TLSClientConfig{CAData: ca}, Timeout: callTimeout})
	if err != nil {
		return err
	}
	return writeShared(dir, files)
}

func (t Token) fetch(ctx context.Context, config *rest.Config) (map[string][]byte, error) {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("join: client of %s: %w", config.Host, err)
	}
	secret, err := clients.CoreV1().Secrets(metav1.NamespaceSystem).Get(ctx, authn.BootstrapTokenSecretPrefix+t.ID, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err) {
			err = fmt.Errorf("%w; the token may have expired: make another with `clipper token create --server` on a server", err)
		}
		return nil, fmt.Errorf("join: ask %s for the keys of the cluster: %w", config.Host, err)
	}
	return t.open(secret.Data[keysField])
}

// writeShared puts all files in place at once: a server that finds some of them would make the others anew.
func writeShared(dir string, files map[string][]byte) error {
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return fmt.Errorf("join: create directory %s: %w", parent, err)
	}
	work, err := os.MkdirTemp(parent, ".joining-*")
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	defer os.RemoveAll(work)
	for _, name := range sharedFiles {
		if data, ok := files[name]; ok {
			if err := pki.WriteFile(filepath.Join(work, name), data); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("join: %s holds something that is not a server's; move it away: %w", dir, err)
	}
	if err := os.Rename(work, dir); err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return nil
}

// seal encrypts files for the token's bearer.
func (t Token) seal(files map[string][]byte) ([]byte, error) {
	plain, err := json.Marshal(files)
	if err != nil {
		return nil, fmt.Errorf("server token: %w", err)
	}
	aead, err := t.aead()
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	return aead.Seal(nonce, nonce, plain, []byte(t.CAHash)), nil
}

func (t Token) open(sealed []byte) (map[string][]byte, error) {
	aead, err := t.aead()
	if err != nil {
		return nil, err
	}
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("join: the token's secret holds no keys of servers; make a token with `clipper token create --server`")
	}
	n := aead.NonceSize()
	plain, err := aead.Open(nil, sealed[:n], sealed[n:], []byte(t.CAHash))
	if err != nil {
		return nil, errors.New("join: the keys of the cluster are not sealed with this token; copy the whole token that `clipper token create --server` printed")
	}
	files := map[string][]byte{}
	if err := json.Unmarshal(plain, &files); err != nil {
		return nil, fmt.Errorf("join: keys of the cluster: %w", err)
	}
	return files, nil
}

func (t Token) aead() (cipher.AEAD, error) {
	key, err := hex.DecodeString(t.Key)
	if err != nil {
		return nil, fmt.Errorf("server token: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("server token: %w", err)
	}
	return cipher.NewGCM(block)
}
