// Command dradriver is a DRA driver for tests, made with the library that real ones are made with. It offers some
// devices that are nothing but names, and gives a container a variable for each that it has, by a CDI file.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/dynamic-resource-allocation/resourceslice"
)

const (
	driverName = "dra.example.com"
	cdiKind    = driverName + "/claim"
)

func main() {
	d := driver{node: os.Getenv("NODE_NAME")}
	count := flag.Int("count", 4, "how many devices there are")
	flag.StringVar(&d.cdiDir, "cdi", "/var/run/cdi", "folder of CDI files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := d.run(ctx, *count); err != nil {
		slog.Error("The driver has failed", "err", err)
		os.Exit(1)
	}
}

type driver struct{ node, cdiDir string }

func (d *driver) run(ctx context.Context, count int) error {
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	dir := filepath.Join(kubeletplugin.KubeletPluginsDir, driverName)
	for _, path := range []string{dir, d.cdiDir} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	helper, err := kubeletplugin.Start(ctx, d, kubeletplugin.DriverName(driverName), kubeletplugin.KubeClient(client), kubeletplugin.NodeName(d.node))
	if err != nil {
		return err
	}
	defer helper.Stop()
	var devices []resourcev1.Device
	for i := range count {
		devices = append(devices, resourcev1.Device{Name: fmt.Sprint("dev-", i)})
	}
	pools := map[string]resourceslice.Pool{d.node: {Slices: []resourceslice.Slice{{Devices: devices}}}}
	if err := helper.PublishResources(ctx, resourceslice.DriverResources{Pools: pools}); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

func (d *driver) cdiFile(claim types.UID) string {
	return filepath.Join(d.cdiDir, strings.ReplaceAll(cdiKind, "/", "-")+"-"+string(claim)+".json")
}

// PrepareResourceClaims writes a CDI file for each claim, with a device for each of its devices.
func (d *driver) PrepareResourceClaims(_ context.Context, claims []*resourcev1.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	out := map[types.UID]kubeletplugin.PrepareResult{}
	for _, c := range claims {
		out[c.UID] = d.prepare(c)
		slog.Info("Prepared", "claim", c.Namespace+"/"+c.Name)
	}
	return out, nil
}

func (d *driver) prepare(c *resourcev1.ResourceClaim) (r kubeletplugin.PrepareResult) {
	type edits struct {
		Env []string `json:"env"`
	}
	type device struct {
		Name  string `json:"name"`
		Edits edits  `json:"containerEdits"`
	}
	var list []device
	for _, result := range c.Status.Allocation.Devices.Results {
		if result.Driver != driverName {
			continue
		}
		name := string(c.UID) + "-" + result.Device
		key := strings.ToUpper(strings.ReplaceAll(result.Request, "-", "_"))
		list = append(list, device{name, edits{[]string{"DRA_" + key + "=" + result.Device}}})
		r.Devices = append(r.Devices, kubeletplugin.Device{Requests: []string{result.Request}, PoolName: result.Pool, DeviceName: result.Device,
			CDIDeviceIDs: []string{cdiKind + "=" + name}})
	}
	data, err := json.Marshal(map[string]any{"cdiVersion": "0.5.0", "kind": cdiKind, "devices": list})
	if err == nil {
		err = os.WriteFile(d.cdiFile(c.UID), data, 0o644)
	}
	r.Err = err
	return r
}

// UnprepareResourceClaims removes the files.
func (d *driver) UnprepareResourceClaims(_ context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	out := map[types.UID]error{}
	for _, c := range claims {
		err := os.Remove(d.cdiFile(c.UID))
		if os.IsNotExist(err) {
			err = nil
		}
		out[c.UID] = err
		slog.Info("Put away", "claim", c.Namespace+"/"+c.Name, "err", err)
	}
	return out, nil
}

// HandleError tells of what goes wrong behind the scenes.
func (d *driver) HandleError(_ context.Context, err error, msg string) {
	slog.Warn(msg, "err", err)
}
