package servicecidr

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"clipper/api"
	"clipper/api/apitest"
)

func cidr(name string, prefixes ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: prefixes}}
}

func TestPlanRange(t *testing.T) {
	now := time.Unix(1000, 0)
	deleted := func(ago time.Duration, c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDR {
		c.DeletionTimestamp, c.Finalizers = &metav1.Time{Time: now.Add(-ago)}, []string{Finalizer}
		return c
	}
	small := cidr("small", "10.0.0.0/28")
	for _, tt := range []struct {
		name   string
		c      *networkingv1.ServiceCIDR
		others []*networkingv1.ServiceCIDR
		used   string
		want   string
	}{
		{name: "new", c: cidr("a", "10.0.0.0/24"), want: "finalizer true, ready True"},
		{name: "deleted, unused", c: deleted(time.Minute, cidr("a", "10.0.0.0/24")), want: "finalizer false"},
		{name: "deleted just now", c: deleted(4*time.Second, cidr("a", "10.0.0.0/24")), want: "again 6s"},
		{name: "deleted, in use", c: deleted(time.Minute, cidr("a", "10.0.0.0/24")), used: "10.0.0.7", want: "ready False"},
		{name: "deleted, used elsewhere", c: deleted(time.Minute, cidr("a", "10.0.0.0/24")), used: "10.0.1.7", want: "finalizer false"},
		{name: "deleted, used where another has its broadcast address", c: deleted(time.Minute, cidr("a", "10.0.0.0/24")), others: []*networkingv1.ServiceCIDR{small}, used: "10.0.0.15", want: "ready False"},
		{name: "deleted, used inside another", c: deleted(time.Minute, cidr("a", "10.0.0.0/24")), others: []*networkingv1.ServiceCIDR{small}, used: "10.0.0.7", want: "finalizer false"},
		{name: "deleted, used beside another", c: deleted(time.Minute, cidr("a", "10.0.0.0/24")), others: []*networkingv1.ServiceCIDR{small}, used: "10.0.0.77", want: "ready False"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var used []netip.Addr
			if tt.used != "" {
				used = []netip.Addr{netip.MustParseAddr(tt.used)}
			}
			if got := describe(planRange(tt.c, append(tt.others, tt.c), used, now)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func describe(p plan) string {
	var out []string
	if p.finalizer != nil {
		out = append(out, map[bool]string{true: "finalizer true", false: "finalizer false"}[*p.finalizer])
	}
	if p.ready != nil {
		out = append(out, "ready "+string(p.ready.Status))
	}
	if p.again != 0 {
		out = append(out, "again "+p.again.String())
	}
	return strings.Join(out, ", ")
}

func TestObjectsFollowServices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		service := func(name string, ips ...string) *corev1.Service {
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIPs: ips}}
		}
		c.Add(api.ServiceCIDRs.Resource, cidr("kubernetes", "10.96.0.0/16"))
		c.Add(api.Services.Resource, service("web", "10.96.0.1", "fd00::1"), service("headless", corev1.ClusterIPNone))
		stale := addressFor(service("gone"), netip.MustParseAddr("10.96.0.9"))
		theirs := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.96.0.8"}, Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "gateways", Name: "g"}}}
		c.Add(api.IPAddresses.Resource, stale, theirs)
		ctx, cancel := context.WithCancel(t.Context())
		var group errgroup.Group
		group.Go(func() error { return New(c).Run(ctx) })
		group.Go(func() error { return NewAddresses(c).Run(ctx) })
		names := func() (out []string) {
			time.Sleep(settling)
			synctest.Wait()
			for _, a := range api.IPAddresses.View(c).List("") {
				out = append(out, a.Name)
			}
			return out
		}
		if got := names(); !slices.Equal(got, []string{"10.96.0.1", "10.96.0.8", "fd00::1"}) {
			t.Errorf("addresses: %v", got)
		}
		first, _ := api.IPAddresses.View(c).Get("", "10.96.0.1")
		if ref := first.Spec.ParentRef; ref.Namespace != "ns" || ref.Name != "web" || first.Labels[networkingv1.LabelIPAddressFamily] != "IPv4" {
			t.Errorf("address is %+v", first)
		}
		r, _ := api.ServiceCIDRs.View(c).Get("", "kubernetes")
		if !slices.Contains(r.Finalizers, Finalizer) || !meta.IsStatusConditionTrue(r.Status.Conditions, "Ready") {
			t.Errorf("range is %+v", r)
		}
		if err := api.IPAddresses.Delete(ctx, c, "", "10.96.0.1", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := names(); !slices.Contains(got, "10.96.0.1") {
			t.Errorf("an address in use was not made again: %v", got)
		}
		if err := api.Services.Delete(ctx, c, "ns", "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := names(); !slices.Equal(got, []string{"10.96.0.8"}) {
			t.Errorf("addresses without the service: %v", got)
		}
		if err := api.ServiceCIDRs.Delete(ctx, c, "", "kubernetes", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(notice + time.Second)
		if synctest.Wait(); len(api.ServiceCIDRs.View(c).List("")) != 0 {
			t.Error("the range stayed")
		}
		cancel()
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestFollow: a request leaves IPAddresses behind as its service needs them, without anything that runs.
func TestFollow(t *testing.T) {
	service := func(name string, ips ...string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIPs: ips}}
	}
	c := &apitest.Client{}
	k := NewAddresses(c)
	for _, tt := range []struct {
		was, is *corev1.Service
		want    string
	}{
		{nil, service("a", "10.96.0.1"), "10.96.0.1=a"},
		{service("a", "10.96.0.1"), service("a", "10.96.0.1", "fd00::1"), "10.96.0.1=a fd00::1=a"},
		{nil, service("headless", corev1.ClusterIPNone), "10.96.0.1=a fd00::1=a"},
		{service("a", "10.96.0.1", "fd00::1"), service("a", "10.96.0.1"), "10.96.0.1=a"},
		{nil, service("b", "10.96.0.1"), "10.96.0.1=b"}, // from a, whose address has not gone with it yet
		{service("b", "10.96.0.1"), nil, ""},
	} {
		if svc, ok := api.Services.View(c).Get("ns", "a"); ok && tt.is != nil && tt.is.Name == "b" {
			if err := api.Services.Delete(t.Context(), c, "ns", svc.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if tt.was != nil {
			if err := api.Services.Delete(t.Context(), c, "ns", tt.was.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		var was, is api.Object
		if tt.was != nil {
			was = tt.was
		}
		if tt.is != nil {
			is = tt.is
			c.Add(api.Services.Resource, tt.is)
		}
		k.Follow(t.Context(), was, is)
		var got []string
		for _, a := range api.IPAddresses.View(c).List("") {
			got = append(got, a.Name+"="+a.Spec.ParentRef.Name)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%v to %v: %v, want %s", was, is, got, tt.want)
		}
	}
}

// TestRepairsAreTold: what is repaired is told of the object it is about, with upstream's reasons and messages.
func TestRepairsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &apitest.Client{}
		service := func(name string, ips ...string) *corev1.Service {
			return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIPs: ips}}
		}
		address := func(name, ip string) *networkingv1.IPAddress {
			return addressFor(service(name), netip.MustParseAddr(ip))
		}
		elsewhere := address("g", "10.96.0.4")
		elsewhere.Spec.ParentRef = &networkingv1.ParentReference{Group: "example.com", Resource: "gateways", Name: "g"}
		c.Add(api.Services.Resource, service("missing", "10.96.0.1"), service("taken", "10.96.0.2"), service("fine", "10.96.0.6"))
		c.Add(api.IPAddresses.Resource, address("gone", "10.96.0.2"), address("gone", "10.96.0.3"), elsewhere, address("fine", "10.96.0.5"), address("fine", "10.96.0.6"))
		ctx, cancel := context.WithCancel(t.Context())
		var group errgroup.Group
		group.Go(func() error { return NewAddresses(c).Run(ctx) })
		time.Sleep(10 * settling)
		synctest.Wait()
		var got []string
		for _, e := range api.CoreEvents.View(c).List("") {
			got = append(got, fmt.Sprintf("%s %s %s %s: %s", e.Source.Component, e.Type, e.InvolvedObject.Kind+"/"+e.InvolvedObject.Name, e.Reason, e.Message))
		}
		slices.Sort(got)
		const by = "ipallocator-repair-controller Warning "
		want := []string{
			by + "IPAddress/10.96.0.3 IPAddressNotAllocated: IPAddress: 10.96.0.3 for Service ns/gone appears to have leaked: cleaning up",
			by + "IPAddress/10.96.0.4 IPAddressNotAllocated: IPAddress 10.96.0.4 appears to have been modified, not referencing a Service " + fmt.Sprint(elsewhere.Spec.ParentRef) + ": cleaning up",
			by + "IPAddress/10.96.0.5 IPAddressWrongReference: IPAddress: 10.96.0.5 for Service ns/fine has a wrong reference; cleaning up",
			by + "Service/missing ClusterIPNotAllocated: Cluster IP [IPv4]: 10.96.0.1 is not allocated; repairing",
		}
		got = slices.DeleteFunc(got, func(line string) bool { // whichever comes first finds it: the service, or its predecessor's address
			return strings.Contains(line, "10.96.0.2")
		})
		if !slices.Equal(got, want) {
			t.Errorf("told:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		cancel()
		group.Wait()
	})
}
