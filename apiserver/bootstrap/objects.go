package bootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"clipper/api"
	"clipper/controllers/rootca"
)

func namespaces() []*corev1.Namespace {
	var out []*corev1.Namespace
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		out = append(out, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	return out
}

// ServiceRange is the name of the ServiceCIDR that a cluster starts with, as upstream.
const ServiceRange = "kubernetes"

// DefaultServiceCIDR is the ServiceCIDR of the ranges that a server was started with.
func DefaultServiceCIDR(networks []netip.Prefix) *networkingv1.ServiceCIDR {
	var cidrs []string
	for _, p := range networks {
		cidrs = append(cidrs, p.String())
	}
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: ServiceRange},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
	}
}

func priorityClasses() []*schedulingv1.PriorityClass {
	class := func(name string, value int32, description string) *schedulingv1.PriorityClass {
		return &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, Description: description}
	}
	return []*schedulingv1.PriorityClass{
		class("system-node-critical", 2000001000,
			"Used for system critical pods that must not be moved from their current node."),
		class("system-cluster-critical", 2000000000,
			"Used for system critical pods that must run in the cluster, but can be moved to another node if necessary."),
	}
}

// configMaps publishes whom to trust.
func (r *run) configMaps(cfg Config) error {
	names, err := json.Marshal([]string{cfg.FrontProxy})
	if err != nil {
		return fmt.Errorf("bootstrap: encode front proxy name: %w", err)
	}
	authentication := map[string]string{
		"client-ca-file":                     string(cfg.CA),
		"requestheader-client-ca-file":       string(cfg.FrontProxyCA),
		"requestheader-allowed-names":        string(names),
		"requestheader-extra-headers-prefix": `["X-Remote-Extra-"]`,
		"requestheader-group-headers":        `["X-Remote-Group"]`,
		"requestheader-username-headers":     `["X-Remote-User"]`,
	}
	maps.Copy(authentication, cfg.Authentication)
	r.configMap(metav1.NamespaceSystem, AuthenticationConfig, authentication)
	kubeconfig := clientcmdapi.NewConfig()
	kubeconfig.Clusters[""] = &clientcmdapi.Cluster{Server: cfg.ServerURL, CertificateAuthorityData: cfg.CA}
	text, err := clientcmd.Write(*kubeconfig)
	if err != nil {
		return fmt.Errorf("bootstrap: encode cluster-info: %w", err)
	}
	r.configMap(metav1.NamespacePublic, clusterInfo, map[string]string{"kubeconfig": string(text)})
	// The date since when the use of unbound tokens is watched: written once.
	ensure(r, api.ConfigMaps, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: legacyTokenTracking},
		Data:       map[string]string{"since": cfg.Now().UTC().Format("2006-01-02")},
	}, nil)
	// Pods' service-account volumes wait for this one; the root-CA controller makes it everywhere else.
	for _, ns := range namespaces() {
		r.ensureConfigMap(rootca.ConfigMap(ns.Name, cfg.CA))
	}
	return nil
}

// configMap makes a config map that holds at least data.
func (r *run) configMap(namespace, name string, data map[string]string) {
	r.ensureConfigMap(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: data})
}

func (r *run) ensureConfigMap(want *corev1.ConfigMap) {
	ensure(r, api.ConfigMaps, want, func(have, want *corev1.ConfigMap) *corev1.ConfigMap {
		merged := maps.Clone(have.Data)
		if merged == nil {
			merged = map[string]string{}
		}
		maps.Copy(merged, want.Data)
		if maps.Equal(merged, have.Data) {
			return nil
		}
		next := have.DeepCopy()
		next.Data = merged
		return next
	})
}

const apiServiceName = "kubernetes"

// apiService makes the Service kubernetes of namespace default with its endpoints.
func (r *run) apiService(cfg Config) {
	const portName = "https"
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: apiServiceName}
	svcMeta := meta
	svcMeta.Labels = map[string]string{"component": "apiserver", "provider": "kubernetes"}
	family := corev1.IPv4Protocol
	addressType := discoveryv1.AddressTypeIPv4
	if cfg.ServiceIP.Is6() {
		family, addressType = corev1.IPv6Protocol, discoveryv1.AddressTypeIPv6
	}
	single := corev1.IPFamilyPolicySingleStack
	ensure(r, api.Services, &corev1.Service{ObjectMeta: svcMeta, Spec: corev1.ServiceSpec{
		Type:            corev1.ServiceTypeClusterIP,
		ClusterIP:       cfg.ServiceIP.String(),
		ClusterIPs:      []string{cfg.ServiceIP.String()},
		IPFamilies:      []corev1.IPFamily{family},
		IPFamilyPolicy:  &single,
		SessionAffinity: corev1.ServiceAffinityNone,
		Ports: []corev1.ServicePort{{Name: portName, Port: 443, Protocol: corev1.ProtocolTCP,
			TargetPort: intstr.FromInt32(int32(cfg.AdvertisePort))}},
	}}, func(have, want *corev1.Service) *corev1.Service {
		if r.running || len(have.Spec.Ports) == 1 && have.Spec.Ports[0].TargetPort == want.Spec.Ports[0].TargetPort {
			return nil
		}
		next := have.DeepCopy()
		next.Spec.Ports = want.Spec.Ports
		return next
	})

	if cfg.Advertise.IsLoopback() || cfg.Elsewhere {
		return // a loopback address nobody else can reach, and the API refuses it as an endpoint
	}
	epMeta := meta
	epMeta.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	ensure(r, api.Endpoints, &corev1.Endpoints{ObjectMeta: epMeta, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: cfg.Advertise.String()}},
		Ports:     []corev1.EndpointPort{{Name: portName, Port: int32(cfg.AdvertisePort), Protocol: corev1.ProtocolTCP}},
	}}}, func(have, want *corev1.Endpoints) *corev1.Endpoints {
		if equality.Semantic.DeepEqual(have.Subsets, want.Subsets) {
			return nil
		}
		next := have.DeepCopy()
		next.Subsets = want.Subsets
		return next
	})

	sliceMeta := meta
	sliceMeta.Labels = map[string]string{discoveryv1.LabelServiceName: apiServiceName}
	ready, name, port, tcp := true, portName, int32(cfg.AdvertisePort), corev1.ProtocolTCP
	ensure(r, api.EndpointSlices, &discoveryv1.EndpointSlice{
		ObjectMeta: sliceMeta, AddressType: addressType,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{cfg.Advertise.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
		Ports:     []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}, func(have, want *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
		if equality.Semantic.DeepEqual(have.Endpoints, want.Endpoints) && equality.Semantic.DeepEqual(have.Ports, want.Ports) {
			return nil
		}
		next := have.DeepCopy()
		next.Endpoints, next.Ports = want.Endpoints, want.Ports
		return next
	})
}
