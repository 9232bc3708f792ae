package legacy

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
)

// service returns what fills in a service that was stored when it had one address, and no families: before 1.20, for the
// most part. What a headless one is given depends on the cluster's primary family.
func service(primary corev1.IPFamily) Upgrade {
	return func(obj api.Object) (api.Object, error) {
		s, ok := obj.(*corev1.Service)
		if !ok {
			return nil, fmt.Errorf("%T is no service", obj)
		}
		spec := &s.Spec
		if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = []string{spec.ClusterIP}
		}
		if spec.Type != corev1.ServiceTypeExternalName && len(spec.IPFamilies) == 0 {
			spec.IPFamilies, spec.IPFamilyPolicy = families(spec, primary)
		}
		return s, nil
	}
}

// families are those of a service that does not say. Nobody knows what the endpoints of one without selector are: it may
// have both.
func families(spec *corev1.ServiceSpec, primary corev1.IPFamily) ([]corev1.IPFamily, *corev1.IPFamilyPolicy) {
	single, both := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyRequireDualStack
	switch {
	case spec.ClusterIP != corev1.ClusterIPNone:
		var of []corev1.IPFamily
		for _, ip := range spec.ClusterIPs {
			of = append(of, family(ip))
		}
		switch len(of) {
		case 1:
			return of, &single
		case 2:
			return of, &both
		}
		return of, nil
	case len(spec.Selector) == 0 && primary == corev1.IPv6Protocol:
		return []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}, &both
	case len(spec.Selector) == 0:
		return []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, &both
	}
	return []corev1.IPFamily{primary}, &single
}

func family(ip string) corev1.IPFamily {
	if a, err := netip.ParseAddr(ip); err == nil && a.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}
