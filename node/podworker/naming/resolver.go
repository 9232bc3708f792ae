package naming

import (
	"fmt"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Limits of a resolver file. Upstream's figures.
const (
	maxNameservers = 3
	maxSearch      = 32
	maxSearchChars = 2048
)

type resolver struct{ nameservers, search, options []string }

// resolverFile renders /etc/resolv.conf by dnsPolicy and dnsConfig.
func (n *Node) resolverFile(pod *corev1.Pod) (content string, omitted []string, err error) {
	own, err := os.ReadFile(n.ResolvConf)
	if err != nil && !os.IsNotExist(err) {
		return "", nil, fmt.Errorf("read the node's resolver file: %w", err)
	}
	node := parseResolver(string(own))
	r := node
	policy := pod.Spec.DNSPolicy
	cluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst && !pod.Spec.HostNetwork)
	switch {
	case policy == corev1.DNSNone:
		r = resolver{}
	case cluster && len(n.ClusterDNS) > 0:
		r = resolver{options: []string{"ndots:5"}}
		for _, ip := range n.ClusterDNS {
			r.nameservers = append(r.nameservers, ip.String())
		}
		d := n.ClusterDomain
		r.search = unique(append([]string{pod.Namespace + ".svc." + d, "svc." + d, d}, node.search...))
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.nameservers = unique(append(slices.Clone(r.nameservers), c.Nameservers...))
		r.search = unique(append(slices.Clone(r.search), c.Searches...))
		r.options = mergeOptions(r.options, c.Options)
	}
	r, omitted = r.limited()
	return r.String(), omitted, nil
}

// limited returns what of r a resolver takes notice of, and how to tell what it does not.
func (r resolver) limited() (resolver, []string) {
	var omitted []string
	search := slices.Clone(r.search[:min(len(r.search), maxSearch)])
	search = slices.DeleteFunc(search, func(d string) bool { return len(d) > validation.DNS1123SubdomainMaxLength })
	for len(strings.Join(search, " ")) > maxSearchChars {
		search = search[:len(search)-1]
	}
	if len(search) < len(r.search) {
		r.search = search
		omitted = append(omitted, "Search Line limits were exceeded, some search paths have been omitted, the applied search line is: "+strings.Join(r.search, " "))
	}
	if len(r.nameservers) > maxNameservers {
		r.nameservers = r.nameservers[:maxNameservers]
		omitted = append(omitted, "Nameserver limits were exceeded, some nameservers have been omitted, the applied nameserver line is: "+strings.Join(r.nameservers, " "))
	}
	return r, omitted
}

func unique(in []string) []string {
	var out []string
	for _, s := range in {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// mergeOptions lets the pod's options replace those of the same name.
func mergeOptions(have []string, add []corev1.PodDNSConfigOption) []string {
	out := slices.Clone(have)
	for _, o := range add {
		text := o.Name
		if o.Value != nil {
			text += ":" + *o.Value
		}
		i := slices.IndexFunc(out, func(s string) bool { n, _, _ := strings.Cut(s, ":"); return n == o.Name })
		if i >= 0 {
			out[i] = text
		} else {
			out = append(out, text)
		}
	}
	return out
}

func parseResolver(s string) resolver {
	var r resolver
	for line := range strings.Lines(s) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "nameserver":
			r.nameservers = append(r.nameservers, f[1])
		case "search":
			r.search = slices.DeleteFunc(f[1:], func(d string) bool { return d == "." })
		case "options":
			r.options = f[1:]
		}
	}
	return r
}

func (r resolver) String() string {
	var b strings.Builder
	if len(r.search) > 0 {
		b.WriteString("search " + strings.Join(r.search, " ") + "\n")
	}
	for _, n := range r.nameservers {
		b.WriteString("nameserver " + n + "\n")
	}
	if len(r.options) > 0 {
		b.WriteString("options " + strings.Join(r.options, " ") + "\n")
	}
	return b.String()
}
