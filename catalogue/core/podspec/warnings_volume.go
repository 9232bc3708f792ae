package podspec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// volumes notes kinds of volume that are gone or going.
func (n *notes) volumes(list []corev1.Volume) {
	for i, v := range list {
		at := n.spec.Child("volumes").Index(i)
		gone := func(used bool, name, when string) {
			if used {
				n.At(at.Child(name), "deprecated in %s", when)
			}
		}
		gone(v.PhotonPersistentDisk != nil, "photonPersistentDisk", "v1.11, non-functional in v1.16+")
		gone(v.GitRepo != nil, "gitRepo", "v1.11, and disabled by default in v1.33+")
		gone(v.ScaleIO != nil, "scaleIO", "v1.16, non-functional in v1.22+")
		gone(v.Flocker != nil, "flocker", "v1.22, non-functional in v1.25+")
		gone(v.StorageOS != nil, "storageOS", "v1.22, non-functional in v1.25+")
		gone(v.Quobyte != nil, "quobyte", "v1.22, non-functional in v1.25+")
		gone(v.Glusterfs != nil, "glusterfs", "v1.25, non-functional in v1.26+")
		if v.Ephemeral != nil && v.Ephemeral.VolumeClaimTemplate != nil {
			n.List = append(n.List, ClaimWarnings(&v.Ephemeral.VolumeClaimTemplate.Spec, at.Child("ephemeral", "volumeClaimTemplate", "spec"))...)
		}
		gone(v.CephFS != nil, "cephfs", "v1.28, non-functional in v1.31+")
		gone(v.RBD != nil, "rbd", "v1.28, non-functional in v1.31+")
	}
}

// ClaimWarnings are what to say of a claim's spec: no disk has parts of bytes.
func ClaimWarnings(c *corev1.PersistentVolumeClaimSpec, at *field.Path) []string {
	var out []string
	for _, part := range []struct {
		name string
		list corev1.ResourceList
	}{{"requests", c.Resources.Requests}, {"limits", c.Resources.Limits}} {
		if q := part.list[corev1.ResourceStorage]; q.MilliValue()%1000 != 0 {
			out = append(out, fmt.Sprintf("%s: fractional byte value %q is invalid, must be an integer",
				at.Child("resources", part.name).Key("storage"), q.String()))
		}
	}
	return out
}

// A file is a path inside a volume and what puts it there ("" where that goes without saying).
type file struct {
	path, source string
}

func (f file) String() string {
	if f.source == "" {
		return fmt.Sprintf("%q", f.path)
	}
	return fmt.Sprintf("%q (%s)", f.path, f.source)
}

// overlaps notes volumes in which one file hides another or stands where another needs a folder.
func (n *notes) overlaps(list []corev1.Volume) {
	for _, v := range list {
		switch {
		case v.ConfigMap != nil:
			n.clashes(v.Name, fmt.Sprintf("ConfigMap %q", v.ConfigMap.Name), keyFiles(v.ConfigMap.Items, ""))
		case v.Secret != nil:
			n.clashes(v.Name, fmt.Sprintf("Secret %q", v.Secret.SecretName), keyFiles(v.Secret.Items, ""))
		case v.DownwardAPI != nil:
			n.clashes(v.Name, "DownwardAPI", downwardFiles(v.DownwardAPI.Items, ""))
		case v.Projected != nil:
			var files []file
			for _, s := range v.Projected.Sources {
				if s == (corev1.VolumeProjection{}) {
					n.Say("volume %q (Projected) has no sources provided", v.Name)
				}
				files = append(files, projected(s)...)
			}
			n.clashes(v.Name, "Projected", files)
		}
	}
}

func (n *notes) clashes(volume, kind string, files []file) {
	for i := range files {
		files[i].path = strings.TrimRight(files[i].path, "/")
		for _, other := range files[:i] {
			if overlap(files[i], other) {
				n.Say("volume %q (%s): overlapping paths: %s with %s", volume, kind, files[i], other)
			}
		}
	}
}

func overlap(a, b file) bool {
	if a.path == "" || b.path == "" {
		return false
	}
	return strings.HasPrefix(a.path+"/", b.path+"/") || strings.HasPrefix(b.path+"/", a.path+"/")
}

func keyFiles(items []corev1.KeyToPath, source string) []file {
	var out []file
	for _, item := range items {
		out = append(out, file{item.Path, source})
	}
	return out
}

func downwardFiles(items []corev1.DownwardAPIVolumeFile, source string) []file {
	var out []file
	for _, item := range items {
		out = append(out, file{item.Path, source})
	}
	return out
}

func projected(s corev1.VolumeProjection) []file {
	switch {
	case s.ConfigMap != nil:
		return keyFiles(s.ConfigMap.Items, fmt.Sprintf("ConfigMap %q", s.ConfigMap.Name))
	case s.Secret != nil:
		return keyFiles(s.Secret.Items, fmt.Sprintf("Secret %q", s.Secret.Name))
	case s.DownwardAPI != nil:
		return downwardFiles(s.DownwardAPI.Items, "DownwardAPI")
	case s.ServiceAccountToken != nil:
		return []file{{s.ServiceAccountToken.Path, "ServiceAccountToken"}}
	case s.ClusterTrustBundle != nil:
		name := ptr.Deref(s.ClusterTrustBundle.Name, ptr.Deref(s.ClusterTrustBundle.SignerName, ""))
		return []file{{s.ClusterTrustBundle.Path, fmt.Sprintf("ClusterTrustBundle %q", name)}}
	case s.PodCertificate != nil:
		return []file{
			{s.PodCertificate.CertificateChainPath, "PodCertificate chain"},
			{s.PodCertificate.KeyPath, "PodCertificate key"},
			{s.PodCertificate.CredentialBundlePath, "PodCertificate credential bundle"},
		}
	}
	return nil
}
