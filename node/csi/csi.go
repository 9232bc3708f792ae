// Package csi lets drivers of the Container Storage Interface provide volumes on this node: it knows which
// drivers are there, tells the API about them, and has them stage, publish, expand, measure and take down
// volumes, at the paths and with the arguments that drivers expect of a v1.36 kubelet.
//
// What has been staged and published is written down beside it (vol_data.json, as upstream does), before
// the driver is asked. So an agent that was killed at any moment finds out by looking what may have to be undone,
// and undoes it without the API, which may know neither pod nor volume any more.
//
// Which pods use what, and when, is package volume's business.
package csi

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"clipper/api"
	"clipper/api/attachment"
	"clipper/node/kubeletdir"
	"clipper/node/plugins"
)

// pluginName is what messages and paths call all drivers together.
const pluginName = "kubernetes.io/csi"

// callTimeout bounds one operation of a driver. Upstream's figure.
const callTimeout = 2 * time.Minute

// Config is what a Plugin needs. All fields are required.
type Config struct {
	Client   api.Client
	NodeName string
	Dir      kubeletdir.Dir
	// Tokens returns service-account tokens of a pod, in the form in which drivers are given them.
	Tokens func(ctx context.Context, pod *corev1.Pod, requests []storagev1.TokenRequest) (string, error)
	// Registered is called when a driver has become usable.
	Registered func(driver string)
}

// A Plugin is the node's side of all CSI drivers. Its methods may be called concurrently.
type Plugin struct {
	cfg Config

	mu      sync.Mutex
	drivers map[string]plugins.Plugin // by name
	changed chan struct{}             // drivers has

	objects sync.Mutex // one change of the Node and its CSINode at a time
}

// New returns a Plugin without drivers. Run looks after what it tells the API.
func New(cfg Config) *Plugin {
	return &Plugin{cfg: cfg, drivers: map[string]plugins.Plugin{}, changed: make(chan struct{}, 1)}
}

// errorf words an error as drivers' users know it.
func errorf(format string, args ...any) error {
	return fmt.Errorf(pluginName+": "+format, args...)
}

// driverObject returns what the API says of a driver, nil if nothing: the object is optional.
func (p *Plugin) driverObject(ctx context.Context, name string) (*storagev1.CSIDriver, error) {
	d, err := api.CSIDrivers.Get(ctx, p.cfg.Client, "", name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get CSIDriver %s: %w", name, err)
	}
	return d, nil
}

// NeedsAttach reports whether a driver's volumes have to be attached before they can be staged.
func (p *Plugin) NeedsAttach(ctx context.Context, driver string) (bool, error) {
	d, err := p.driverObject(ctx, driver)
	return err == nil && (d == nil || d.Spec.AttachRequired == nil || *d.Spec.AttachRequired), err
}

// secret returns the content of a Secret as drivers are given it.
func (p *Plugin) secret(ctx context.Context, ref *corev1.SecretReference) (map[string]string, error) {
	out := map[string]string{}
	if ref == nil {
		return out, nil
	}
	s, err := api.Secrets.Get(ctx, p.cfg.Client, ref.Namespace, ref.Name)
	if err != nil {
		return nil, errorf("failed to find the secret %s in the namespace %s with error: %w", ref.Name, ref.Namespace, err)
	}
	for k, v := range s.Data {
		out[k] = string(v)
	}
	return out, nil
}

// publishContext returns what attaching the volume has told, once it is attached.
func (p *Plugin) publishContext(ctx context.Context, v *Volume) (map[string]string, error) {
	needed, err := p.NeedsAttach(ctx, v.Driver)
	if err != nil || !needed {
		return nil, err
	}
	name := attachment.Name(v.Driver, v.Handle, p.cfg.NodeName)
	va, err := api.VolumeAttachments.Get(ctx, p.cfg.Client, "", name)
	if err != nil {
		return nil, fmt.Errorf("volume %v has GET error for volume attachment %v: %w", v.Handle, name, err)
	}
	switch {
	case va.DeletionTimestamp != nil:
		return nil, fmt.Errorf("volume attachment is being deleted")
	case va.Status.Attached:
		return va.Status.AttachmentMetadata, nil
	case va.Status.AttachError != nil:
		return nil, fmt.Errorf("%s", va.Status.AttachError.Message)
	}
	return nil, fmt.Errorf("volume %v is not attached for volume attachment %v", v.Handle, name)
}
