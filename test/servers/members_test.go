package servers

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// TestThreeServers lets three servers keep their state themselves: the second and third join the first, everyone sees
// what anyone wrote, and when one is killed, whichever it is, the others go on, controllers and all. The one that was
// killed comes back by itself.
func TestThreeServers(t *testing.T) {
	host := func(n int) string { return fmt.Sprintf("127.%d.%d.%d", 20+rand.IntN(200), rand.IntN(250), n) } // etcd's ports are fixed
	first := newServer(t, "s1", host(1), "--cluster-init")
	all := []*server{first}
	clients := []*kubernetes.Clientset{first.clients()}
	token := strings.TrimSpace(run(t, "token", "create", "--server", "--data-dir", first.dir))
	for n := 2; n <= 3; n++ {
		s := newServer(t, fmt.Sprint("s", n), host(n), "--join", "https://"+first.addr, "--token", token)
		all, clients = append(all, s), append(clients, s.clients())
	}
	for round, victim := range []int{0, 1, 2} {
		write(t, clients[victim], fmt.Sprint("before-", round))
		all[victim].kill()
		for n, c := range clients {
			if n == victim {
				continue
			}
			if _, err := c.CoreV1().ConfigMaps("default").Get(t.Context(), fmt.Sprint("before-", round), metav1.GetOptions{}); err != nil {
				retry(t, "read what the killed server wrote", func(ctx context.Context) error {
					_, err := c.CoreV1().ConfigMaps("default").Get(ctx, fmt.Sprint("before-", round), metav1.GetOptions{})
					return err
				})
			}
		}
		other := clients[(victim+1)%3]
		namespace := fmt.Sprint("during-", round)
		retry(t, "write without "+all[victim].name, func(ctx context.Context) error {
			_, err := other.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
			return err
		})
		retry(t, "have the controllers work without "+all[victim].name, func(ctx context.Context) error {
			_, err := clients[(victim+2)%3].CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
			return err
		})
		all[victim].start()
		clients[victim] = all[victim].clients()
		retry(t, "read at "+all[victim].name+", which is back", func(ctx context.Context) error {
			_, err := clients[victim].CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
			return err
		})
	}
}

func write(t *testing.T, c *kubernetes.Clientset, name string) {
	t.Helper()
	_, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// retry calls fn until it succeeds, for as long as an election of etcd and a lease of a leader may take.
func retry(t *testing.T, what string, fn func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := fn(ctx)
		if err == nil {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}
