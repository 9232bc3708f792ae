package certificates

import (
	"context"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// approval says why a request is approved at once; "" leaves it to a person.
func (k *Controller) approval(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, req *x509.CertificateRequest) string {
	switch csr.Spec.SignerName {
	case certificatesv1.KubeAPIServerClientKubeletSignerName:
		if kubeletClientRule(req, csr.Spec.Usages) != nil {
			return ""
		}
		if csr.Spec.Username == req.Subject.CommonName && k.allowed(ctx, csr, "selfnodeclient") {
			return "Auto approving self kubelet client certificate after SubjectAccessReview."
		}
		if k.allowed(ctx, csr, "nodeclient") {
			return "Auto approving kubelet client certificate after SubjectAccessReview."
		}
	case certificatesv1.KubeletServingSignerName:
		if kubeletServingRule(req, csr.Spec.Usages) == nil && k.ownServing(csr, req) {
			return "Auto approving serving certificate of the requesting node for its own name and addresses."
		}
	}
	return ""
}

// allowed asks whether the requester may have such a certificate, through the permission upstream made up
// for that: to create a subresource of certificatesigningrequests that does not exist.
func (k *Controller) allowed(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, permission string) bool {
	u := &user.DefaultInfo{Name: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups, Extra: map[string][]string{}}
	for key, values := range csr.Spec.Extra {
		u.Extra[key] = values
	}
	d, _, _ := k.authz.Authorize(ctx, authorizer.AttributesRecord{User: u, Verb: "create", APIGroup: "certificates.k8s.io",
		APIVersion: "*", Resource: "certificatesigningrequests", Subresource: permission, ResourceRequest: true})
	return d == authorizer.DecisionAllow
}

// ownServing reports whether a node asks for a serving certificate of nothing but itself. Upstream leaves
// these requests to a person; here the agent serves only with certificates of the cluster's authority, so
// that one that joins must get one. What would let a node pose as another or as the API server is refused.
func (k *Controller) ownServing(csr *certificatesv1.CertificateSigningRequest, req *x509.CertificateRequest) bool {
	node, ok := strings.CutPrefix(csr.Spec.Username, nodePrefix)
	if !ok || csr.Spec.Username != req.Subject.CommonName || !slices.Contains(csr.Spec.Groups, nodesGroup) {
		return false
	}
	for _, name := range req.DNSNames {
		if name != node || k.reserved.name(name) {
			return false
		}
	}
	for _, ip := range req.IPAddresses {
		if k.reserved.address(ip) || k.ofAnotherNode(node, ip) {
			return false
		}
	}
	return true
}

func (k *Controller) ofAnotherNode(node string, ip net.IP) bool {
	for _, n := range k.nodes.List("") {
		if n.Name == node {
			continue
		}
		for _, a := range n.Status.Addresses {
			if (a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP) && ip.Equal(net.ParseIP(a.Address)) {
				return true
			}
		}
	}
	return false
}

// Reserved is what no node may have a serving certificate for: the API server's names, and service IPs.
type Reserved struct {
	Services []netip.Prefix
}

func (r Reserved) name(s string) bool {
	return s == "localhost" || s == "kubernetes" || strings.HasPrefix(s, "kubernetes.")
}

func (r Reserved) address(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok || ip.IsUnspecified() {
		return true
	}
	addr = addr.Unmap()
	return slices.ContainsFunc(r.Services, func(p netip.Prefix) bool { return p.Contains(addr) })
}
