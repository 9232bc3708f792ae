package networking

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"clipper/catalogue/rule"
)

const classAnnotation = "kubernetes.io/ingress.class"

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	f := &rule.Faults{}
	ingressSpec(f, &i.Spec)
	class, ok := i.Annotations[classAnnotation]
	if ok && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
		f.Invalid(field.NewPath("annotations").Child(classAnnotation), class, "must match `ingressClassName` when both are specified")
	}
	return f.List
}

func validateIngressUpdate(i, _ *networkingv1.Ingress) field.ErrorList {
	f := &rule.Faults{}
	ingressSpec(f, &i.Spec)
	return f.List
}

func ingressSpec(f *rule.Faults, s *networkingv1.IngressSpec) {
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		f.Invalid(specPath, s.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if s.DefaultBackend != nil {
		backend(f, s.DefaultBackend, specPath.Child("defaultBackend"))
	}
	for i := range s.Rules {
		ingressRule(f, &s.Rules[i], specPath.Child("rules").Index(i))
	}
	for i, t := range s.TLS {
		at := specPath.Child("tls").Index(i)
		for j, host := range t.Hosts {
			hostName(f, host, at.Child("hosts").Index(j))
		}
		if t.SecretName != "" {
			f.Each(at.Child("secretName"), t.SecretName, apivalidation.NameIsDNSSubdomain(t.SecretName, false))
		}
	}
	if s.IngressClassName != nil {
		f.DNSSubdomain(specPath.Child("ingressClassName"), *s.IngressClassName)
	}
}

func hostName(f *rule.Faults, host string, at *field.Path) {
	if strings.Contains(host, "*") {
		f.Each(at, host, utilvalidation.IsWildcardDNS1123Subdomain(host))
		return
	}
	f.Each(at, host, utilvalidation.IsDNS1123Subdomain(host))
}

func notAddress(f *rule.Faults, host string, at *field.Path) {
	if netutils.ParseIPSloppy(host) != nil {
		f.Invalid(at, host, "must be a DNS name, not an IP address")
	}
}

func ingressRule(f *rule.Faults, r *networkingv1.IngressRule, at *field.Path) {
	if r.Host != "" {
		notAddress(f, r.Host, at.Child("host"))
		hostName(f, r.Host, at.Child("host"))
	}
	if r.HTTP == nil {
		return
	}
	paths := at.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		f.Required(paths, "")
	}
	for i := range r.HTTP.Paths {
		httpPath(f, &r.HTTP.Paths[i], paths.Index(i))
	}
}

func httpPath(f *rule.Faults, p *networkingv1.HTTPIngressPath, at *field.Path) {
	if p.PathType == nil {
		f.Required(at.Child("pathType"), "pathType must be specified")
		return
	}
	absolute := strings.HasPrefix(p.Path, "/")
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !absolute {
			f.Invalid(at.Child("path"), p.Path, "must be an absolute path")
		}
		for _, part := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(p.Path, part) {
				f.Invalid(at.Child("path"), p.Path, fmt.Sprintf("must not contain '%s'", part))
			}
		}
		for _, end := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, end) {
				f.Invalid(at.Child("path"), p.Path, fmt.Sprintf("cannot end with '%s'", end))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !absolute {
			f.Invalid(at.Child("path"), p.Path, "must be an absolute path")
		}
	default:
		rule.OneOf(f, at.Child("pathType"), *p.PathType, networkingv1.PathTypeExact, networkingv1.PathTypePrefix, networkingv1.PathTypeImplementationSpecific)
	}
	backend(f, &p.Backend, at.Child("backend"))
}

func backend(f *rule.Faults, b *networkingv1.IngressBackend, at *field.Path) {
	switch {
	case b.Resource != nil && b.Service != nil:
		f.Invalid(at, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		reference(f, b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, at.Child("resource"))
	case b.Service != nil:
		s := b.Service
		if f.Need(at.Child("service", "name"), s.Name) {
			f.Each(at.Child("service", "name"), s.Name, apivalidation.NameIsDNSLabel(s.Name, false))
		}
		switch {
		case s.Port.Name != "" && s.Port.Number != 0:
			f.Invalid(at, "", "cannot set both port name & port number")
		case s.Port.Name != "":
			f.Each(at.Child("service", "port", "name"), s.Port.Name, utilvalidation.IsValidPortName(s.Port.Name))
		case s.Port.Number != 0:
			f.Port(at.Child("service", "port", "number"), s.Port.Number)
		default:
			f.Required(at, "port name or number is required")
		}
	default:
		f.Invalid(at, "", "resource or service backend is required")
	}
}

// reference checks a reference to an object of any kind.
func reference(f *rule.Faults, group *string, kind, name string, at *field.Path) {
	if group != nil {
		f.DNSSubdomain(at.Child("apiGroup"), *group)
	}
	segment(f, kind, at.Child("kind"))
	segment(f, name, at.Child("name"))
}

func segment(f *rule.Faults, value string, at *field.Path) {
	if f.Need(at, value) {
		f.Each(at, value, path.IsValidPathSegmentName(value))
	}
}

func validateIngressStatus(i, old *networkingv1.Ingress) field.ErrorList {
	f := &rule.Faults{}
	var was []string
	for _, ing := range old.Status.LoadBalancer.Ingress {
		was = append(was, ing.IP)
	}
	for j, ing := range i.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(j)
		if ing.IP != "" {
			f.IP(at.Child("ip"), ing.IP, was...)
		}
		if ing.Hostname != "" {
			f.DNSSubdomain(at.Child("hostname"), ing.Hostname)
			notAddress(f, ing.Hostname, at.Child("hostname"))
		}
	}
	return f.List
}

func ingressWarnings(i, old *networkingv1.Ingress) []string {
	if _, ok := i.Annotations[classAnnotation]; ok && old == nil && i.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
	}
	return nil
}

const maxController = 250

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	f := &rule.Faults{}
	if len(c.Spec.Controller) > maxController {
		f.Add(field.TooLong(specPath.Child("controller"), "", maxController))
	}
	f.Add(utilvalidation.IsDomainPrefixedPath(specPath.Child("controller"), c.Spec.Controller)...)
	p, at := c.Spec.Parameters, specPath.Child("parameters")
	if p == nil {
		return f.List
	}
	reference(f, p.APIGroup, p.Kind, p.Name, at)
	if p.Scope == nil {
		f.Required(at.Child("scope"), "")
		return f.List
	}
	const cluster, namespaced = networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace
	rule.OneOf(f, at.Child("scope"), *p.Scope, cluster, namespaced)
	switch {
	case *p.Scope == namespaced && p.Namespace == nil:
		f.Required(at.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
	case *p.Scope == namespaced:
		f.Each(at.Child("namespace"), *p.Namespace, apivalidation.ValidateNamespaceName(*p.Namespace, false))
	case *p.Scope == cluster && p.Namespace != nil:
		f.Forbidden(at.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
	}
	return f.List
}

func validateIngressClassUpdate(c, old *networkingv1.IngressClass) field.ErrorList {
	f := &rule.Faults{}
	f.Unchanged(specPath.Child("controller"), c.Spec.Controller, old.Spec.Controller)
	f.Add(validateIngressClass(c)...)
	return f.List
}

func validateIPAddress(a *networkingv1.IPAddress) field.ErrorList {
	f, p := &rule.Faults{}, a.Spec.ParentRef
	at := specPath.Child("parentRef")
	if p == nil {
		f.Required(at, "")
		return f.List
	}
	if p.Group != "" {
		f.DNSSubdomain(at.Child("group"), p.Group)
	}
	segment(f, p.Resource, at.Child("resource"))
	segment(f, p.Name, at.Child("name"))
	if p.Namespace != "" {
		segment(f, p.Namespace, at.Child("namespace"))
	}
	return f.List
}

func validateServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	f, at, list := &rule.Faults{}, specPath.Child("cidrs"), c.Spec.CIDRs
	if len(list) == 0 {
		f.Required(at, "at least one CIDR required")
		return f.List
	}
	if len(list) > 2 {
		f.Invalid(at, c.Spec, "may only hold up to 2 values")
		return f.List
	}
	for i, cidr := range list {
		f.Add(utilvalidation.IsValidCIDR(at.Index(i), cidr)...)
	}
	if len(list) == 2 && netutils.IPFamilyOfCIDRString(list[0]) == netutils.IPFamilyOfCIDRString(list[1]) &&
		netutils.IPFamilyOfCIDRString(list[0]) != netutils.IPFamilyUnknown {
		f.Invalid(at, list, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
	}
	return f.List
}

// validateServiceCIDRUpdate: a second range may be added, for the other family.
func validateServiceCIDRUpdate(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	f, at := &rule.Faults{}, specPath.Child("cidrs")
	is, was := c.Spec.CIDRs, old.Spec.CIDRs
	if len(is) != len(was) && (len(was) != 1 || len(is) != 2) {
		f.Invalid(at, is, rule.Immutable)
		return f.List
	}
	for i := range was {
		if is[i] != was[i] {
			f.Invalid(at.Index(i), is[i], rule.Immutable)
		}
	}
	if len(is) != len(was) {
		f.Add(validateServiceCIDR(c)...)
	}
	return f.List
}

// ipAddressName: the name of an IPAddress is the address.
func ipAddressName(name string, _ bool) []string {
	var out []string
	for _, fault := range utilvalidation.IsValidIP(&field.Path{}, name) {
		out = append(out, fault.Detail)
	}
	return out
}
