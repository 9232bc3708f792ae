// Package allocate gives services their cluster IPs, node ports and health-check node ports. It is an
// admission Mutator: what a create or update needs is taken before validation, and given back if the
// request fails after all. What the stored services hold is learned from the live view, at start and
// ever after, so that nothing needs to be kept or repaired beside the services themselves. Addresses come
// from the range that the server was started with and from every ServiceCIDR that is ready; those that an
// IPAddress keeps for something else are left alone. Package controllers/servicecidr makes these objects.
package allocate

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/api"
	"clipper/apiserver/admission"
)

// Config says what there is to give.
type Config struct {
	// ClusterIPs are the ranges of cluster IPs, one per IP family; the first is the default family.
	// Default: 10.96.0.0/16.
	ClusterIPs []netip.Prefix
	// FirstNodePort and LastNodePort bound the node ports. Default: 30000 to 32767.
	FirstNodePort, LastNodePort int32
	// Claims is needed where several servers share the services; nil: this is the only one.
	Claims Claims
	// Now is the clock; nil: the real one.
	Now func() time.Time
}

func (c *Config) ensureDefaults() {
	if len(c.ClusterIPs) == 0 {
		c.ClusterIPs = []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")}
	}
	if c.FirstNodePort == 0 && c.LastNodePort == 0 {
		c.FirstNodePort, c.LastNodePort = 30000, 32767
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

// An Allocator hands out addresses and ports. It works while Run runs.
type Allocator struct {
	synced   atomic.Bool // all services have been looked at once
	services api.TypedView[*corev1.Service]
	ranges   api.TypedView[*networkingv1.ServiceCIDR]
	kept     api.TypedView[*networkingv1.IPAddress]
	families []family
	ports    *pool[int32]
	portSpan span
	first    int32
	last     int32
	register register
}

// A family is the cluster IPs of one IP family.
type family struct {
	name  corev1.IPFamily
	first block // the one that the server was started with
	pool  *pool[netip.Addr]
}

// New returns an Allocator that knows what the services that c sees hold now.
func New(c api.Client, cfg Config) *Allocator {
	cfg.ensureDefaults()
	a := &Allocator{
		services: api.Services.View(c), ranges: api.ServiceCIDRs.View(c), kept: api.IPAddresses.View(c),
		first: cfg.FirstNodePort, last: cfg.LastNodePort,
		register: register{claims: cfg.Claims},
	}
	a.ports = newPool(cfg.Now, func(h types.NamespacedName, port int32) bool {
		svc, ok := a.services.Get(h.Namespace, h.Name)
		return ok && slices.Contains(portsOf(svc), port)
	})
	a.portSpan = portBands(uint64(cfg.LastNodePort - cfg.FirstNodePort + 1))
	for _, prefix := range cfg.ClusterIPs {
		f := family{name: familyOf(prefix.Addr()), first: newBlock(prefix)}
		f.pool = newPool(cfg.Now, func(h types.NamespacedName, ip netip.Addr) bool {
			svc, ok := a.services.Get(h.Namespace, h.Name)
			return ok && slices.Contains(addressesOf(svc), ip)
		})
		a.families = append(a.families, f)
	}
	for _, svc := range a.services.List("") {
		a.observe(nil, svc)
	}
	return a
}

// Run follows the services until ctx ends.
func (a *Allocator) Run(ctx context.Context) error {
	return a.services.Watch(ctx, func(e api.Event) {
		if e.Type == api.Synced {
			a.synced.Store(true)
			return
		}
		old, _ := e.Old.(*corev1.Service)
		next, _ := e.New.(*corev1.Service)
		a.observe(old, next)
		if next != nil {
			a.settled(next)
		}
	})
}

// Ready says whether the addresses and ports of all services that were there at the start are known.
func (a *Allocator) Ready(context.Context) error {
	if !a.synced.Load() {
		return errors.New("addresses and ports of services have not been read yet")
	}
	return nil
}

// observe records that a service changed from old to next; either may be nil.
func (a *Allocator) observe(old, next *corev1.Service) {
	for i := range a.families {
		settle(a.families[i].pool, old, next, addressesOf)
	}
	settle(a.ports, old, next, portsOf)
}

func settle[K comparable](p *pool[K], old, next *corev1.Service, values func(*corev1.Service) []K) {
	var now []K
	if next != nil {
		now = values(next)
		p.settle(name(next), now)
	}
	if old != nil {
		for _, v := range values(old) {
			if !slices.Contains(now, v) {
				p.release(name(old), v)
			}
		}
	}
}

func name(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

// addressesOf lists the cluster IPs that a service holds.
func addressesOf(svc *corev1.Service) []netip.Addr {
	if !needsClusterIP(svc) {
		return nil
	}
	var out []netip.Addr
	for _, s := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(s); err == nil {
			out = append(out, ip)
		}
	}
	return out
}

// portsOf lists the node ports that a service holds, the one for health checks included.
func portsOf(svc *corev1.Service) []int32 {
	var out []int32
	if needsNodePort(svc) {
		for _, p := range svc.Spec.Ports {
			if p.NodePort != 0 {
				out = append(out, p.NodePort)
			}
		}
	}
	if p := svc.Spec.HealthCheckNodePort; p != 0 {
		out = append(out, p)
	}
	return out
}

// Admit completes services. A service that validation will refuse anyway is left for it to explain.
func (a *Allocator) Admit(ctx context.Context, at *admission.Attributes) error {
	if !at.Is("", "services") || (at.Operation != admission.Create && at.Operation != admission.Update) {
		return nil
	}
	svc := at.Object.(*corev1.Service)
	old, _ := at.Old.(*corev1.Service)
	t := &taking{Allocator: a, ctx: ctx, svc: svc, old: old, dryRun: at.DryRun,
		holder: types.NamespacedName{Namespace: at.Namespace, Name: svc.Name}}
	if old == nil {
		if svc.Spec.ClusterIP != "" && len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
		}
	} else {
		t.holder = name(old)
		keepAllocated(svc, old)
		alignClusterIPs(svc, old)
	}
	at.Undo(t.undo)
	if err := t.take(); err != nil {
		return err // the pipeline calls undo
	}
	return nil
}

// A taking is what one request takes.
type taking struct {
	*Allocator
	ctx      context.Context // of the request
	svc, old *corev1.Service // old is nil on create
	holder   types.NamespacedName
	giveBack []func()
	dryRun   bool
	dryPorts []int32 // that a dry run has given
}

func (t *taking) undo() {
	for _, fn := range t.giveBack {
		fn()
	}
	t.giveBack = nil
}

func (t *taking) take() error {
	if err := t.setFamilies(); err != nil {
		return err
	}
	if err := t.takeClusterIPs(); err != nil {
		return err
	}
	if err := t.takeNodePorts(); err != nil {
		return err
	}
	return t.takeHealthCheckPort()
}

// invalid is a 422 about one field.
func (t *taking) invalid(fault *field.Error) error { return t.refuse(field.ErrorList{fault}) }

// needsClusterIP says whether addresses are there for svc; a type that is none is for validation to refuse, afterwards.
func needsClusterIP(svc *corev1.Service) bool { return svc.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func needsHealthCheckPort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func headless(svc *corev1.Service) bool { return svc.Spec.ClusterIP == corev1.ClusterIPNone }

// alignClusterIPs follows a client that changed clusterIP and does not know of clusterIPs.
func alignClusterIPs(svc, old *corev1.Service) {
	is, was := &svc.Spec, &old.Spec
	if is.ClusterIP == was.ClusterIP {
		if len(is.ClusterIPs) == 0 {
			is.ClusterIPs = slices.Clone(was.ClusterIPs)
		}
		return
	}
	if !slices.Equal(is.ClusterIPs, was.ClusterIPs) {
		return // it knows; validation looks at what it made of them
	}
	if is.ClusterIPs = nil; is.ClusterIP != "" {
		is.ClusterIPs = []string{is.ClusterIP}
	}
}

// keepAllocated carries over from old what an update leaves out and still needs: clients that wrote a
// manifest without the allocated values keep them.
func keepAllocated(svc, old *corev1.Service) {
	if needsClusterIP(old) && needsClusterIP(svc) {
		if svc.Spec.ClusterIP == "" {
			svc.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(svc.Spec.ClusterIPs) == 0 {
			svc.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if wantsNodePorts(old) && wantsNodePorts(svc) {
		keepNodePorts(svc.Spec.Ports, old.Spec.Ports)
	}
	if needsHealthCheckPort(old) && needsHealthCheckPort(svc) && svc.Spec.HealthCheckNodePort == 0 {
		svc.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// keepNodePorts gives ports the node ports that those of the same names had, unless others ask for these now.
func keepNodePorts(ports, old []corev1.ServicePort) {
	asked, had := map[int32]bool{}, map[string]int32{}
	for _, p := range ports {
		asked[p.NodePort] = true
	}
	for _, p := range old {
		had[p.Name] = p.NodePort
	}
	for i := range ports {
		if p := &ports[i]; p.NodePort == 0 && !asked[had[p.Name]] {
			p.NodePort = had[p.Name]
		}
	}
}

func (t *taking) takeHealthCheckPort() error {
	if !needsHealthCheckPort(t.svc) || t.old != nil && needsHealthCheckPort(t.old) {
		return nil // validation refuses to those who would change it
	}
	if want := t.svc.Spec.HealthCheckNodePort; want != 0 {
		if err := t.takePort(want); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %v", want, err))
		}
		return nil
	}
	port, err := t.takeAnyPort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %v", port, err))
	}
	t.svc.Spec.HealthCheckNodePort = port
	return nil
}
