// Command csidriver runs the host-path CSI driver of the tests in a cluster: as a node's instance, which registers
// with the node, or as the controller that makes, attaches and resizes volumes, for which real drivers have sidecars.
// manifests has what deploys both.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"clipper/test/csidriver/hostpath"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	name := flag.String("name", "hostpath.csi.example.com", "of the driver")
	node := flag.String("node", "", "name of the node to serve; none: be the controller")
	data := flag.String("data", "/csi-data", "where the volumes lie")
	kubelet := flag.String("kubelet", "/var/lib/kubelet", "the node's directory")
	kubeconfig := flag.String("kubeconfig", "", "of the controller, when it runs outside of the cluster")
	group := flag.Bool("mount-group", false, "give volumes to the groups of pods")
	flag.Parse()
	run := func() error { return controller(ctx, *name, *data, *kubeconfig) }
	if *node != "" {
		d := &hostpath.Driver{Name: *name, NodeID: *node, Data: *data, MountGroup: *group}
		run = func() error { return serve(ctx, d, *kubelet) }
	}
	err := run()
	if err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "csidriver:", err)
		os.Exit(1)
	}
}

// serve serves a node and registers with it.
func serve(ctx context.Context, d *hostpath.Driver, kubelet string) error {
	socket := filepath.Join(kubelet, "plugins", d.Name, "csi.sock")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return d.Serve(ctx, socket) })
	g.Go(func() error {
		if err := hostpath.Wait(ctx, socket); err != nil {
			return err
		}
		return hostpath.Register(ctx, filepath.Join(kubelet, "plugins_registry", d.Name+"-reg.sock"), d.Name, socket)
	})
	return g.Wait()
}

func controller(ctx context.Context, name, data, kubeconfig string) error {
	cfg, err := rest.InClusterConfig()
	if kubeconfig != "" {
		cfg, err = clientcmd.BuildConfigFromFlags("", kubeconfig)
	}
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	slog.Info("The controller runs", "driver", name)
	return (&hostpath.Controller{Client: client, Name: name, Data: data}).Run(ctx)
}
