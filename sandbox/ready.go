package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// serverKubeconfig is the file by which a server lets its administrator in.
const serverKubeconfig = "admin.kubeconfig"

// pollEvery is how often a state is looked at that a fresh cluster reaches within a second.
const pollEvery = 20 * time.Millisecond

// controlPlaneReady waits for the server's kubeconfig and then for the API.
func (s Sandbox) controlPlaneReady(rec record) func(context.Context) error {
	return func(ctx context.Context) error {
		var config *clientcmdapi.Config
		err := poll(ctx, func() (bool, error) {
			c, err := clientcmd.LoadFromFile(filepath.Join(s.nodeDir(1), serverKubeconfig))
			config = c
			if errors.Is(err, os.ErrNotExist) {
				return false, nil
			}
			return err == nil && len(c.Clusters) > 0, err
		})
		if err != nil {
			return fmt.Errorf("wait for the server's kubeconfig: %w", err)
		}
		if err := s.writeKubeconfigs(config, rec.Port); err != nil {
			return err
		}
		client, err := s.client()
		if err != nil {
			return err
		}
		err = poll(ctx, func() (bool, error) {
			_, err := client.RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
			return err == nil, nil // why it is not is in its log
		})
		if err != nil {
			return fmt.Errorf("wait for the API: %w", err)
		}
		return nil
	}
}

// writeKubeconfigs derives from the server's kubeconfig the two that users get: one for this machine, one
// for the namespace that Exec uses.
func (s Sandbox) writeKubeconfigs(config *clientcmdapi.Config, port int) error {
	for path, server := range map[string]string{
		KubeconfigPath(s.Name): fmt.Sprintf("https://127.0.0.1:%d", port),
		s.insideKubeconfig():   fmt.Sprintf("https://%s:%d", nodeIP(1), apiPort),
	} {
		data, err := clientcmd.Write(*renamed(config, "clipper-"+s.Name, server))
		if err != nil {
			return fmt.Errorf("write kubeconfig: %w", err)
		}
		if err := writeFile(path, data); err != nil {
			return fmt.Errorf("write kubeconfig: %w", err)
		}
	}
	return nil
}

func (s Sandbox) insideKubeconfig() string { return s.path("kubeconfig.inside") }

// renamed returns config's current context under another name, so that it can be merged with others.
func renamed(config *clientcmdapi.Config, name, server string) *clientcmdapi.Config {
	out := clientcmdapi.NewConfig()
	current := config.Contexts[config.CurrentContext]
	if current == nil {
		current = &clientcmdapi.Context{}
	}
	cluster, user := clientcmdapi.NewCluster(), clientcmdapi.NewAuthInfo()
	if c := config.Clusters[current.Cluster]; c != nil {
		cluster = c.DeepCopy()
	}
	if a := config.AuthInfos[current.AuthInfo]; a != nil {
		user = a.DeepCopy()
	}
	cluster.Server, cluster.LocationOfOrigin, user.LocationOfOrigin = server, "", ""
	out.Clusters[name], out.AuthInfos[name] = cluster, user
	out.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name}
	out.CurrentContext = name
	return out
}

// Kubeconfig returns the kubeconfig by which this machine reaches the sandbox.
func (s Sandbox) Kubeconfig() ([]byte, error) {
	data, err := os.ReadFile(KubeconfigPath(s.Name))
	if errors.Is(err, os.ErrNotExist) {
		return nil, s.absent()
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox %s: %w", s.Name, err)
	}
	return data, nil
}

// MergeKubeconfig adds the sandbox's context to the user's own kubeconfig and makes it the current one.
func (s Sandbox) MergeKubeconfig() (path string, err error) {
	if _, err := s.Kubeconfig(); err != nil {
		return "", err
	}
	ours, err := clientcmd.LoadFromFile(KubeconfigPath(s.Name))
	if err != nil {
		return "", fmt.Errorf("sandbox %s: read kubeconfig: %w", s.Name, err)
	}
	access := clientcmd.NewDefaultPathOptions()
	theirs, err := access.GetStartingConfig()
	if err != nil {
		return "", fmt.Errorf("sandbox %s: merge kubeconfig: %w", s.Name, err)
	}
	for name := range ours.Contexts {
		theirs.Clusters[name], theirs.AuthInfos[name], theirs.Contexts[name] = ours.Clusters[name], ours.AuthInfos[name], ours.Contexts[name]
		theirs.CurrentContext = name
	}
	if err := clientcmd.ModifyConfig(access, *theirs, true); err != nil {
		return "", fmt.Errorf("sandbox %s: merge kubeconfig: %w", s.Name, err)
	}
	return access.GetDefaultFilename(), nil
}

func (s Sandbox) absent() error {
	return fmt.Errorf("sandbox %s: there is none of that name; 'clipper sandbox list' shows those there are, 'clipper sandbox create %s' makes it", s.Name, s.Name)
}

func (s Sandbox) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", KubeconfigPath(s.Name))
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Burst, config.Timeout = -1, -1, 5*time.Second
	return kubernetes.NewForConfig(config)
}

// nodesReady waits until the nodes of rec are Ready.
func (s Sandbox) nodesReady(rec record) func(context.Context) error {
	return func(ctx context.Context) error {
		client, err := s.client()
		if err != nil {
			return err
		}
		var pending []string
		err = poll(ctx, func() (bool, error) {
			list, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, nil // the next look may succeed, and the timeout tells
			}
			pending = notReady(list.Items, rec)
			return len(pending) == 0, nil
		})
		if err != nil {
			return fmt.Errorf("wait for %s: %w", strings.Join(pending, ", "), err)
		}
		return nil
	}
}

// notReady returns the names of those of rec's nodes that are missing or not Ready. What a node said before
// its process was started does not count: it is from before a crash or a reboot.
func notReady(nodes []corev1.Node, rec record) []string {
	var out []string
	for i := 1; i <= rec.Nodes; i++ {
		ready := slices.ContainsFunc(nodes, func(node corev1.Node) bool {
			return node.Name == nodeName(i) && slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
				return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && !c.LastHeartbeatTime.Time.Before(rec.Processes[i].Since)
			})
		})
		if !ready {
			out = append(out, nodeName(i))
		}
	}
	return out
}

func poll(ctx context.Context, ok func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if done, err := ok(); done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
