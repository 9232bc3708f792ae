package daemon

import (
	"context"
	"crypto/tls"
	"net/netip"
	"path/filepath"

	"golang.org/x/sync/errgroup"
	"k8s.io/apiserver/pkg/authentication/user"

	"clipper/api"
	"clipper/api/record"
	"clipper/apiserver/admission/all"
	"clipper/apiserver/allocate"
	"clipper/apiserver/authn"
	"clipper/apiserver/authz"
	"clipper/apiserver/reviews"
	"clipper/controllers"
	"clipper/controllers/nodeipam"
	"clipper/dns"
	"clipper/scheduler"
)

// guard puts admission and the reviews into the pipeline.
func (cp *controlPlane) guard(authenticator *authn.Authenticator, authorizer *authz.Authorizer) error {
	cp.allocator = allocate.New(cp.client, allocate.Config{ClusterIPs: []netip.Prefix{netip.MustParsePrefix(cp.options.ServiceCIDR)}})
	chain, err := all.New(cp.client, authorizer, cp.allocator)
	if err != nil {
		return err
	}
	cp.pipeline.Admit(chain)
	for resource, creater := range reviews.Creaters(reviews.Config{Client: cp.client, Authorizer: authorizer, Tokens: authenticator, Signer: cp.signer}) {
		cp.pipeline.Handle(resource, creater)
	}
	return nil
}

// runControllers starts what works on objects in the server's process.
func (cp *controlPlane) runControllers(ctx context.Context, group *errgroup.Group) {
	as := func(name string) api.Client {
		return cp.client.As(&user.DefaultInfo{Name: name, Groups: []string{user.AllAuthenticated}}, name[len("system:"):])
	}
	group.Go(func() error { return cp.allocator.Run(ctx) })
	group.Go(func() error { return controllers.RunAll(ctx, as(user.KubeControllerManager)) })
	group.Go(func() error {
		client := as(user.KubeScheduler)
		events := record.New(client, "default-scheduler", "")
		group.Go(func() error { return events.Run(ctx) })
		return scheduler.New(client, events).Run(ctx)
	})
	group.Go(func() error {
		client := as(user.KubeControllerManager)
		events := record.New(client, "cidrAllocator", "")
		group.Go(func() error { return events.Run(ctx) })
		return nodeipam.New(client, netip.MustParsePrefix(cp.options.PodCIDR), events).Run(ctx)
	})
	group.Go(func() error {
		return dns.NewPublisher(as(user.KubeControllerManager), netip.MustParsePrefix(cp.options.ServiceCIDR), nil).Run(ctx)
	})
}

// runNode runs a node in the server's process: on the store's own objects, with certificates of its own.
func (cp *controlPlane) runNode(ctx context.Context) error {
	name := cp.options.Node.Name
	serving, err := cp.pki.KubeletServing(filepath.Join(cp.options.Node.DataDir, "pki"), name, []string{name, cp.options.Node.IP})
	if err != nil {
		return err
	}
	m := machine{
		options:     cp.options.Node,
		client:      cp.client.As(&user.DefaultInfo{Name: "system:node:" + name, Groups: []string{user.NodesGroup, user.AllAuthenticated}}, "kubelet"),
		serviceCIDR: netip.MustParsePrefix(cp.options.ServiceCIDR),
		serving:     func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &serving, nil },
		clientCAs:   cp.pki.ClientCAs(),
	}
	return m.run(ctx)
}
