package sandbox

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/node/network/netns"
	"clipper/pki"
)

// The tests' nodes are this test binary: it serves as much of the API as Create looks at, and leaves behind
// what a node leaves behind: a pod's process in a namespace and a cgroup of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && slices.Contains([]string{"server", "agent", "token", "pod"}, os.Args[1]) {
		if err := fakeNode(os.Args[1], os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type fakeFlags struct {
	dataDir, name, ip, cgroup, listen, server, config string
	fd                                                int
}

func fakeNode(kind string, args []string) error {
	var f fakeFlags
	fs := flag.NewFlagSet(kind, flag.ContinueOnError)
	fs.StringVar(&f.dataDir, "data-dir", "", "")
	fs.String("root-dir", "", "")
	fs.String("log-dir", "", "")
	fs.StringVar(&f.name, "node-name", "", "")
	fs.StringVar(&f.ip, "node-ip", "", "")
	fs.StringVar(&f.cgroup, "cgroup-root", "", "")
	fs.StringVar(&f.listen, "listen", "", "")
	fs.StringVar(&f.server, "server", "", "")
	fs.IntVar(&f.fd, "listen-fd", 0, "")
	fs.Int("node-cidr-mask-size", 0, "")
	fs.StringVar(&f.config, "kubelet-config", "", "")
	switch kind {
	case "token":
		fmt.Println("the-token")
		return nil
	case "pod":
		select {}
	}
	if err := fs.Parse(args); err != nil {
		return err
	}
	if host, err := os.Hostname(); err != nil || host != f.name {
		return fmt.Errorf("the host's name is %q on %s: %w", host, f.name, err)
	}
	if os.Getenv("FAKE_NODE_FAILS") == f.name {
		return fmt.Errorf("%s was told to fail", f.name)
	}
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(f.dataDir, "config-seen"), data, 0o600); err != nil {
			return err
		}
	}
	if f.fd > 0 {
		syscall.CloseOnExec(f.fd) // else a pod would keep the API's port
	}
	if err := f.startPod(); err != nil {
		return err
	}
	if kind == "server" {
		return f.serve()
	}
	if os.Getenv("CLIPPER_TOKEN") != "the-token" {
		return fmt.Errorf("token %q", os.Getenv("CLIPPER_TOKEN"))
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	resp, err := client.Post(f.server+"/join/"+f.name, "", nil)
	if err != nil {
		return err
	}
	resp.Body.Close()
	select {}
}

// startPod leaves a process that is in the sandbox by its cgroup alone, and one by its mounted namespace alone.
func (f fakeFlags) startPod() error {
	ns := filepath.Join(f.dataDir, "pod with space")
	if err := netns.Create(ns); err != nil {
		return err
	}
	inside := exec.Command(os.Args[0], "pod")
	if err := netns.Do(ns, inside.Start); err != nil {
		return err
	}
	byCgroup := exec.Command(os.Args[0], "pod")
	own := filepath.Join(f.dataDir, "temporary")
	if err := netns.Create(own); err != nil {
		return err
	}
	if err := netns.Do(own, byCgroup.Start); err != nil {
		return err
	}
	dir := filepath.Join("/sys/fs/cgroup/pids", f.cgroup, "pods", "burstable")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, byCgroup.Process.Pid), 0); err != nil {
		return err
	}
	return netns.Remove(own) // in this order, as with real pods: at no instant it is in neither
}

func (f fakeFlags) serve() error {
	cluster, err := pki.LoadOrCreate(filepath.Join(f.dataDir, "pki"), pki.Options{Hosts: []string{f.ip, "127.0.0.1"}, ClusterDomain: "cluster.local"})
	if err != nil {
		return err
	}
	inherited, err := net.FileListener(os.NewFile(uintptr(f.fd), "socket"))
	if err != nil {
		return err
	}
	own, err := net.Listen("tcp", f.listen)
	if err != nil {
		return err
	}
	var mu sync.Mutex
	ready := []string{f.name}
	mux := http.NewServeMux()
	mux.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("POST /join/{name}", func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		ready = append(ready, r.PathValue("name"))
	})
	mux.HandleFunc("/api/v1/nodes", func(w http.ResponseWriter, _ *http.Request) {
		list := corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}}
		mu.Lock()
		for _, n := range ready {
			list.Items = append(list.Items, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n},
				Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}}})
		}
		mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(bufio.NewWriterSize(w, 1)).Encode(list)
	})
	srv := http.Server{Handler: mux, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cluster.Serving}}}
	if err := cluster.WriteKubeconfig(filepath.Join(f.dataDir, "admin.kubeconfig"), "clipper", "https://127.0.0.1:6443"); err != nil {
		return err
	}
	go srv.ServeTLS(own, "", "")
	return srv.ServeTLS(inherited, "", "")
}
