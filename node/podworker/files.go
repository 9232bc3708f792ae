package podworker

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"clipper/node/runtime"
)

// hostname returns the pod's host name and, where it has one, the domain that makes it fully qualified.
func hostname(pod *corev1.Pod, clusterDomain string) (host, domain string) {
	if o := pod.Spec.HostnameOverride; o != nil && *o != "" {
		return *o, ""
	}
	host = pod.Name
	if pod.Spec.Hostname != "" {
		host = pod.Spec.Hostname
	}
	if len(host) > 63 { // the kernel's limit is 64, DNS's 63
		host = strings.TrimRight(host[:63], "-.")
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return host, domain
}

// writePodFiles writes the hosts and resolver files that the pod's containers share.
func (w *Worker) writePodFiles(pod *corev1.Pod, ips []netip.Addr) error {
	dir := w.podDir(pod)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("create pod directory: %w", err)
	}
	hosts, err := w.hostsFile(pod, ips)
	if err != nil {
		return err
	}
	resolv, err := w.resolvFile(pod)
	if err != nil {
		return err
	}
	host, domain := hostname(pod, w.cfg.ClusterDomain)
	if isTrue(pod.Spec.SetHostnameAsFQDN) && domain != "" {
		host += "." + domain
	}
	for name, content := range map[string]string{"etc-hosts": hosts, "resolv.conf": resolv, "hostname": host + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("write pod file: %w", err)
		}
	}
	return nil
}

// hostsFile renders /etc/hosts in the kubelet's layout: tools and tests look for its first line.
func (w *Worker) hostsFile(pod *corev1.Pod, ips []netip.Addr) (string, error) {
	var b strings.Builder
	if pod.Spec.HostNetwork {
		own, err := os.ReadFile("/etc/hosts")
		if err != nil {
			return "", fmt.Errorf("read the node's hosts file: %w", err)
		}
		b.WriteString("# Kubernetes-managed hosts file (host network).\n")
		b.Write(own)
	} else {
		b.WriteString("# Kubernetes-managed hosts file.\n" +
			"127.0.0.1\tlocalhost\n" +
			"::1\tlocalhost ip6-localhost ip6-loopback\n" +
			"fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n")
		host, domain := hostname(pod, w.cfg.ClusterDomain)
		for _, ip := range ips {
			if domain != "" {
				fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, host, domain, host)
			} else {
				fmt.Fprintf(&b, "%s\t%s\n", ip, host)
			}
		}
	}
	if len(pod.Spec.HostAliases) > 0 {
		b.WriteString("\n# Entries added by HostAliases.\n")
		for _, a := range pod.Spec.HostAliases {
			fmt.Fprintf(&b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
		}
	}
	return b.String(), nil
}

// Limits of a resolver file. Upstream's figures.
const (
	maxNameservers = 3
	maxSearch      = 32
	maxSearchChars = 2048
)

type resolver struct{ nameservers, search, options []string }

// resolvFile renders /etc/resolv.conf by dnsPolicy and dnsConfig.
func (w *Worker) resolvFile(pod *corev1.Pod) (string, error) {
	own, err := os.ReadFile(w.cfg.ResolvConf)
	if err != nil && !os.IsNotExist(err) {
		return "", fmt.Errorf("read the node's resolver file: %w", err)
	}
	node := parseResolver(string(own))
	r := node
	policy := pod.Spec.DNSPolicy
	cluster := policy == corev1.DNSClusterFirstWithHostNet || (policy == corev1.DNSClusterFirst && !pod.Spec.HostNetwork)
	switch {
	case policy == corev1.DNSNone:
		r = resolver{}
	case cluster && len(w.cfg.ClusterDNS) > 0:
		r = resolver{options: []string{"ndots:5"}}
		for _, ip := range w.cfg.ClusterDNS {
			r.nameservers = append(r.nameservers, ip.String())
		}
		d := w.cfg.ClusterDomain
		r.search = unique(append([]string{pod.Namespace + ".svc." + d, "svc." + d, d}, node.search...))
	}
	if c := pod.Spec.DNSConfig; c != nil {
		r.nameservers = unique(append(slices.Clone(r.nameservers), c.Nameservers...))
		r.search = unique(append(slices.Clone(r.search), c.Searches...))
		r.options = mergeOptions(r.options, c.Options)
	}
	return r.String(), nil
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
	if search := r.search[:min(len(r.search), maxSearch)]; len(search) > 0 {
		for len(strings.Join(search, " ")) > maxSearchChars {
			search = search[:len(search)-1]
		}
		b.WriteString("search " + strings.Join(search, " ") + "\n")
	}
	for _, n := range r.nameservers[:min(len(r.nameservers), maxNameservers)] {
		b.WriteString("nameserver " + n + "\n")
	}
	if len(r.options) > 0 {
		b.WriteString("options " + strings.Join(r.options, " ") + "\n")
	}
	return b.String()
}

// containerFiles are the files every container gets: hosts, resolver, host name, and the one for its last
// words.
func (w *Worker) containerFiles(pod *corev1.Pod, c *corev1.Container, attempt int) ([]runtime.Mount, error) {
	dir := w.podDir(pod)
	ro := isTrue(readOnlyRoot(c))
	out := []runtime.Mount{
		{Host: filepath.Join(dir, "etc-hosts"), Container: "/etc/hosts", ReadOnly: ro},
		{Host: filepath.Join(dir, "resolv.conf"), Container: "/etc/resolv.conf", ReadOnly: ro},
		{Host: filepath.Join(dir, "hostname"), Container: "/etc/hostname", ReadOnly: ro},
	}
	if c.TerminationMessagePath == "" {
		return out, nil
	}
	path := w.messageFile(pod, c.Name, attempt)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("create directory for termination messages: %w", err)
	}
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return nil, fmt.Errorf("create termination message file: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { // any user of the container may write, whatever our umask
		return nil, fmt.Errorf("create termination message file: %w", err)
	}
	return append(out, runtime.Mount{Host: path, Container: c.TerminationMessagePath}), nil
}

func readOnlyRoot(c *corev1.Container) *bool {
	if c.SecurityContext == nil {
		return nil
	}
	return c.SecurityContext.ReadOnlyRootFilesystem
}

func (w *Worker) messageFile(pod *corev1.Pod, container string, attempt int) string {
	return filepath.Join(w.podDir(pod), "containers", container, strconv.Itoa(attempt))
}
