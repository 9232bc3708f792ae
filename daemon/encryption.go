package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/api"
	"clipper/apiserver/presence"
	"clipper/apiserver/served"
	"clipper/store"
	"clipper/store/encrypt"
)

const (
	// kmsPatience is how long a start waits for KMS plug-ins that start at the same time.
	kmsPatience = time.Minute
	// rewriteTime is how long one request to re-encrypt may work; whoever asks comes back for the rest.
	rewriteTime = 20 * time.Second
	// encryptionPath is where administrators see and drive the encryption of a running server.
	encryptionPath = "/clipper/encryption"
)

// EncryptionConfigPath is where a server keeps its own EncryptionConfiguration.
func EncryptionConfigPath(dataDir string) string {
	return filepath.Join(dataDir, "pki", "encryption.yaml")
}

// openEncryption reads how values are encrypted. The server's own configuration is made before anything is stored, so
// that a store that was used without it means that the file was lost.
func (cp *controlPlane) openEncryption(ctx context.Context, used bool) error {
	if cp.encryption != nil {
		return nil
	}
	file := cp.options.EncryptionConfig
	if file == "" {
		file = EncryptionConfigPath(cp.options.Node.DataDir)
		if err := encrypt.Ensure(file, filepath.Join(cp.options.Node.DataDir, "pki", "secrets.key"), used); err != nil {
			return err
		}
	}
	var err error
	if cp.encryption, err = encrypt.Open(ctx, file, presence.Identity(cp.options.Node.Name)); err != nil {
		return err
	}
	return cp.encryption.Await(ctx, kmsPatience)
}

// encryptionChecks are the parts of health that only some servers have: those with KMS plug-ins, and those that were
// asked to take over files, which may name plug-ins one day.
func (cp *controlPlane) encryptionChecks() map[string]func(context.Context) error {
	if reload := cp.options.EncryptionReload; (reload == nil || !*reload) && !cp.encryption.UsesKMS() {
		return nil
	}
	return map[string]func(context.Context) error{"kms-providers": cp.encryption.Check}
}

// encryptionHandler answers GET with the state of the encryption, and POST after it has written again what is stale.
// Either looks at the file first.
func (cp *controlPlane) encryptionHandler(live *served.Live) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := cp.encryption.Reload(r.Context())
		if err == nil && r.Method == http.MethodPost {
			err = cp.rewriteStale(r.Context(), live)
		}
		st := encrypt.Status{Hash: cp.encryption.Hash(), Stale: map[string]int{}}
		stale, serr := cp.store.StaleItems()
		for _, it := range stale {
			st.Stale[it.Key.Resource]++
		}
		var uerr error
		for _, k := range cp.store.Unreadable() {
			st.Stale[k.Resource]++
			uerr = fmt.Errorf("the value of %s cannot be read: no key in the file decrypts it, or it is spoilt", k.Path())
		}
		for _, err := range []error{err, serr, uerr} {
			if err != nil {
				st.Error = err.Error()
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(st) // the client may have gone; there is nobody to tell
	})
}

// rewriteStale writes stale objects again, unchanged, for a while.
func (cp *controlPlane) rewriteStale(ctx context.Context, live *served.Live) error {
	ctx, cancel := context.WithTimeout(ctx, rewriteTime)
	defer cancel()
	byPrefix := map[string]api.Resource{}
	for _, r := range live.Table().Resources {
		byPrefix[r.Prefix] = r.Resource
	}
	stale, err := cp.store.StaleItems()
	if err != nil {
		return err
	}
	for _, it := range stale {
		if ctx.Err() != nil {
			return nil // the rest is for the next request
		}
		if err := cp.rewrite(ctx, byPrefix[it.Key.Resource], it); err != nil {
			return fmt.Errorf("write %s again: %w", it.Key.Path(), err)
		}
	}
	return nil
}

// rewrite writes one object unchanged. Who writes or deletes it at the same time has done the work.
func (cp *controlPlane) rewrite(ctx context.Context, r api.Resource, it *store.Item) error {
	obj, err := cp.client.Get(ctx, r, it.Key.Namespace, it.Key.Name)
	if err == nil {
		_, err = cp.client.Update(ctx, r, "", obj.DeepCopyObject().(api.Object), metav1.UpdateOptions{})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// A RemoteEncryption drives the encryption of a running server. It implements encrypt.Server.
type RemoteEncryption struct {
	ctx    context.Context
	client rest.Interface
}

// DialEncryption returns the encryption of the server with this data directory, which must be running.
func DialEncryption(ctx context.Context, dataDir string) (*RemoteEncryption, error) {
	config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(dataDir, KubeconfigName))
	if err != nil {
		return nil, fmt.Errorf("read the administrator's kubeconfig: %w; run this on a server, as root, with its --data-dir", err)
	}
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return &RemoteEncryption{ctx, clients.Discovery().RESTClient()}, nil
}

// Status implements encrypt.Server.
func (e *RemoteEncryption) Status() (*encrypt.Status, error) { return e.ask(e.client.Get()) }

// Rewrite implements encrypt.Server.
func (e *RemoteEncryption) Rewrite() (*encrypt.Status, error) { return e.ask(e.client.Post()) }

func (e *RemoteEncryption) ask(r *rest.Request) (*encrypt.Status, error) {
	body, err := r.AbsPath(encryptionPath).DoRaw(e.ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the server about its encryption: %w", err)
	}
	st := &encrypt.Status{}
	if err := json.Unmarshal(body, st); err != nil {
		return nil, fmt.Errorf("ask the server about its encryption: %w", err)
	}
	return st, nil
}
