package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"clipper/node/runtime"
	"clipper/node/status"
)

// networkNotReady is what a node says of itself until its pods can be given addresses. The words are the kubelet's.
const networkNotReady = "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:the pod network is being set up"

// askRuntime bounds how long the runtime may take to say what it can do.
const askRuntime = 10 * time.Second

// facts returns what the node says of itself from the start.
func (o *Options) facts(machine status.Machine) (status.Facts, error) {
	f := status.Facts{
		Name: o.NodeName, IPs: o.NodeIPs, Hostname: o.Hostname, Labels: o.Labels,
		Taints: slices.Concat(o.Taints, o.Config.RegisterWithTaints), ProviderID: o.Config.ProviderID,
		SharedDisk:      !*o.Config.LocalStorageCapacityIsolation,
		AttachesVolumes: !*o.Config.EnableControllerAttachDetach,
		MaxPods:         int64(o.Config.MaxPods), MaxImages: *o.Config.NodeStatusMaxImages,
		Machine: machine, RuntimeVersion: o.RuntimeName + "://" + o.RuntimeVersion,
		NotReady: map[status.Part]string{status.Network: networkNotReady}, Settling: true,
	}
	if o.Listener != nil {
		f.Port = listenPort(o.Listener)
	}
	teller, ok := o.Runtime.(runtime.FeatureTeller)
	if !ok {
		return f, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askRuntime)
	defer cancel()
	var err error
	if f.Runtime, err = teller.Features(ctx); err != nil {
		return f, fmt.Errorf("ask the runtime what it can do: %w", err)
	}
	return f, nil
}
