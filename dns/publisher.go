package dns

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"clipper/api"
	"clipper/node/network"
)

// Where the name service is published.
const (
	Namespace   = metav1.NamespaceSystem
	ServiceName = "kube-dns"
	managedBy   = "dns.clipper"
	perSlice    = 500 // endpoints; upstream's limit is 1000
)

// ServiceIP returns the cluster's DNS address: the tenth of the service CIDR, as kubeadm chooses it, or the last that
// a service can have in one that is too small for that.
func ServiceIP(serviceCIDR netip.Prefix) netip.Addr {
	a := serviceCIDR.Masked().Addr()
	for i := range 10 {
		next := a.Next()
		if i > 0 && !serviceCIDR.Contains(next.Next()) { // next is the last address, in IPv4 that of everybody
			break
		}
		a = next
	}
	return a
}

// A Publisher keeps the Service kube-dns and its endpoints. It runs where the controllers run.
type Publisher struct {
	client api.Client
	ip     netip.Addr
	log    *slog.Logger
}

// NewPublisher starts nothing; Run does.
func NewPublisher(client api.Client, serviceCIDR netip.Prefix, log *slog.Logger) *Publisher {
	if log == nil {
		log = slog.Default()
	}
	return &Publisher{client: client, ip: ServiceIP(serviceCIDR), log: log}
}

// Run publishes until ctx ends.
func (p *Publisher) Run(ctx context.Context) error {
	wake := make(chan struct{}, 1)
	poke := func(api.Event) {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return p.client.View(api.Nodes.Resource).Watch(ctx, func(e api.Event) {
			if changesEndpoint(e) {
				poke(e)
			}
		})
	})
	for _, kind := range []api.Resource{api.Services.Resource, api.EndpointSlices.Resource} {
		g.Go(func() error {
			return p.client.View(kind).Watch(ctx, func(e api.Event) {
				if e.Type == api.Synced || isOurs(e.Object()) {
					poke(e)
				}
			})
		})
	}
	g.Go(func() error { return p.loop(ctx, wake) })
	return g.Wait()
}

func isOurs(o api.Object) bool {
	return o.GetNamespace() == Namespace && strings.HasPrefix(o.GetName(), ServiceName)
}

// changesEndpoint keeps heartbeats from waking us.
func changesEndpoint(e api.Event) bool {
	if e.Old == nil || e.New == nil {
		return true
	}
	was, hadOne := endpointOf(e.Old.(*corev1.Node))
	now, hasOne := endpointOf(e.New.(*corev1.Node))
	return hadOne != hasOne || !equality.Semantic.DeepEqual(was, now)
}

func (p *Publisher) loop(ctx context.Context, wake <-chan struct{}) error {
	for _, kind := range []api.Resource{api.Nodes.Resource, api.Services.Resource, api.EndpointSlices.Resource} {
		if err := p.client.View(kind).WaitSynced(ctx); err != nil {
			return err
		}
	}
	const first, longest = 100 * time.Millisecond, 5 * time.Second
	delay := first
	for {
		var retry <-chan time.Time
		if err := p.publish(ctx); err != nil {
			p.log.Debug("cannot publish the cluster's DNS yet", "err", err, "retry", delay)
			retry, delay = time.After(delay), min(2*delay, longest)
		} else {
			delay = first
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-wake:
		case <-retry:
		}
	}
}

// publish brings the objects to what they should be.
func (p *Publisher) publish(ctx context.Context) error {
	svc, ok := api.Services.View(p.client).Get(Namespace, ServiceName)
	if !ok {
		_, err := api.Services.Create(ctx, p.client, p.service())
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("create service %s/%s: %w", Namespace, ServiceName, err)
		}
	}
	var nodes []*corev1.Node
	if svc == nil || len(svc.Spec.Selector) == 0 { // else somebody brought a DNS of their own
		nodes = api.Nodes.View(p.client).List("")
	}
	have := p.slices()
	for _, want := range slicesFor(nodes, have) {
		if err := p.write(ctx, want, have); err != nil {
			return fmt.Errorf("endpoint slice %s/%s: %w", Namespace, want.Name, err)
		}
	}
	return nil
}

func (p *Publisher) write(ctx context.Context, want *discoveryv1.EndpointSlice, have []*discoveryv1.EndpointSlice) error {
	i := slices.IndexFunc(have, func(s *discoveryv1.EndpointSlice) bool { return s.Name == want.Name })
	switch {
	case i < 0:
		if len(want.Endpoints) == 0 {
			return nil
		}
		_, err := api.EndpointSlices.Create(ctx, p.client, want)
		return err
	case len(want.Endpoints) == 0:
		err := api.EndpointSlices.Delete(ctx, p.client, Namespace, want.Name, metav1.DeleteOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	case equality.Semantic.DeepEqual(want.Endpoints, have[i].Endpoints) && equality.Semantic.DeepEqual(want.Ports, have[i].Ports):
		return nil
	}
	next := have[i].DeepCopy()
	next.Endpoints, next.Ports = want.Endpoints, want.Ports
	_, err := api.EndpointSlices.Update(ctx, p.client, next)
	return err
}

func (p *Publisher) service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: ServiceName, Labels: map[string]string{
			"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: p.ip.String(), ClusterIPs: []string{p.ip.String()},
			TrafficDistribution: new(corev1.ServiceTrafficDistributionPreferSameNode),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53, TargetPort: intstr.FromInt32(53)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: 53, TargetPort: intstr.FromInt32(53)},
			},
		},
	}
}

// slices returns the endpoint slices that we wrote.
func (p *Publisher) slices() []*discoveryv1.EndpointSlice {
	all := api.EndpointSlices.View(p.client).ByIndex(api.ByService, Namespace+"/"+ServiceName)
	return slices.DeleteFunc(slices.Clone(all), func(s *discoveryv1.EndpointSlice) bool { return s.Labels[discoveryv1.LabelManagedBy] != managedBy })
}

// slicesFor spreads the nodes' endpoints over slices. An endpoint stays in the slice that has it, so that one
// node's change is one slice's; a slice that should go comes back empty.
func slicesFor(nodes []*corev1.Node, have []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	want := map[string]discoveryv1.Endpoint{}
	var order []string
	for _, n := range nodes {
		if ep, ok := endpointOf(n); ok {
			want[n.Name], order = ep, append(order, n.Name)
		}
	}
	var out []*discoveryv1.EndpointSlice
	placed := map[string]bool{}
	for _, h := range have {
		s := newSlice(h.Name)
		for i := range h.Endpoints {
			name := h.Endpoints[i].NodeName
			if name == nil || placed[*name] {
				continue
			}
			if ep, ok := want[*name]; ok {
				s.Endpoints, placed[*name] = append(s.Endpoints, ep), true
			}
		}
		out = append(out, s)
	}
	for _, name := range order {
		if !placed[name] {
			s := roomy(&out)
			s.Endpoints = append(s.Endpoints, want[name])
		}
	}
	return out
}

// roomy returns a slice with room, a new one if there is none.
func roomy(all *[]*discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	used := map[string]bool{}
	for _, s := range *all {
		if len(s.Endpoints) < perSlice {
			return s
		}
		used[s.Name] = true
	}
	for i := 0; ; i++ {
		if name := fmt.Sprintf("%s-nodes-%d", ServiceName, i); !used[name] {
			s := newSlice(name)
			*all = append(*all, s)
			return s
		}
	}
}

func newSlice(name string) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{
			discoveryv1.LabelServiceName: ServiceName, discoveryv1.LabelManagedBy: managedBy}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: new("dns"), Protocol: new(corev1.ProtocolUDP), Port: new(int32(53))},
			{Name: new("dns-tcp"), Protocol: new(corev1.ProtocolTCP), Port: new(int32(53))},
		},
	}
}

// endpointOf is a node's name server: ready unless the node has not been heard of for a while. It does not
// wait for the node to be Ready, for a node becomes Ready after its DNS answers.
func endpointOf(n *corev1.Node) (discoveryv1.Endpoint, bool) {
	cidr, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil || !cidr.Addr().Is4() {
		return discoveryv1.Endpoint{}, false
	}
	ready := !slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionUnknown
	})
	return discoveryv1.Endpoint{
		Addresses:  []string{network.Gateway(cidr).String()},
		NodeName:   new(n.Name),
		Conditions: discoveryv1.EndpointConditions{Ready: new(ready), Serving: new(ready), Terminating: new(false)},
		Hints:      &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: n.Name}}},
		TargetRef:  &corev1.ObjectReference{Kind: "Node", Name: n.Name, UID: n.UID},
	}, true
}
