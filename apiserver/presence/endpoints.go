package presence

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"clipper/api"
	"clipper/store"
)

const (
	serviceName = "kubernetes"
	portName    = "https"
	// leaveTime is how long a server that ends tries to say so.
	leaveTime = 2 * time.Second
)

// reconcile renews this server's key and writes the addresses of all servers.
func (a *Announcer) reconcile(ctx context.Context) error {
	if err := a.keepKey(ctx); err != nil {
		return err
	}
	return a.publish(ctx, a.servers())
}

func (a *Announcer) key() store.Key {
	return store.Key{Resource: MasterLeases, Name: a.Address.Addr().String()}
}

// keepKey writes the key again: the store forgets it after MasterLeaseTTL.
func (a *Announcer) keepKey(ctx context.Context) error {
	ip := a.Address.Addr().String()
	w := store.Write{Key: a.key(), Object: &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Name: ip},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: ip}}}},
	}}
	if item, ok := a.Store.Get(a.key()); ok {
		w.Expect = item.Revision
	}
	_, err := a.Store.Commit(ctx, w)
	return err
}

// servers are the addresses of all servers that keep their keys, in order.
func (a *Announcer) servers() []netip.Addr {
	var out []netip.Addr
	a.Store.Snapshot(MasterLeases).Ascend("", store.Key{}, func(item *store.Item) bool {
		if ip, err := netip.ParseAddr(item.Key.Name); err == nil && ip.Is4() == a.Address.Addr().Is4() {
			out = append(out, ip)
		}
		return true
	})
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// leave takes this server out.
func (a *Announcer) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTime)
	defer cancel()
	item, ok := a.Store.Get(a.key())
	if !ok {
		return
	}
	_, err := a.Store.Commit(ctx, store.Write{Key: a.key(), Expect: item.Revision})
	if err == nil {
		own := func(ip netip.Addr) bool { return ip == a.Address.Addr() }
		err = a.publish(ctx, slices.DeleteFunc(a.servers(), own))
	}
	if err != nil {
		a.Log.Warn("other servers learn by themselves that this one is gone", "after", MasterLeaseTTL, "err", err)
	}
}

// publish writes the addresses into the objects that services are routed by.
func (a *Announcer) publish(ctx context.Context, servers []netip.Addr) error {
	return errors.Join(a.publishEndpoints(ctx, servers), a.publishSlice(ctx, servers))
}

func (a *Announcer) publishEndpoints(ctx context.Context, servers []netip.Addr) error {
	var want []corev1.EndpointSubset
	if len(servers) > 0 {
		subset := corev1.EndpointSubset{Ports: []corev1.EndpointPort{{Name: portName, Port: int32(a.Address.Port()), Protocol: corev1.ProtocolTCP}}}
		for _, ip := range servers {
			subset.Addresses = append(subset.Addresses, corev1.EndpointAddress{IP: ip.String()})
		}
		want = []corev1.EndpointSubset{subset}
	}
	have, ok := api.Endpoints.View(a.Client).Get(metav1.NamespaceDefault, serviceName)
	if !ok {
		_, err := api.Endpoints.Create(ctx, a.Client, &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: serviceName, Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"}},
			Subsets:    want,
		})
		return err
	}
	if equality.Semantic.DeepEqual(have.Subsets, want) {
		return nil
	}
	next := have.DeepCopy()
	next.Subsets = want
	_, err := api.Endpoints.Update(ctx, a.Client, next)
	return err
}

func (a *Announcer) publishSlice(ctx context.Context, servers []netip.Addr) error {
	var want []discoveryv1.Endpoint
	for _, ip := range servers {
		want = append(want, discoveryv1.Endpoint{Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}})
	}
	family := discoveryv1.AddressTypeIPv4
	if a.Address.Addr().Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	ports := []discoveryv1.EndpointPort{{Name: ptr.To(portName), Port: ptr.To(int32(a.Address.Port())), Protocol: ptr.To(corev1.ProtocolTCP)}}
	have, ok := api.EndpointSlices.View(a.Client).Get(metav1.NamespaceDefault, serviceName)
	if !ok {
		_, err := api.EndpointSlices.Create(ctx, a.Client, &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: serviceName, Labels: map[string]string{discoveryv1.LabelServiceName: serviceName}},
			AddressType: family, Endpoints: want, Ports: ports,
		})
		return err
	}
	if equality.Semantic.DeepEqual(have.Endpoints, want) && equality.Semantic.DeepEqual(have.Ports, ports) {
		return nil
	}
	next := have.DeepCopy()
	next.Endpoints, next.Ports = want, ports
	_, err := api.EndpointSlices.Update(ctx, a.Client, next)
	return err
}
