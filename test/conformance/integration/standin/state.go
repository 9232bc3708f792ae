package standin

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// duties are the leases without which the server neither controls nor schedules.
var duties = []string{"kube-controller-manager", "kube-scheduler"}

// holdDuties writes leases that somebody else holds for longer than any test takes.
func holdDuties(ctx context.Context, endpoints []string, root string) error {
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 20 * time.Second})
	if err != nil {
		return fmt.Errorf("reach the tests' etcd: %w", err)
	}
	defer client.Close()
	for _, name := range duties {
		value, err := json.Marshal(heldLease(name))
		if err != nil {
			return err
		}
		if _, err := client.Put(ctx, path.Join("/", root, "leases", metav1.NamespaceSystem, name), string(value)); err != nil {
			return fmt.Errorf("hold the lease %s: %w", name, err)
		}
	}
	return nil
}

func heldLease(name string) *coordinationv1.Lease {
	holder, seconds, now := "the tests", int32((24 * time.Hour).Seconds()), metav1.NowMicro()
	return &coordinationv1.Lease{
		TypeMeta:   metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: metav1.NamespaceSystem, CreationTimestamp: metav1.Now()},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now},
	}
}

// keys are those of the first server. All later ones of the process get them: several may share a state, and a server
// only takes a state whose servers have the same authority.
var keys struct {
	sync.Mutex
	files map[string][]byte
}

var keyFiles = []string{"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.key"}

// withKeys has start run a server in dir that has the keys. The first makes them, while others wait.
func withKeys(dir string, start func() error) error {
	keys.Lock()
	if keys.files == nil {
		defer keys.Unlock()
		err := start()
		if err == nil {
			keys.files, err = readKeys(dir)
		}
		return err
	}
	keys.Unlock()
	for name, content := range keys.files {
		if err := os.WriteFile(filepath.Join(dir, "pki", name), content, 0o600); err != nil {
			return err
		}
	}
	return start()
}

func readKeys(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range keyFiles {
		var err error
		if files[name], err = os.ReadFile(filepath.Join(dir, "pki", name)); err != nil {
			return nil, err
		}
	}
	return files, nil
}
