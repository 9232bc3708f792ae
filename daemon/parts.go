package daemon

import (
	"context"
	"crypto/tls"
	"net/netip"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	serviceaccountuser "k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
	runningcontrollers "k8s.io/component-base/metrics/prometheus/controllers"

	"clipper/api"
	"clipper/api/record"
	"clipper/apiserver/admission/all"
	"clipper/apiserver/allocate"
	"clipper/apiserver/bootstrap"
	"clipper/apiserver/reviews"
	"clipper/catalogue"
	"clipper/controllers"
	"clipper/controllers/bootstraptoken"
	"clipper/controllers/certificates"
	"clipper/controllers/clusterrole"
	"clipper/controllers/complete"
	"clipper/controllers/horizontalpodautoscaler"
	"clipper/controllers/namespace"
	"clipper/controllers/nodeipam"
	"clipper/controllers/policystatus"
	"clipper/controllers/resourceclaim"
	"clipper/controllers/resourcequota"
	"clipper/controllers/rootca"
	"clipper/controllers/serviceaccount"
	"clipper/controllers/servicecidr"
	"clipper/controllers/tokensecret"
	"clipper/controllers/volumeprotection"
	"clipper/dns"
	"clipper/openapi"
	"clipper/scheduler"
)

// guard puts admission and the reviews into the pipeline.
func (cp *controlPlane) guard() error {
	cp.allocator = allocate.New(cp.client, allocate.Config{
		ClusterIPs: cp.services,
		Claims:     cp.claims,

		FirstNodePort: int32(cp.options.Front.NodePorts.Base),
		LastNodePort:  int32(cp.options.Front.NodePorts.Base + cp.options.Front.NodePorts.Size - 1),
	})
	self := cp.client.As(&user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}, "kube-apiserver")
	cp.addresses = servicecidr.NewAddresses(complete.Only(self))
	admission := cp.options.Admission
	admission.Self = cp.loopback()
	chain, err := all.New(cp.client, cp.authorizer, cp.allocator, admission)
	if err != nil {
		return err
	}
	cp.pipeline.Admit(chain)
	cp.pipeline.Follow(api.Services.Resource.GroupResource(), cp.addresses.Follow)
	cp.collectors = append(cp.collectors, chain.Collector())
	for resource, creater := range reviews.Creaters(reviews.Config{Client: cp.client, Authorizer: cp.authorizer, Tokens: cp.authenticator, Signer: cp.signer, Limits: cp.options.Identity.TokenLimits}) {
		cp.pipeline.Handle(resource, creater)
	}
	return nil
}

// runControllers starts what works on objects in the server's process.
func (cp *controlPlane) runControllers(ctx context.Context, group *errgroup.Group) {
	manager, scheduling := cp.as(user.KubeControllerManager), cp.as(user.KubeScheduler)
	group.Go(func() error { return cp.allocator.Run(ctx) })
	group.Go(func() error { return cp.addresses.Run(ctx) })
	group.Go(func() error { return bootstrap.Keep(ctx, cp.client, cp.beginnings()) })
	ranges := record.New(cp.client, servicecidr.DefaultComponent, "")
	group.Go(func() error { return ranges.Run(ctx) })
	group.Go(func() error {
		return servicecidr.NewDefault(complete.Only(cp.client), bootstrap.DefaultServiceCIDR(cp.services), ranges).Run(ctx)
	})
	group.Go(func() error {
		return cp.duty(ctx, manager, "kube-controller-manager", func(ctx context.Context, group *errgroup.Group) {
			cp.manage(ctx, group, manager)
		})
	})
	group.Go(func() error {
		return cp.duty(ctx, scheduling, "kube-scheduler", func(ctx context.Context, group *errgroup.Group) {
			events := record.New(scheduling, "default-scheduler", "")
			group.Go(func() error { return events.Run(ctx) })
			group.Go(func() error { return scheduler.New(scheduling, events).Run(ctx) })
		})
	})
}

// as returns a client in the name of one of upstream's components.
func (cp *controlPlane) as(name string) api.Client {
	return cp.client.As(&user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}, name[len("system:"):])
}

// manage starts the controllers in group.
func (cp *controlPlane) manage(ctx context.Context, group *errgroup.Group, manager api.Client) {
	group.Go(func() error { return controllers.RunAll(ctx, manager, cp.collected) })
	ca := cp.pki.CA.CertPEM
	described := func() []*catalogue.Resource { return cp.client.Table().Resources }
	for _, c := range []controllers.Controller{
		serviceaccount.New(complete.Only(manager)),
		rootca.New(complete.Only(manager), ca),
		tokensecret.New(complete.Only(manager), cp.signer, ca),
		namespace.New(manager, cp.client.Resources, cp.held),
		bootstraptoken.New(manager),
		resourcequota.New(complete.Only(manager), cp.client.Resources),
		volumeprotection.New(complete.Only(manager)),
		servicecidr.New(complete.Only(manager)),
		clusterrole.New(complete.Only(cp.client)), // makes roles that hold more than any controller may
		certificates.New(cp.client, cp.authorizer, cp.pki.CA, certificates.Reserved{Services: cp.services}),
		dns.NewPublisher(manager, nodeRange(cp.services), nil),
		policystatus.New(manager, described, openapi.Resolver{Resources: described}),
	} {
		group.Go(func() error { return c.Run(ctx) })
	}
	cp.runClaims(ctx, group)
	rescales := record.New(manager, "horizontal-pod-autoscaler", "")
	group.Go(func() error { return rescales.Run(ctx) })
	group.Go(func() error {
		return horizontalpodautoscaler.New(manager, cp.usage, scales{cp.client}, rescales).Run(ctx)
	})
	events := record.New(manager, "cidrAllocator", "")
	group.Go(func() error { return events.Run(ctx) })
	group.Go(func() error {
		const ipam = "nodeipam" // upstream says it of this one alone
		running := runningcontrollers.NewControllerManagerMetrics("kube-controller-manager")
		running.ControllerStarted(ipam)
		defer running.ControllerStopped(ipam)
		return nodeipam.New(complete.Only(manager), netip.MustParsePrefix(cp.options.PodCIDR), cp.options.NodeCIDRBits, events).Run(ctx)
	})
}

// runClaims starts the controller of resource claims in the name of an account of its own, as upstream: its role is what
// allows it to bind claims, and to release them.
func (cp *controlPlane) runClaims(ctx context.Context, group *errgroup.Group) {
	binder := cp.client.As(serviceaccountuser.UserInfo(metav1.NamespaceSystem, "resource-claim-controller", ""), "kube-controller-manager")
	events := record.New(binder, "resource_claim", "")
	group.Go(func() error { return events.Run(ctx) })
	group.Go(func() error { return resourceclaim.New(complete.Only(binder), events).Run(ctx) })
}

// runNode runs a node in the server's process: on the store's own objects, with certificates of its own.
func (cp *controlPlane) runNode(ctx context.Context) error {
	name := cp.options.Node.Name
	config, err := cp.options.Node.kubeletConfig()
	if err != nil {
		return err
	}
	serving, err := newServing(func() (tls.Certificate, error) {
		return cp.pki.KubeletServing(filepath.Join(cp.options.Node.DataDir, "pki"), name, []string{name, cp.options.Node.IP})
	})
	if err != nil {
		return err
	}
	m := machine{
		options:     cp.options.Node,
		client:      cp.client.As(&user.DefaultInfo{Name: "system:node:" + name, Groups: []string{user.NodesGroup, user.AllAuthenticated}}, "kubelet"),
		serviceCIDR: nodeRange(cp.services),
		serving:     serving.get,
		config:      config,
		clientCAs:   cp.pki.ClientCAs(),
	}
	return m.run(ctx)
}
