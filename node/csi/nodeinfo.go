package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	csipb "github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/csi-translation-lib/plugins"

	"clipper/api"
	"clipper/api/attachment"
	nodeplugins "clipper/node/plugins"
)

const (
	nodeIDs         = "csi.volume.kubernetes.io/nodeid"
	migratedPlugins = "storage.alpha.kubernetes.io/migrated-plugins"
)

// migrated lists the in-tree kinds of volumes that CSI drivers provide, as a kubelet tells it.
var migrated = strings.Join([]string{
	plugins.AWSEBSInTreePluginName, plugins.AzureDiskInTreePluginName, plugins.AzureFileInTreePluginName, plugins.CinderInTreePluginName,
	plugins.GCEPDInTreePluginName, plugins.PortworxVolumePluginName, plugins.VSphereInTreePluginName,
}, ",")

// Run tells the API about this node, at the beginning and when a driver wants it told anew, until ctx ends.
func (p *Plugin) Run(ctx context.Context) error {
	p.announceNode(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	last := map[string]time.Time{}
	for {
		timer.Reset(time.Until(p.refresh(ctx, last)))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		case <-p.changed:
		}
	}
}

// announceNode makes sure of the node's CSINode. It tries until that works: without it no volume is attached.
func (p *Plugin) announceNode(ctx context.Context) {
	for pause := 10 * time.Millisecond; ctx.Err() == nil; pause = min(6*pause, time.Minute) {
		err := p.changeCSINode(ctx, func(n *storagev1.CSINode) {})
		if err == nil || ctx.Err() != nil {
			return
		}
		slog.Warn("Publishing the CSINode failed; it will be tried again", "node", p.cfg.NodeName, "in", pause, "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// refresh asks drivers anew how many volumes there can be, as often as their objects say, and returns when to
// look again. last is when each was asked.
func (p *Plugin) refresh(ctx context.Context, last map[string]time.Time) time.Time {
	now := time.Now()
	next := now.Add(time.Hour)
	p.mu.Lock()
	drivers := maps.Clone(p.drivers)
	p.mu.Unlock()
	maps.DeleteFunc(last, func(name string, _ time.Time) bool { _, ok := drivers[name]; return !ok })
	for name, d := range drivers {
		obj, err := p.driverObject(ctx, name)
		if err != nil || obj == nil || obj.Spec.NodeAllocatableUpdatePeriodSeconds == nil {
			continue
		}
		every := time.Duration(*obj.Spec.NodeAllocatableUpdatePeriodSeconds) * time.Second
		if last[name].IsZero() {
			last[name] = now
		}
		if due := last[name].Add(every); now.Before(due) {
			next = earlier(next, due)
			continue
		}
		last[name] = now
		next = earlier(next, now.Add(every))
		p.recount(ctx, d)
	}
	return next
}

// Exhausted reports whether a volume waits to be attached because the node can have no more of the driver's. If so,
// the API is told how many it can have now: whoever placed the pod here has been told something else.
func (p *Plugin) Exhausted(ctx context.Context, v *Volume) bool {
	obj, err := p.driverObject(ctx, v.Driver)
	if err != nil || obj == nil || obj.Spec.NodeAllocatableUpdatePeriodSeconds == nil {
		return false
	}
	va, err := api.VolumeAttachments.Get(ctx, p.cfg.Client, "", attachment.Name(v.Driver, v.Handle, p.cfg.NodeName))
	if err != nil || va.Status.AttachError == nil || va.Status.AttachError.ErrorCode == nil || *va.Status.AttachError.ErrorCode != int32(codes.ResourceExhausted) {
		return false
	}
	if d, err := p.driver(v.Driver); err == nil {
		p.recount(ctx, d)
	}
	return true
}

// recount asks a driver anew how many volumes the node can have, and tells the API.
func (p *Plugin) recount(ctx context.Context, d nodeplugins.Plugin) {
	info, err := nodeInfo(ctx, d)
	if err == nil {
		err = p.changeCSINode(ctx, func(n *storagev1.CSINode) { setDriver(n, d.Name, info) })
	}
	if err != nil && ctx.Err() == nil {
		slog.Warn("Updating what a CSI driver can attach failed", "driver", d.Name, "err", err)
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// install tells the API what a driver says of this node.
func (p *Plugin) install(ctx context.Context, name string, info *csipb.NodeGetInfoResponse) error {
	topology := info.GetAccessibleTopology().GetSegments()
	err := p.changeNode(ctx, func(n *corev1.Node) error {
		for k, v := range topology {
			if have, ok := n.Labels[k]; ok && have != v {
				return fmt.Errorf("detected topology value collision: driver reported %q:%q but existing label is %q:%q", k, v, k, have)
			}
		}
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		maps.Copy(n.Labels, topology)
		return setNodeID(n, name, info.GetNodeId())
	})
	if err != nil {
		return fmt.Errorf("error updating Node object with CSI driver node info: %w", err)
	}
	if err := p.changeCSINode(ctx, func(n *storagev1.CSINode) { setDriver(n, name, info) }); err != nil {
		return fmt.Errorf("error updating CSINode object with CSI driver node info: %w", err)
	}
	return nil
}

// uninstall takes a driver off the node's objects. Labels stay: volumes' affinity is written in them.
func (p *Plugin) uninstall(ctx context.Context, name string) error {
	err := p.changeCSINode(ctx, func(n *storagev1.CSINode) {
		n.Spec.Drivers = slices.DeleteFunc(n.Spec.Drivers, func(d storagev1.CSINodeDriver) bool { return d.Name == name })
	})
	if err != nil {
		return fmt.Errorf("error uninstalling CSI driver from CSINode object %w", err)
	}
	if err := p.changeNode(ctx, func(n *corev1.Node) error { return setNodeID(n, name, "") }); err != nil {
		return fmt.Errorf("error removing CSI driver node info from Node object %w", err)
	}
	return nil
}

func (p *Plugin) changeNode(ctx context.Context, change func(*corev1.Node) error) error {
	p.objects.Lock()
	defer p.objects.Unlock()
	_, err := api.Nodes.Mutate(ctx, p.cfg.Client, "", p.cfg.NodeName, "", func(n *corev1.Node) (bool, error) {
		before := n.DeepCopy()
		err := change(n)
		return !apiequality.Semantic.DeepEqual(before.ObjectMeta, n.ObjectMeta), err
	})
	return err
}

// setNodeID notes how a driver calls the node; "" forgets it.
func setNodeID(n *corev1.Node, driver, id string) error {
	ids := map[string]string{}
	if have := n.Annotations[nodeIDs]; have != "" {
		if err := json.Unmarshal([]byte(have), &ids); err != nil {
			return fmt.Errorf("failed to parse node's %q annotation value (%q) err=%w", nodeIDs, have, err)
		}
	}
	if ids[driver] == id {
		return nil
	}
	if id == "" {
		delete(ids, driver)
	} else {
		ids[driver] = id
	}
	if len(ids) == 0 {
		delete(n.Annotations, nodeIDs)
		return nil
	}
	b, err := json.Marshal(ids)
	if err != nil {
		return err
	}
	metav1.SetMetaDataAnnotation(&n.ObjectMeta, nodeIDs, string(b))
	return nil
}

// setDriver notes what a driver says of the node.
func setDriver(n *storagev1.CSINode, name string, info *csipb.NodeGetInfoResponse) {
	d := storagev1.CSINodeDriver{Name: name, NodeID: info.GetNodeId(), TopologyKeys: slices.Sorted(maps.Keys(info.GetAccessibleTopology().GetSegments()))}
	if most := info.GetMaxVolumesPerNode(); most > 0 {
		count := int32(min(most, math.MaxInt32))
		d.Allocatable = &storagev1.VolumeNodeResources{Count: &count}
	}
	same := func(x storagev1.CSINodeDriver) bool { return x.Name == name }
	if i := slices.IndexFunc(n.Spec.Drivers, same); i >= 0 && apiequality.Semantic.DeepEqual(n.Spec.Drivers[i], d) {
		return
	}
	n.Spec.Drivers = append(slices.DeleteFunc(n.Spec.Drivers, same), d)
}

// changeCSINode changes the node's CSINode, which it makes if there is none, or if that of an earlier node of
// the same name is left.
func (p *Plugin) changeCSINode(ctx context.Context, change func(*storagev1.CSINode)) error {
	p.objects.Lock()
	defer p.objects.Unlock()
	node, err := api.Nodes.Get(ctx, p.cfg.Client, "", p.cfg.NodeName)
	if err != nil {
		return err
	}
	const attempts = 5 // conflicts with the garbage collector, which takes the object of an earlier node away
	for range attempts {
		if err = p.tryCSINode(ctx, node, change); !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return err
}

func (p *Plugin) tryCSINode(ctx context.Context, node *corev1.Node, change func(*storagev1.CSINode)) error {
	old, err := api.CSINodes.Get(ctx, p.cfg.Client, "", node.Name)
	if err == nil && !ownedBy(old, node.UID) {
		if err := api.CSINodes.DeleteThis(ctx, p.cfg.Client, old, metav1.DeleteOptions{}); err != nil {
			return err
		}
		err = apierrors.NewNotFound(api.CSINodes.GroupResource(), node.Name)
	}
	if apierrors.IsNotFound(err) {
		n := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: node.Name, Annotations: map[string]string{migratedPlugins: migrated},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}}}}
		change(n)
		_, err = api.CSINodes.Create(ctx, p.cfg.Client, n)
		return err
	}
	if err != nil {
		return err
	}
	n := old.DeepCopy()
	metav1.SetMetaDataAnnotation(&n.ObjectMeta, migratedPlugins, migrated)
	change(n)
	if apiequality.Semantic.DeepEqual(old, n) {
		return nil
	}
	_, err = api.CSINodes.Update(ctx, p.cfg.Client, n)
	return err
}

func ownedBy(n *storagev1.CSINode, uid types.UID) bool {
	return slices.ContainsFunc(n.OwnerReferences, func(r metav1.OwnerReference) bool { return r.Kind == "Node" && r.UID == uid })
}
