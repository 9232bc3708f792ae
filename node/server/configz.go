package server

import (
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// configz answers what a kubelet of this configuration would say of itself.
func (s *Server) configz(w http.ResponseWriter, _ *http.Request) {
	n := s.cfg.Node()
	c := kubeletconfig.KubeletConfiguration{
		TypeMeta:      metav1.TypeMeta{Kind: "KubeletConfiguration", APIVersion: "kubelet.config.k8s.io/v1beta1"},
		ClusterDomain: n.Cluster.Domain, ClusterDNS: n.Cluster.DNS, CgroupRoot: n.Cluster.CgroupRoot,
		StaticPodPath: n.Cluster.Manifests, MaxPods: int32(n.MaxPods),
		NodeStatusUpdateFrequency: metav1.Duration{Duration: 10 * time.Second},
		NodeStatusReportFrequency: metav1.Duration{Duration: 5 * time.Minute},
		NodeLeaseDurationSeconds:  40,
		EvictionHard:              map[string]string{"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
	}
	writeJSON(w, map[string]any{"kubeletconfig": c})
}
