package podworker

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
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

// longestHostname is the kernel's limit.
const longestHostname = 64

// kernelHostname returns the name that the pod's kernel goes by.
func kernelHostname(pod *corev1.Pod, clusterDomain string) (string, error) {
	host, domain := hostname(pod, clusterDomain)
	if !isTrue(pod.Spec.SetHostnameAsFQDN) || domain == "" {
		return host, nil
	}
	if host += "." + domain; len(host) > longestHostname {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)",
			host, longestHostname, len(host))
	}
	return host, nil
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
	host, err := kernelHostname(pod, w.cfg.ClusterDomain)
	if err != nil {
		return err
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
