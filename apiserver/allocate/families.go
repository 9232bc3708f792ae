package allocate

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	described "clipper/catalogue/core/service"
	"clipper/catalogue/rule"
)

var (
	ipsPath      = field.NewPath("spec", "clusterIPs")
	familiesPath = field.NewPath("spec", "ipFamilies")
	policyPath   = field.NewPath("spec", "ipFamilyPolicy")
)

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func other(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func sameFamilies(a, b *corev1.ServiceSpec) bool { return slices.Equal(a.IPFamilies, b.IPFamilies) }

func sameIPs(a, b *corev1.ServiceSpec) bool {
	return a.ClusterIP == b.ClusterIP && slices.Equal(a.ClusterIPs, b.ClusterIPs)
}

// setFamilies decides spec.ipFamilyPolicy and spec.ipFamilies. Faults are said as they are found, before
// anything is taken: the rest of the service is for validation.
func (t *taking) setFamilies() error {
	if !needsClusterIP(t.svc) || t.stillPrefers() {
		return nil
	}
	t.setPolicy()
	if faults := described.ClusterIPFaults(t.svc, t.old); len(faults) > 0 {
		return t.refuse(faults)
	}
	spec, f := &t.svc.Spec, &rule.Faults{}
	t.reduced(f)
	if single(spec) {
		if len(spec.ClusterIPs) == 2 {
			f.Invalid(policyPath, spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
		}
		if len(spec.IPFamilies) == 2 {
			f.Invalid(policyPath, spec.IPFamilyPolicy, "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
		}
	}
	t.familiesFromAddresses(f)
	if len(f.List) > 0 {
		return t.refuse(f.List)
	}
	// Whoever writes the endpoints of a headless service by hand may use both families, whatever the cluster has.
	byHand := headless(t.svc) && len(spec.Selector) == 0
	if !byHand {
		t.configured(f)
	}
	if len(f.List) > 0 {
		return t.refuse(f.List)
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{t.families[0].name}
	}
	if !single(spec) && len(spec.IPFamilies) == 1 && (byHand || len(t.families) == 2) {
		spec.IPFamilies = append(slices.Clone(spec.IPFamilies), other(spec.IPFamilies[0]))
	}
	return nil
}

func single(s *corev1.ServiceSpec) bool {
	return ptr.Deref(s.IPFamilyPolicy, "") == corev1.IPFamilyPolicySingleStack
}

func (t *taking) refuse(faults field.ErrorList) error {
	return apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, t.svc.Name, faults)
}

// stillPrefers says that an update leaves a service alone that takes two families where there are two: it
// does not get or lose one because the cluster did.
func (t *taking) stillPrefers() bool {
	if t.old == nil || t.svc.Spec.IPFamilyPolicy == nil || t.old.Spec.Type != t.svc.Spec.Type {
		return false
	}
	const prefer = corev1.IPFamilyPolicyPreferDualStack
	return *t.svc.Spec.IPFamilyPolicy == prefer && ptr.Deref(t.old.Spec.IPFamilyPolicy, prefer) == prefer &&
		sameIPs(&t.svc.Spec, &t.old.Spec) && sameFamilies(&t.svc.Spec, &t.old.Spec)
}

// setPolicy sets a policy where the client said none: the one from before, or what suits a new service.
func (t *taking) setPolicy() {
	spec := &t.svc.Spec
	switch {
	case spec.IPFamilyPolicy != nil:
	case t.old != nil && t.old.Spec.IPFamilyPolicy != nil:
		spec.IPFamilyPolicy = t.old.Spec.IPFamilyPolicy
	case headless(t.svc) && len(spec.Selector) == 0:
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	default:
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	}
}

// reduced lets go of the second address and family of a service that became single-stack, and refuses
// their going otherwise.
func (t *taking) reduced(f *rule.Faults) {
	if t.old == nil {
		return
	}
	is, was := &t.svc.Spec, &t.old.Spec
	if single(is) {
		if sameIPs(is, was) && len(is.ClusterIPs) > 1 {
			is.ClusterIPs = is.ClusterIPs[:1:1]
		}
		if sameFamilies(is, was) && len(is.IPFamilies) > 1 {
			is.IPFamilies = is.IPFamilies[:1:1]
		}
		return
	}
	if n := len(is.ClusterIPs); n > 0 && n < len(was.ClusterIPs) {
		f.Invalid(policyPath, is.IPFamilyPolicy, "must be 'SingleStack' to release the secondary cluster IP")
	}
	if n := len(is.IPFamilies); n > 0 && n < len(was.IPFamilies) {
		f.Invalid(policyPath, is.IPFamilyPolicy, "must be 'SingleStack' to release the secondary IP family")
	}
}

// familiesFromAddresses adds the families that the given addresses imply.
func (t *taking) familiesFromAddresses(f *rule.Faults) {
	spec := &t.svc.Spec
	for i, text := range spec.ClusterIPs {
		ip, err := netip.ParseAddr(text)
		if err != nil || i < len(spec.IPFamilies) { // None is no address
			continue
		}
		if name := familyOf(ip); t.family(name) == nil {
			f.Invalid(ipsPath.Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", name))
		} else {
			spec.IPFamilies = append(slices.Clone(spec.IPFamilies), name)
		}
	}
}

// configured refuses what the cluster does not have.
func (t *taking) configured(f *rule.Faults) {
	spec := &t.svc.Spec
	if *spec.IPFamilyPolicy == corev1.IPFamilyPolicyRequireDualStack && len(t.families) < 2 {
		f.Invalid(policyPath, spec.IPFamilyPolicy, "this cluster is not configured for dual-stack services")
	}
	for i, name := range spec.IPFamilies {
		if t.family(name) == nil {
			f.Invalid(familiesPath.Index(i), name, "not configured on this cluster")
		}
	}
}
