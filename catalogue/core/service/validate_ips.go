package service

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"clipper/catalogue/rule"
)

var (
	ipsPath      = specPath.Child("clusterIPs")
	familiesPath = specPath.Child("ipFamilies")
	policyPath   = specPath.Child("ipFamilyPolicy")
)

// ClusterIPFaults checks the addresses of a service and their families, and nothing else: what is wrong with
// these is said before any are given. old is nil on create.
func ClusterIPFaults(s, old *corev1.Service) field.ErrorList {
	f := &rule.Faults{}
	var was []string
	if old != nil {
		was = old.Spec.ClusterIPs
	}
	clusterIPs(f, &s.Spec, was)
	return f.List
}

// clusterIPs checks the addresses of a service and their families; was are those it had.
func clusterIPs(f *rule.Faults, s *corev1.ServiceSpec, was []string) {
	if s.Type == corev1.ServiceTypeExternalName {
		return
	}
	switch {
	case s.ClusterIP == "" && len(s.ClusterIPs) > 0:
		f.Invalid(ipsPath, s.ClusterIPs, "must be empty when `clusterIP` is not specified")
	case s.ClusterIP != "" && len(s.ClusterIPs) == 0:
		f.Required(ipsPath, "")
	case s.ClusterIP != "" && s.ClusterIPs[0] != s.ClusterIP:
		f.Invalid(ipsPath, s.ClusterIPs, "first value must match `clusterIP`")
	}
	families := rule.Seen[corev1.IPFamily]{}
	for i, family := range s.IPFamilies {
		rule.OneOf(f, familiesPath.Index(i), family, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if families.Again(family) {
			f.Duplicate(familiesPath.Index(i), family)
		}
	}
	if p := s.IPFamilyPolicy; p != nil {
		rule.OneOf(f, policyPath, *p, corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack)
	}
	before := len(f.List)
	for i, ip := range s.ClusterIPs {
		if i > 0 || ip != corev1.ClusterIPNone {
			f.IP(ipsPath.Index(i), ip, was...)
		} else if len(s.ClusterIPs) > 1 {
			f.Invalid(ipsPath, s.ClusterIPs, "'None' must be the first and only value")
		}
	}
	broken := len(f.List) > before
	if len(s.ClusterIPs) > 2 {
		f.Invalid(ipsPath, s.ClusterIPs, "may only hold up to 2 values")
	}
	if !broken && !isHeadless(s) {
		familiesOfIPs(f, s)
	}
}

func familiesOfIPs(f *rule.Faults, s *corev1.ServiceSpec) {
	if len(s.ClusterIPs) > 1 && isIPv6(s.ClusterIPs[0]) == isIPv6(s.ClusterIPs[1]) {
		f.Invalid(ipsPath, s.ClusterIPs, "may specify no more than one IP for each IP family")
	}
	for i, ip := range s.ClusterIPs {
		if i >= len(s.IPFamilies) {
			return
		}
		if six := s.IPFamilies[i] == corev1.IPv6Protocol; (six || s.IPFamilies[i] == corev1.IPv4Protocol) && six != isIPv6(ip) {
			f.Invalid(ipsPath.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%d]`", s.IPFamilies[i], i))
		}
	}
}

func isIPv6(ip string) bool {
	a, err := netip.ParseAddr(ip)
	return err == nil && a.Is6() && !a.Is4In6()
}

const once = "may not change once set"

// clusterIPsUpdate: a service keeps its first address; a second one may come and go with the policy.
func clusterIPsUpdate(f *rule.Faults, s, old *corev1.ServiceSpec) {
	if s.Type == corev1.ServiceTypeExternalName || old.Type == corev1.ServiceTypeExternalName || isHeadless(s) && isHeadless(old) {
		return
	}
	is, was := s.ClusterIPs, old.ClusterIPs
	switch {
	case len(was) == len(is):
		for i := range was {
			if was[i] != is[i] {
				f.Invalid(ipsPath.Index(i), is, once)
			}
		}
	case len(was) > len(is):
		if len(is) == 0 {
			f.Invalid(ipsPath.Index(0), is, "primary clusterIP can not be unset")
		} else if is[0] != was[0] {
			f.Invalid(ipsPath.Index(0), is, once)
		}
		if len(is) == 1 && !isSingleStack(s) {
			f.Invalid(policyPath, s.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary clusterIP")
		}
	case len(was) > 0 && is[0] != was[0]:
		f.Invalid(ipsPath.Index(0), is, once)
	}
}

func familiesUpdate(f *rule.Faults, s, old *corev1.ServiceSpec) {
	if s.Type == corev1.ServiceTypeExternalName || old.Type == corev1.ServiceTypeExternalName || isHeadless(s) || isHeadless(old) {
		return
	}
	is, was := s.IPFamilies, old.IPFamilies
	switch {
	case len(was) == len(is):
		for i := range was {
			if was[i] != is[i] {
				f.Invalid(familiesPath.Index(0), is, once)
			}
		}
	case len(was) > len(is):
		if len(s.ClusterIPs) == 0 {
			f.Invalid(familiesPath.Index(0), is, "primary ipFamily can not be unset")
		}
		if len(is) > 0 && is[0] != was[0] {
			f.Invalid(familiesPath.Index(0), s.ClusterIPs, once)
		}
		if len(is) == 1 && !isSingleStack(s) {
			f.Invalid(policyPath, s.IPFamilyPolicy, "must be set to 'SingleStack' when releasing the secondary ipFamily")
		}
	case len(was) > 0 && is[0] != was[0]:
		f.Invalid(familiesPath.Index(0), s.ClusterIPs, once)
	}
}

func isSingleStack(s *corev1.ServiceSpec) bool {
	return s.IPFamilyPolicy != nil && *s.IPFamilyPolicy == corev1.IPFamilyPolicySingleStack
}
