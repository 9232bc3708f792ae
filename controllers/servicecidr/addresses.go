package servicecidr

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/record"
	"clipper/apiserver/allocate"
	"clipper/controllers/owner"
	"clipper/controllers/queue"
)

const (
	// followTimeout bounds what a request about a service does to IPAddresses.
	followTimeout = 10 * time.Second
	// settling is how long the request that changed something is left to see to it itself.
	settling = time.Second
	// repairComponent is whom events about repairs name, as upstream's.
	repairComponent = "ipallocator-repair-controller"
)

// Addresses keep an IPAddress for every cluster IP of a service. Whoever has made a service finds its IPAddresses: the
// request that changes it makes and removes them, by Follow. Run repairs what is not as it should be: a server that died
// in between, somebody else's deletion, services that were there before. Every server does both, as upstream.
type Addresses struct {
	client    api.Client
	addresses api.TypedView[*networkingv1.IPAddress]
	services  api.TypedView[*corev1.Service]
	queue     *queue.Queue[key]
	events    *record.Recorder // of repairs: what a request does is no news
}

// A teller says that something had to be repaired.
type teller func(obj api.Object, reason, format string, args ...any)

func silent(api.Object, string, string, ...any) {}

func (k *Addresses) warn(obj api.Object, reason, format string, args ...any) {
	k.events.Event(obj, corev1.EventTypeWarning, reason, format, args...)
}

// A key names what needs work: an IPAddress, or a service.
type key struct {
	of string // the resource
	owner.Key
}

// NewAddresses returns the controller; Run starts it.
func NewAddresses(c api.Client) *Addresses {
	k := &Addresses{client: c, addresses: api.IPAddresses.View(c), services: api.Services.View(c), events: record.New(c, repairComponent, "")}
	k.queue = queue.New("servicecidr_addresses", workers, k.sync)
	return k
}

// Run works until ctx ends.
func (k *Addresses) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	var recording sync.WaitGroup
	defer recording.Wait()
	defer stop()
	recording.Go(func() { _ = k.events.Run(ctx) }) // it ends with ctx, and for no other reason
	return k.watch(ctx)
}

func (k *Addresses) watch(ctx context.Context) error {
	return k.queue.Run(ctx,
		queue.Source{View: k.services.View, Handle: func(e api.Event) {
			old, _ := e.Old.(*corev1.Service)
			next, _ := e.New.(*corev1.Service)
			k.look(old, next)
		}},
		queue.Source{View: k.addresses.View, Handle: func(e api.Event) {
			k.later(api.IPAddresses.Resource, owner.KeyOf(e.Object()))
			if ref := e.Object().(*networkingv1.IPAddress).Spec.ParentRef; ref != nil && e.Type != api.Added {
				k.later(api.Services.Resource, owner.Key{Namespace: ref.Namespace, Name: ref.Name})
			}
		}},
	)
}

// look has a service looked at if its addresses are others than before, and those that it had.
func (k *Addresses) look(old, next *corev1.Service) {
	had, has := addressesOf(old), addressesOf(next)
	if slices.Equal(had, has) {
		return
	}
	if len(has) > 0 {
		k.later(api.Services.Resource, owner.KeyOf(next))
	}
	for _, ip := range had {
		k.later(api.IPAddresses.Resource, owner.Key{Name: ip.String()})
	}
}

func (k *Addresses) later(r api.Resource, at owner.Key) { k.queue.AddAfter(key{r.Name, at}, settling) }

// Follow makes and removes the IPAddresses of a service that has changed, so that the client who asked for the change finds
// them: it implements pipeline.Follower. What fails is left to Run.
func (k *Addresses) Follow(ctx context.Context, was, is api.Object) {
	old, _ := was.(*corev1.Service)
	next, _ := is.(*corev1.Service)
	had, has := addressesOf(old), addressesOf(next)
	if slices.Equal(had, has) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followTimeout)
	defer cancel()
	var errs []error
	for _, ip := range had {
		if !slices.Contains(has, ip) {
			errs = append(errs, k.syncAddress(ctx, ip.String(), silent))
		}
	}
	for _, ip := range has {
		errs = append(errs, k.ensure(ctx, next, ip, silent))
	}
	if err := errors.Join(errs...); err != nil {
		slog.Debug("addresses of a service are not as they should be yet", "err", err)
	}
}

func (k *Addresses) sync(ctx context.Context, at key) error {
	if at.of == api.IPAddresses.Resource.Name {
		return k.syncAddress(ctx, at.Name, k.warn)
	}
	svc, ok := k.services.Get(at.Namespace, at.Name)
	if !ok {
		return nil
	}
	for _, ip := range addressesOf(svc) {
		if err := k.ensure(ctx, svc, ip, k.warn); err != nil {
			return err
		}
	}
	return nil
}

// ensure sees to the IPAddress of an address that svc holds. That of a service which held it before goes; somebody else's
// stays: the allocator gives no such address.
func (k *Addresses) ensure(ctx context.Context, svc *corev1.Service, ip netip.Addr, tell teller) error {
	want := addressFor(svc, ip)
	is, ok := k.addresses.Get("", want.Name)
	if ok {
		if equality.Semantic.DeepEqual(is.Spec, want.Spec) || is.Labels[networkingv1.LabelManagedBy] != allocate.ManagedBy {
			return nil
		}
		if err := k.remove(ctx, is); err != nil {
			return err
		}
	}
	_, err := api.IPAddresses.Create(ctx, k.client, want)
	switch {
	case apierrors.IsAlreadyExists(err):
		k.later(api.Services.Resource, owner.KeyOf(svc)) // its own, as a rule; or that of who held the address, on its way out
	case err != nil:
		return fmt.Errorf("service %s/%s: create IPAddress %s: %w", svc.Namespace, svc.Name, ip, err)
	case ok:
		tell(svc, "ClusterIPNotAllocated", "the ClusterIP [%v]: %s for Service %s/%s has a wrong reference; repairing", familyOf(ip), ip, svc.Namespace, svc.Name)
	default:
		tell(svc, "ClusterIPNotAllocated", "Cluster IP [%v]: %s is not allocated; repairing", familyOf(ip), ip)
	}
	return nil
}

// syncAddress removes an IPAddress whose service holds the address no more.
func (k *Addresses) syncAddress(ctx context.Context, name string, tell teller) error {
	address, ok := k.addresses.Get("", name)
	if !ok || address.Labels[networkingv1.LabelManagedBy] != allocate.ManagedBy || address.Spec.ParentRef == nil {
		return nil
	}
	ref := address.Spec.ParentRef
	if ref.Group != "" || ref.Resource != api.Services.Resource.Name {
		tell(address, "IPAddressNotAllocated", "IPAddress %s appears to have been modified, not referencing a Service %v: cleaning up", name, ref)
		return k.remove(ctx, address)
	}
	svc, ok := k.services.Get(ref.Namespace, ref.Name)
	if !ok {
		tell(address, "IPAddressNotAllocated", "IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", name, ref.Namespace, ref.Name)
		return k.remove(ctx, address)
	}
	if ip, err := netip.ParseAddr(name); err == nil && slices.Contains(addressesOf(svc), ip) {
		return nil
	}
	tell(address, "IPAddressWrongReference", "IPAddress: %s for Service %s/%s has a wrong reference; cleaning up", name, ref.Namespace, ref.Name)
	return k.remove(ctx, address)
}

func (k *Addresses) remove(ctx context.Context, a *networkingv1.IPAddress) error {
	err := api.IPAddresses.Delete(ctx, k.client, "", a.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(a.UID))})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("IPAddress %s: delete: %w", a.Name, err)
	}
	return nil
}
