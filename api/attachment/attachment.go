// Package attachment has the names by which the attach/detach controller, the nodes and the drivers' attachers find
// the volumes and attachments that they mean. They are upstream's: attachers and other tools compute them too.
package attachment

import (
	"crypto/sha256"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// Prefix begins the names of CSI volumes in a node's status.
const Prefix = "kubernetes.io/csi/"

// Volume names a volume of a CSI driver in a node's status.
func Volume(driver, handle string) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName(Prefix + driver + "^" + handle)
}

// Name names the VolumeAttachment of a volume to a node.
func Name(driver, handle, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(handle+driver+node)))
}
