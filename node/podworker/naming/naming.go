// Package naming gives a pod its name in the network, and writes the files by which its processes know names:
// /etc/hostname, /etc/hosts and /etc/resolv.conf.
package naming

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"clipper/node/runtime"
)

// A Node is what the node's pods have in common.
type Node struct {
	ClusterDNS    []netip.Addr // may be empty: pods then use the node's resolver
	ClusterDomain string
	ResolvConf    string // the node's resolver file
}

// Hostname returns the pod's host name and, where it has one, the domain that makes it fully qualified.
func (n *Node) Hostname(pod *corev1.Pod) (host, domain string) {
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
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, n.ClusterDomain)
	}
	return host, domain
}

// longestHostname is the kernel's limit.
const longestHostname = 64

// KernelHostname returns the name that the pod's kernel goes by.
func (n *Node) KernelHostname(pod *corev1.Pod) (string, error) {
	host, domain := n.Hostname(pod)
	if !ptr.Deref(pod.Spec.SetHostnameAsFQDN, false) || domain == "" {
		return host, nil
	}
	if host += "." + domain; len(host) > longestHostname {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)",
			host, longestHostname, len(host))
	}
	return host, nil
}

// The files in the pod's directory.
const (
	hostsName    = "etc-hosts"
	resolverName = "resolv.conf"
	hostnameName = "hostname"
)

// Write writes into dir the files that the containers of a pod with these addresses share. omitted tells the user what a
// resolver would not take notice of.
func (n *Node) Write(dir string, pod *corev1.Pod, ips []netip.Addr) (omitted []string, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("create pod directory: %w", err)
	}
	hosts, err := n.hostsFile(pod, ips)
	if err != nil {
		return nil, err
	}
	resolver, omitted, err := n.resolverFile(pod)
	if err != nil {
		return nil, err
	}
	host, err := n.KernelHostname(pod)
	if err != nil {
		return omitted, err
	}
	for name, content := range map[string]string{hostsName: hosts, resolverName: resolver, hostnameName: host + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return omitted, fmt.Errorf("write pod file: %w", err)
		}
	}
	return omitted, nil
}

// Mounts shows a container the files that Write has written into dir.
func Mounts(dir string, readOnly bool) []runtime.Mount {
	return []runtime.Mount{
		{Host: filepath.Join(dir, hostsName), Container: "/etc/hosts", ReadOnly: readOnly},
		{Host: filepath.Join(dir, resolverName), Container: "/etc/resolv.conf", ReadOnly: readOnly},
		{Host: filepath.Join(dir, hostnameName), Container: "/etc/hostname", ReadOnly: readOnly},
	}
}

// hostsFile renders /etc/hosts in the kubelet's layout: tools and tests look for its first line.
func (n *Node) hostsFile(pod *corev1.Pod, ips []netip.Addr) (string, error) {
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
		host, domain := n.Hostname(pod)
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
