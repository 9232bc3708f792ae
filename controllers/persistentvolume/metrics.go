package persistentvolume

import (
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	storagehelpers "k8s.io/component-helpers/storage/volume"

	"clipper/api"
)

// What is shown of volumes and claims, under upstream's names.
var (
	totalDesc         = prometheus.NewDesc("pv_collector_total_pv_count", "Gauge measuring total number of persistent volumes", []string{"plugin_name", "volume_mode"}, nil)
	boundDesc         = prometheus.NewDesc("pv_collector_bound_pv_count", "Gauge measuring number of persistent volume currently bound", []string{"storage_class"}, nil)
	unboundDesc       = prometheus.NewDesc("pv_collector_unbound_pv_count", "Gauge measuring number of persistent volume currently unbound", []string{"storage_class"}, nil)
	boundClaimsDesc   = prometheus.NewDesc("pv_collector_bound_pvc_count", "Gauge measuring number of persistent volume claim currently bound", claimLabels, nil)
	unboundClaimsDesc = prometheus.NewDesc("pv_collector_unbound_pvc_count", "Gauge measuring number of persistent volume claim currently unbound", claimLabels, nil)

	claimLabels = []string{"namespace", "storage_class", "volume_attributes_class"}
)

// Collectors are what is to be seen of the volumes and claims that c reads.
func Collectors(c api.Client) []prometheus.Collector {
	return []prometheus.Collector{census{api.PersistentVolumes.View(c), api.PersistentVolumeClaims.View(c)}}
}

// census counts volumes and claims when somebody asks.
type census struct {
	volumes api.TypedView[*corev1.PersistentVolume]
	claims  api.TypedView[*corev1.PersistentVolumeClaim]
}

// Describe implements prometheus.Collector.
func (c census) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{totalDesc, boundDesc, unboundDesc, boundClaimsDesc, unboundClaimsDesc} {
		ch <- d
	}
}

// A cell is one gauge of a census: up to three labels.
type cell struct {
	desc   *prometheus.Desc
	labels [3]string
	n      int // of the labels
}

// Collect implements prometheus.Collector.
func (c census) Collect(ch chan<- prometheus.Metric) {
	counts := map[cell]int{}
	for _, v := range c.volumes.List("") {
		mode := corev1.PersistentVolumeFilesystem
		if v.Spec.VolumeMode != nil {
			mode = *v.Spec.VolumeMode
		}
		counts[cell{totalDesc, [3]string{plugin(v), string(mode)}, 2}]++
		counts[cell{pick(v.Status.Phase == corev1.VolumeBound, boundDesc, unboundDesc), [3]string{v.Spec.StorageClassName}, 1}]++
	}
	for _, claim := range c.claims.List("") {
		attributes := ""
		if name := claim.Spec.VolumeAttributesClassName; name != nil {
			attributes = *name
		}
		d := pick(claim.Status.Phase == corev1.ClaimBound, boundClaimsDesc, unboundClaimsDesc)
		counts[cell{d, [3]string{claim.Namespace, storagehelpers.GetPersistentVolumeClaimClass(claim), attributes}, 3}]++
	}
	for at, n := range counts {
		ch <- prometheus.MustNewConstMetric(at.desc, prometheus.GaugeValue, float64(n), at.labels[:at.n]...)
	}
}

func pick(bound bool, yes, no *prometheus.Desc) *prometheus.Desc {
	if bound {
		return yes
	}
	return no
}

// plugin is how upstream's controller calls the kind of a volume; it knows only some.
func plugin(v *corev1.PersistentVolume) string {
	switch s := v.Spec.PersistentVolumeSource; {
	case s.CSI != nil:
		return "kubernetes.io/csi:" + s.CSI.Driver
	case s.HostPath != nil:
		return "kubernetes.io/host-path"
	case s.NFS != nil:
		return "kubernetes.io/nfs"
	case s.Local != nil:
		return "kubernetes.io/local-volume"
	}
	return "N/A"
}
